"""Kinetics-400, I3D with non-local blocks from ImageNet weights: the recipe of `configs/k400_i3d_r50.py`.

    python train.py --config=configs/k400_i3d_r50_nl.py --workdir=runs/k400_i3d_r50_nl \\
        --config.model.init_from=resnet50.pth \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Published with this schedule: 74.73 top-1, 91.80 top-5 with 10 clips × 3 crops of 256²:

    python eval.py --workdir=runs/k400_i3d_r50_nl --config.eval.num_clips=10 --config.eval.num_crops=3 \\
        --config.data.clip.size=256 --config.data.clip.resize="(256,)"

Their hardware: 8 GPUs, 8 clips each. Not trained here. Source: mmaction2,
configs/recognition/i3d/i3d_imagenet-pretrained-r50-nl-embedded-gaussian_8xb8-32x2x1-100e_kinetics400-rgb.py.
"""

from configs import k400_i3d_r50
from vidjax.config import Config


def get_config() -> Config:
    config = k400_i3d_r50.get_config()
    config.model.name = "i3d_r50_nl_mm"
    return config
