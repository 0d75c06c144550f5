"""Moving shapes that each act for themselves, with boxes: a small network learns who does what.

    python train.py --config=configs/motion_people.py --workdir=runs/motion_people

Writes its videos to runs/data/people on first use.
"""

from vidjax.config import (
    AugmentConfig,
    ClipConfig,
    Config,
    DataConfig,
    DetectConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="i3d_detect_tiny"),
        data=DataConfig(
            synthetic="people",
            train="runs/data/people/train.csv",
            eval="runs/data/people/val.csv",
            clip=ClipConfig(size=64, resize=(64,)),
            augment=AugmentConfig(scale=(0.8, 1.0)),
        ),
        # Mirroring swaps these labels.
        task=TaskConfig(detect=DetectConfig(flip_pairs=("left<>right", "clockwise<>anticlockwise"), jitter=0.6)),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=3e-3, warmup_epochs=1.0, weight_decay=0.01, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=16, epochs=5, eval_epochs=0, checkpoint_epochs=5),
        eval=EvalConfig(batch_size=16),
    )
