"""Generated scenes in sentences: a small R(2+1)D and a decoder that say what moves where.

    python train.py --config=configs/scenes_caption.py --workdir=runs/scenes_caption

Writes its videos to runs/data/scenes on first use. What moves can be told from one frame, where it moves cannot.
"""

from vidjax.config import (
    CaptionConfig,
    ClipConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    TaskConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="r2plus1d_caption_tiny"),
        data=DataConfig(
            synthetic="scenes",
            train="runs/data/scenes/train.csv",
            eval="runs/data/scenes/val.csv",
            clip=ClipConfig(size=64, resize=(64,)),
        ),
        task=TaskConfig(caption=CaptionConfig(length=24)),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=2e-3, warmup_epochs=1.0, weight_decay=0.01, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=16, epochs=24, eval_epochs=6, checkpoint_epochs=6),
        eval=EvalConfig(batch_size=16),
    )
