"""SlowFast, two pathways of different rates, on the clips of `configs/fights_r2plus1d.py` at the same budget.

    python train.py --config=configs/fights_slowfast.py --workdir=runs/fights_slowfast
    python train.py --config=configs/fights_slowfast.py --workdir=runs/fights_slowfast_diff \\
        --config.model.input=diff
"""

from configs import fights_r2plus1d
from vidjax.config import Config


def get_config() -> Config:
    config = fights_r2plus1d.get_config()
    config.model.name = "slowfast_tiny"
    return config
