"""Kinetics-400, a recurrent convolution network (ConvGRU over the maps of a ResNet-18), from ImageNet weights.

    python train.py --config=configs/k400_rcn_gru_r18.py --workdir=runs/k400_rcn_gru_r18 \\
        --config.model.init_from=resnet18.pth \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Our own recipe, based on `configs/k400_tsn_r50.py`: no accuracy of this network on Kinetics was published, and
it has not been trained here. resnet18.pth is torchvision's or timm's image network.
"""

from configs import k400_tsn_r50
from vidjax.config import Config


def get_config() -> Config:
    config = k400_tsn_r50.get_config()
    config.model.name = "rcn_gru_r18"
    return config
