"""Baseline for configs/motion_long.py: every vector classified by itself, with a class for no action.

    python train.py --config=configs/motion_long_linear.py --workdir=runs/motion_long_linear

Needs the features that the second command of configs/motion_long.py writes.
"""

from vidjax.config import (
    Config,
    DataConfig,
    EvalConfig,
    FeaturesConfig,
    LocaliseConfig,
    ModelConfig,
    OptimizerConfig,
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="localise_linear"),
        data=DataConfig(
            synthetic="long",
            train="runs/data/motion_long/train.csv",
            eval="runs/data/motion_long/val.csv",
            features=FeaturesConfig(folder="runs/data/motion_long/features", width=64, steps=160),
        ),
        task=TaskConfig(localise=LocaliseConfig(thresholds="thumos", also=("activitynet",), max_segments=32)),
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-2, warmup_epochs=1.0, weight_decay=0.0),
        train=TrainConfig(batch_size=4, epochs=20, eval_epochs=20, checkpoint_epochs=20),
        eval=EvalConfig(batch_size=8),
    )
