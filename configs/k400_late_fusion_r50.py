"""Kinetics-400, late fusion: the features of 8 frames side by side, from ImageNet weights.

    python train.py --config=configs/k400_late_fusion_r50.py --workdir=runs/k400_late_fusion_r50 \\
        --config.model.init_from=resnet50.pth \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Our own recipe, based on `configs/k400_tsn_r50.py`: no accuracy of this network on Kinetics was published, and
it has not been trained here. resnet50.pth is torchvision's or timm's image network.
"""

from configs import k400_tsn_r50
from vidjax.config import Config


def get_config() -> Config:
    config = k400_tsn_r50.get_config()
    config.model.name = "late_fusion_r50"
    return config
