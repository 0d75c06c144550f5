"""Optical flow of moving shapes: a small RAFT learns the motion of every pixel.

    python train.py --config=configs/motion_flow.py --workdir=runs/motion_flow
    python -m vidjax flow some.mp4 flow.mp4 --method runs/motion_flow
    python -m vidjax evaluate flow runs/data/flow/val --layout chairs --method runs/motion_flow

Writes its pairs to runs/data/flow on first use: textured shapes that move by up to 12 pixels over a moving background,
whose true flow is known, but where one covers another. The report has `epe_still` beside the end-point error `epe`:
that of no motion at all, above which a network must not stay. In the first 100 updates or so it does.
"""

from vidjax.config import Config, DataConfig, EvalConfig, ModelConfig, OptimizerConfig, TrainConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(
            name="raft_small_tiny",
            kwargs={
                "widths": (16, 16, 24, 32), "features": 64, "hidden": 48, "context": 32, "correlation": (48,),
                "flow": (32, 16), "motion": 48, "head": 48,
            },
        ),
        data=DataConfig(synthetic="flow", train="runs/data/flow/train", eval="runs/data/flow/val"),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=1e-3, schedule="linear", warmup_epochs=0.5, weight_decay=1e-4, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=8, epochs=10, eval_epochs=2, checkpoint_epochs=2),
        eval=EvalConfig(batch_size=20),
    )  # fmt: skip
