"""A 2D network with all frames in its first layer, on the clips of `configs/fights_r2plus1d.py` at the same budget.

    python train.py --config=configs/fights_early_fusion.py --workdir=runs/fights_early_fusion
    python train.py --config=configs/fights_early_fusion.py --workdir=runs/fights_early_fusion_diff \\
        --config.model.input=diff
"""

from configs import fights_r2plus1d
from vidjax.config import Config


def get_config() -> Config:
    config = fights_r2plus1d.get_config()
    config.model.name = "early_fusion_tiny"
    return config
