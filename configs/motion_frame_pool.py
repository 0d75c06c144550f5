"""Moving shapes for a 2D network that averages its frames: it cannot distinguish directions, and stays near chance.

python train.py --config=configs/motion_frame_pool.py --workdir=runs/motion_frame_pool
"""

from configs import motion
from vidjax.config import Config


def get_config() -> Config:
    config = motion.get_config()
    config.model.name = "frame_pool_tiny"
    return config
