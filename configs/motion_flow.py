"""Optical flow of moving shapes: a small RAFT learns the motion of every pixel.

    python train.py --config=configs/motion_flow.py --workdir=runs/motion_flow
    python -m vidjax flow some.mp4 flow.mp4 --method runs/motion_flow

Writes its pairs to runs/data/flow on first use: textured shapes that move over a moving background, whose true flow is
known, but where one covers another.
"""

from vidjax.config import AugmentConfig, Config, DataConfig, EvalConfig, ModelConfig, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="raft_tiny"),
        data=DataConfig(
            synthetic="flow",
            train="runs/data/flow/train",
            eval="runs/data/flow/val",
            augment=AugmentConfig(colour_jitter=0.2),
        ),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=2e-3, schedule="linear", warmup_epochs=0.5, weight_decay=1e-4, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=8, epochs=10, eval_epochs=2, checkpoint_epochs=2),
        eval=EvalConfig(batch_size=20),
    )
