"""Kinetics-400 without labels: pre-training of VideoMAE ViT-B, to fill in nine tenths of a video.

    python train.py --config=configs/k400_videomae_base_pretrain.py --workdir=runs/k400_videomae_base_pretrain \\
        --config.data.root=VIDEOS --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Other videos: --config.data.dataset= with --config.data.train=FOLDER or a CSV with only the column path.
configs/k400_videomae_base.py fine-tunes the result. Other sizes: --config.model.name=videomae_small_pretrain,
_large_pretrain, _huge_pretrain.

Published after fine-tuning: 81.5 top-1, 95.1 top-5 on the validation set; 80.0 / 94.4 with 800 epochs and without
repeated augmentation. Their hardware: 64 GPUs, 32 clips each. Not trained here. Source: MCG-NJU/VideoMAE, MODEL_ZOO.md
and scripts/kinetics/videomae_vit_base_patch16_224_tubemasking_ratio_0.9_epoch_1600/pretrain.sh.
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


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="videomae_base_pretrain", kwargs={"mask_ratio": 0.9}),
        data=DataConfig(
            dataset="kinetics400",
            augment=AugmentConfig(crop="multi_scale", flip=False),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1.5e-4,
            base_batch=256,
            b2=0.95,
            weight_decay=0.05,
            warmup_epochs=40,
            final_factor=1e-5 / 1.2e-3,
        ),
        train=TrainConfig(batch_size=2048, epochs=1600, eval_epochs=50, checkpoint_epochs=5),
        eval=EvalConfig(batch_size=256),
    )
