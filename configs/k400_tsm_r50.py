"""Kinetics-400, TSM from ImageNet weights, by mmaction2's recipe.

    python train.py --config=configs/k400_tsm_r50.py --workdir=runs/k400_tsm_r50 \\
        --config.model.init_from=resnet50.pth \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Published with this schedule: 73.18 top-1, 90.56 top-5 with 10 crops:

    python eval.py --workdir=runs/k400_tsm_r50 --config.eval.num_crops=10

Their classifier learns 5 times as fast as the rest; here all layers learn alike. Their hardware: 8 GPUs, 16 videos
each. Not trained here. Source: mmaction2,
configs/recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py.
"""

from configs import k400_tsn_r50
from vidjax.config import Config


def get_config() -> Config:
    config = k400_tsn_r50.get_config()
    config.model.name = "tsm_r50"
    config.data.augment.crop_positions = 13
    config.optimizer.learning_rate = 0.02
    config.optimizer.base_batch = 128
    config.optimizer.step_epochs = (25.0, 45.0)
    config.optimizer.warmup_epochs = 5.0
    config.optimizer.warmup_factor = 0.1
    config.optimizer.clip_norm = 20.0
    config.train.batch_size = 128
    config.train.epochs = 50
    return config
