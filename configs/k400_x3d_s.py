"""Kinetics-400, X3D-S from scratch, by its authors' recipe.

    python train.py --config=configs/k400_x3d_s.py --workdir=runs/k400_x3d_s \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Published for this network: 73.33 top-1, 91.27 top-5 (pytorchvideo's model zoo) with 10 clips × 3 crops of 182²:

    python eval.py --workdir=runs/k400_x3d_s --config.eval.num_clips=10 --config.eval.num_crops=3 \\
        --config.data.clip.size=182 --config.data.clip.resize="(182,)"

Their hardware: 16 machines, 128 clips each: `--config.train.batch_size=2048`, and the learning rate follows.
Not trained here. Source: facebookresearch/SlowFast, configs/Kinetics/X3D_S.yaml.
"""

from configs import k400_slow_r50
from vidjax.config import Config


def get_config() -> Config:
    config = k400_slow_r50.get_config()
    config.model.name = "x3d_s"
    config.data.augment.short_side = (182, 228)
    config.optimizer.base_batch = 128
    config.optimizer.warmup_epochs = 35.0
    config.optimizer.weight_decay = 5e-5
    config.train.batch_size = 128
    config.train.epochs = 300
    return config
