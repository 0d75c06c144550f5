"""Charades, SlowFast 16×8 from Kinetics-400 weights of 8×8, by its authors' recipe: several actions per video.

    python train.py --config=configs/charades_slowfast_r50_16x8.py --workdir=runs/charades_slowfast_r50_16x8 \\
        --config.model.init_from=SLOWFAST_8x8_R50.pkl --config.data.root=Charades_v1_480 \\
        --config.data.train=Charades_v1_train.csv --config.data.eval=Charades_v1_test.csv

A training clip has the actions of its frames, a test video those of its whole length. Published for this network: 38.9
mAP (SlowFast's model zoo; 8×8: 37.24 in pytorchvideo's, Slow 8×8: 34.72), the highest score of each class over 10 clips
× 3 crops of 256²:

    python eval.py --workdir=runs/charades_slowfast_r50_16x8 --config.eval.num_clips=10 --config.eval.num_crops=3 \\
        --config.data.clip.size=256 --config.data.clip.resize="(256,)"

Not trained here. Source: facebookresearch/SlowFast, configs/Charades/SLOWFAST_16x8_R50.yaml: 16 clips per update,
learning rate 0.0375. Its network is that of 8×8 with clips of twice the length.
"""

from vidjax.config import (
    AugmentConfig,
    ClipConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="slowfast_r50_8x8"),
        data=DataConfig(
            dataset="charades",
            clip=ClipConfig(num_frames=64),
            augment=AugmentConfig(crop="short_side", short_side=(256, 340)),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.0375,
            base_batch=16,
            schedule="steps",
            step_epochs=(41.0, 49.0),
            warmup_epochs=4.0,
            warmup_factor=0.0001 / 0.0375,
            momentum=0.9,
            weight_decay=1e-4,
        ),
        train=TrainConfig(batch_size=16, epochs=57, eval_epochs=6, checkpoint_epochs=6, batch_norm="precise"),
        eval=EvalConfig(ensemble="max", batch_size=16),
    )
