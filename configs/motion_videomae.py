"""Moving shapes without labels: a tiny VideoMAE that fills in three quarters of every video.

    python train.py --config=configs/motion_videomae.py --workdir=runs/motion_videomae
    python train.py --config=configs/motion_videomae_finetune.py --workdir=runs/motion_finetuned

Writes `reconstructions.png` of held-out videos to the work directory. 34 minutes of one CPU core; 64 % of the variance
of the hidden pixels explained, where a video's mean colour alone explains 40 %. The second command (results in its
config) makes a classifier of it with a tenth of the labels.

Three things differ from VideoMAE's recipe, with which so small a network had learned only the mean colour after 1000
updates: positions that separate time, row and column; tokens hidden one by one, so that a shape can be found in the
frames before and after; raw instead of normalised pixels as targets, as most of a picture is plain here.
"""

from vidjax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    TrainConfig,
)

# Settings shared with the classifier.
ENCODER = {"tubelet": (2, 4, 4), "positions": "axes"}


def get_config() -> Config:
    return Config(
        model=ModelConfig(
            name="videomae_tiny_pretrain",
            kwargs={**ENCODER, "mask_ratio": 0.75, "masking": "token", "normalise_targets": False},
        ),
        data=DataConfig(
            synthetic="motion",
            train="runs/data/motion/train.csv",
            eval="runs/data/motion/val.csv",
            augment=AugmentConfig(
                scale=(1.0, 1.0),  # the whole picture
                flip=True,  # nothing here depends on left and right
            ),
            reading=ReadingConfig(isolate=False),
        ),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=1e-3, b2=0.95, warmup_epochs=4.0, weight_decay=0.05, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=32, epochs=64, log_every=47, eval_epochs=8, checkpoint_epochs=8),
        eval=EvalConfig(num_clips=1, batch_size=32),
    )
