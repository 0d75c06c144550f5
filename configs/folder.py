"""Your own videos: a folder with one sub-folder per class, or CSV files with path,label[,split,group].

    python train.py --config=configs/folder.py --workdir=runs/mine --config.data.train=VIDEOS
    python train.py --config=configs/folder.py --workdir=runs/listed \\
        --config.data.train=train.csv --config.data.eval=val.csv

Trains a laptop-sized model from scratch. For more, start from a published checkpoint:
    … --config.model.name=r2plus1d_18 --config.model.init_from=r2plus1d_18.pth
"""

from vidjax.config import (
    ClassifyConfig,
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
        model=ModelConfig(name="r2plus1d_tiny"),
        data=DataConfig(),
        task=TaskConfig(classify=ClassifyConfig(label_smoothing=0.1)),
        optimizer=OptimizerConfig(name="adamw", learning_rate=1e-3, warmup_epochs=1.0, weight_decay=0.05),
        train=TrainConfig(batch_size=16, epochs=20, eval_epochs=2, checkpoint_epochs=2),
        eval=EvalConfig(num_clips=3, batch_size=16),
    )
