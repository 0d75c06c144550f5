"""Kinetics-400, VideoMAE ViT-L fine-tuned from its pre-training.

    python train.py --config=configs/k400_videomae_large.py --workdir=runs/k400_videomae_large \\
        --config.model.init_from=CHECKPOINT --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

CHECKPOINT as in k400_videomae_base.py, of ViT-L. Published: 85.2 top-1, 96.8 top-5 on the validation set with 5 clips ×
3 crops:

    python eval.py --workdir=runs/k400_videomae_large --config.eval.num_clips=5 --config.eval.num_crops=3

Their hardware: 64 GPUs, 2 videos each, 2 clips per video; 35 epochs. Not trained here. Source: MCG-NJU/VideoMAE,
MODEL_ZOO.md and scripts/kinetics/videomae_vit_large_patch16_224_tubemasking_ratio_0.9_epoch_1600/finetune.sh.
"""

from configs import k400_videomae_base
from vidjax.config import Config


def get_config() -> Config:
    config = k400_videomae_base.get_config()
    config.model.name = "videomae_large"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.final_factor = 1e-6 / 1e-3
    config.train.batch_size = 128
    config.train.epochs = 35
    config.eval.batch_size = 128
    return config
