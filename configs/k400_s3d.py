"""Kinetics-400, S3D from scratch, by torchvision's recipe.

    python train.py --config=configs/k400_s3d.py --workdir=runs/k400_s3d --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

Published: 68.37 top-1, 88.05 top-5 of single clips (clip/top1 and clip/top5 of eval.json) of 128 frames:

    python eval.py --workdir=runs/k400_s3d --config.data.clip.num_frames=128

Their hardware: 64 GPUs, 12 clips each. Its 45 epochs take 5 clips of every video, so they are 225 passes here. Not
trained here. Source: torchvision, the section on S3D in references/video_classification/README.md, and train.py there.
"""

from configs import k400_r2plus1d_18
from vidjax.config import Config


def get_config() -> Config:
    config = k400_r2plus1d_18.get_config()
    config.model.name = "s3d"
    config.data.clip.preset = "torchvision_s3d"
    config.data.clip.num_frames = 64
    config.optimizer.learning_rate = 0.2
    config.optimizer.base_batch = 768
    config.train.batch_size = 768
    return config
