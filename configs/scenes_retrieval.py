"""Finding generated scenes by their sentences: a small R(2+1)D and a small text Transformer, from nothing.

    python train.py --config=configs/scenes_retrieval.py --workdir=runs/scenes_retrieval

Writes its videos to runs/data/scenes on first use, and trains a tokenizer on their sentences. 2 CPU cores.
"""

from vidjax.config import (
    ClipConfig,
    Config,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    SamplingConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        model=ModelConfig(name="dual_encoder_tiny"),
        data=DataConfig(
            synthetic="scenes",
            train="runs/data/scenes/train.csv",
            eval="runs/data/scenes/val.csv",
            clip=ClipConfig(size=64, resize=(64,)),
            sampling=SamplingConfig(train="random"),
        ),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=2e-3, warmup_epochs=2.0, weight_decay=0.05, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=50, epochs=40, eval_epochs=10, checkpoint_epochs=10),
        eval=EvalConfig(num_clips=2, batch_size=50),
    )
