"""Moving shapes with sound: classes that neither pictures nor sound alone can tell.

python train.py --config=configs/motion_sound.py --workdir=runs/sound_both
"""

from configs import motion
from vidjax.config import ClassifyConfig, Config


def get_config() -> Config:
    config = motion.get_config()
    config.model.name = "audio_visual_tiny"
    config.data.synthetic = "sound_joint"
    config.data.train = "runs/data/sound_joint/train.csv"
    config.data.eval = "runs/data/sound_joint/val.csv"
    config.data.augment.flip = False  # it would have to swap the labels of some lessons, and not of others
    config.task.classify = ClassifyConfig()
    config.train.epochs = 6
    config.train.eval_epochs = config.train.checkpoint_epochs = 3
    return config
