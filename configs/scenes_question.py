"""Questions about generated scenes: a small R(2+1)D and a decoder that answer in a word.

    python train.py --config=configs/scenes_question.py --workdir=runs/scenes_question

Writes its videos to runs/data/scenes on first use. A question is the beginning of a text that ends with its answer.
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
            train="runs/data/scenes/train_questions.csv",
            eval="runs/data/scenes/val_questions.csv",
            clip=ClipConfig(size=64, resize=(64,)),
        ),
        task=TaskConfig(caption=CaptionConfig(length=6)),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=2e-3, warmup_epochs=1.0, weight_decay=0.01, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=16, epochs=6, eval_epochs=2, checkpoint_epochs=2),
        eval=EvalConfig(batch_size=16),
    )
