"""Kinetics-400, Slow (only SlowFast's slow pathway) from scratch, by SlowFast's recipe.

    python train.py --config=configs/k400_slow_r50.py --workdir=runs/k400_slow_r50 \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Published for this network: 74.58 top-1, 91.63 top-5 (pytorchvideo's model zoo) with 10 clips × 3 crops of 256²:

    python eval.py --workdir=runs/k400_slow_r50 --config.eval.num_clips=10 --config.eval.num_crops=3 \\
        --config.data.clip.size=256 --config.data.clip.resize="(256,)"

Not trained here. Source: facebookresearch/SlowFast, configs/Kinetics/SLOW_8x8_R50.yaml: 64 clips per update, learning
rate 0.1. With more devices raise train.batch_size; the rate follows.
"""

from vidjax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    ReadingConfig,
    SamplingConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="slow_r50"),
        data=DataConfig(
            dataset="kinetics400",
            sampling=SamplingConfig(train="slowfast", eval="slowfast"),
            augment=AugmentConfig(crop="short_side", short_side=(256, 320)),
            reading=ReadingConfig(num_workers=16),
        ),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.1,
            base_batch=64,
            warmup_epochs=34.0,
            warmup_factor=0.1,
            momentum=0.9,
            weight_decay=1e-4,
        ),
        train=TrainConfig(batch_size=64, epochs=196, eval_epochs=10, checkpoint_epochs=1),
        eval=EvalConfig(num_clips=1, batch_size=64),
    )
