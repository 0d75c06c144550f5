"""Kinetics-400, SlowFast 8×8 from scratch, by its authors' recipe: that of `configs/k400_slow_r50.py`.

    python train.py --config=configs/k400_slowfast_r50_8x8.py --workdir=runs/k400_slowfast_r50_8x8 \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Published for this network: 76.94 top-1, 92.69 top-5 (pytorchvideo's model zoo) with 10 clips × 3 crops of 256²:

    python eval.py --workdir=runs/k400_slowfast_r50_8x8 --config.eval.num_clips=10 --config.eval.num_crops=3 \\
        --config.data.clip.size=256 --config.data.clip.resize="(256,)"

Not trained here. Source: facebookresearch/SlowFast, configs/Kinetics/SLOWFAST_8x8_R50.yaml.
"""

from configs import k400_slow_r50
from vidjax.config import Config


def get_config() -> Config:
    config = k400_slow_r50.get_config()
    config.model.name = "slowfast_r50_8x8"
    return config
