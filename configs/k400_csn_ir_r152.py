"""Kinetics-400, ir-CSN-152 from IG-65M weights, by mmaction2's recipe.

    python train.py --config=configs/k400_csn_ir_r152.py --workdir=runs/k400_csn_ir_r152 \\
        --config.model.init_from=ircsn_from_scratch_r152_ig65m.pth \\
        --config.data.root=VIDEOS \\
        --config.data.train=kinetics400/train.csv --config.data.eval=kinetics400/val.csv

The file of init_from is mmaction2's, ircsn_from_scratch_r152_ig65m_20200807-771c4135.pth.

Published with this schedule: 82.87 top-1, 95.90 top-5 with 10 clips × 3 crops of 256²:

    python eval.py --workdir=runs/k400_csn_ir_r152 --config.eval.num_clips=10 --config.eval.num_crops=3 \\
        --config.data.clip.size=256 --config.data.clip.resize="(256,)"

Their hardware: 8 GPUs, 12 clips each. Not trained here. Source: mmaction2,
configs/recognition/csn/ircsn_ig65m-pretrained-r152_8xb12-32x2x1-58e_kinetics400-rgb.py.
"""

from configs import k400_i3d_r50
from vidjax.config import Config, ModelConfig


def get_config() -> Config:
    config = k400_i3d_r50.get_config()
    config.model = ModelConfig(name="csn_ir_r152")
    config.data.augment.crop = "random_resized"
    config.optimizer.learning_rate = 5e-4
    config.optimizer.base_batch = 96
    config.optimizer.step_epochs = (32.0, 48.0)
    config.optimizer.warmup_epochs = 16.0
    config.optimizer.warmup_factor = 0.1
    config.train.batch_size = 96
    config.train.epochs = 58
    return config
