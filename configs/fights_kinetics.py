"""Fight or no fight in 255 surveillance clips, from Kinetics-400 weights: Inception I3D.

    pip install -e '.[kinetics]'
    git clone https://github.com/seymanurakti/fight-detection-surv-dataset fights
    python -m vidjax prepare fights/train.csv runs/data/fights128 --eval fights/val.csv --jpeg --short-side 128
    python train.py --config=configs/fights_kinetics.py --workdir=runs/fights_kinetics

The same network from scratch: --config.model.init_from=. Only a classifier on its frozen features:
--config.model.probe=linear --config.optimizer.learning_rate=0.003. Clips are a second long at 30 frames per second, as
in `fights_imagenet.py`, whose recipe this is, but with twice the frames; the network was trained on longer and larger
ones (64 × 224²). Running statistics of the norms follow within the hundred updates (momentum 0.9).
"""

from configs import fights_imagenet
from vidjax.config import ClipConfig, Config, ModelConfig


def get_config() -> Config:
    config = fights_imagenet.get_config()
    config.model = ModelConfig(name="i3d_inception_rgb", init_from="kinetics", kwargs={"momentum": 0.9})
    config.data.clip = ClipConfig(num_frames=16, stride=2, size=112, resize=(128,))
    return config
