"""A 2D network that averages its frames, on the clips of `configs/fights_r2plus1d.py` at the same budget.

    python train.py --config=configs/fights_frame_pool.py --workdir=runs/fights_frame_pool
    python train.py --config=configs/fights_frame_pool.py --workdir=runs/fights_frame_pool_diff \\
        --config.model.input=diff
"""

from configs import fights_r2plus1d
from vidjax.config import Config


def get_config() -> Config:
    config = fights_r2plus1d.get_config()
    config.model.name = "frame_pool_tiny"
    return config
