"""Long videos of moving shapes: when each motion begins and ends, from the features of the quick start's network.

    python train.py --config=configs/motion.py --workdir=runs/motion
    vidjax features runs/motion --config=configs/motion_long.py --stride=2
    python train.py --config=configs/motion_long.py --workdir=runs/motion_long

The second command writes the videos to runs/data/motion_long, and their features. The same shapes stay in view all the
time, actions often follow each other without a pause, and one shape takes no part.
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
        model=ModelConfig(name="actionformer_tiny", kwargs={"dim": 64, "heads": 4}),
        data=DataConfig(
            synthetic="long",
            train="runs/data/motion_long/train.csv",
            eval="runs/data/motion_long/val.csv",
            features=FeaturesConfig(folder="runs/data/motion_long/features", width=64, steps=160, crop=(0.6, 1.0)),
        ),
        task=TaskConfig(localise=LocaliseConfig(thresholds="thumos", also=("activitynet",), max_segments=32)),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=2e-3, warmup_epochs=2.0, weight_decay=0.05, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=4, epochs=36, ema_decay=0.99, eval_epochs=12, checkpoint_epochs=12),
        eval=EvalConfig(batch_size=8),
    )
