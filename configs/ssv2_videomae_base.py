"""Something-Something V2, VideoMAE ViT-B fine-tuned from its pre-training on the same videos.

    python train.py --config=configs/ssv2_videomae_base.py --workdir=runs/ssv2_videomae_base \\
        --config.model.init_from=CHECKPOINT --config.data.root=VIDEOS \\
        --config.data.train=ssv2/train.json --config.data.eval=ssv2/validation.json

CHECKPOINT as in k400_videomae_base.py, pre-trained on Something-Something V2: every 2nd frame and 2400 epochs
(k400_videomae_base_pretrain.py with --config.data.dataset=something_v2 --config.data.clip.stride=2
--config.train.epochs=2400).

Published: 70.8 top-1, 92.4 top-5 on the validation set with 2 clips × 3 crops:

    python eval.py --workdir=runs/ssv2_videomae_base --config.eval.num_clips=2 --config.eval.num_crops=3

Their hardware: 64 GPUs, 6 videos each, 2 clips per video; 30 epochs. Not trained here. Source: MCG-NJU/VideoMAE,
MODEL_ZOO.md and scripts/ssv2/videomae_vit_base_patch16_224_tubemasking_ratio_0.9_epoch_2400/finetune.sh; frames are
chosen by mmaction2's rule for uniform segments.
"""

from configs import k400_videomae_base
from vidjax.config import Config


def get_config() -> Config:
    config = k400_videomae_base.get_config()
    config.data.dataset = "something_v2"
    config.data.sampling.train = config.data.sampling.eval = "mmaction2_uniform"
    config.data.augment.flip = False  # its classes distinguish left and right
    config.train.epochs = 30
    return config
