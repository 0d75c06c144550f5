"""Moving shapes with sound: classes that neither pictures nor sound alone can tell.

    python train.py --config=configs/motion_sound.py --workdir=runs/sound_both
    python train.py --config=configs/motion_sound.py --workdir=runs/sound_pictures --config.model.name=r2plus1d_tiny
    python train.py --config=configs/motion_sound.py --workdir=runs/sound_alone --config.model.name=panns_tiny \\
        --config.data.clip.size=0 --config.data.clip.resize="()"
    python -m vidjax compare runs/sound_both runs/sound_pictures runs/sound_alone --plot sound.png

Writes its videos to runs/data/sound_joint on first use. Shapes move left or right while tones rise or fall; the class
is both, so that either stream alone can be right half of the time. Other lessons, see `vidjax/data/synthetic_sound.py`:

    --config.data.synthetic=sound_agree --config.data.train=runs/data/sound_agree/train.csv \\
        --config.data.eval=runs/data/sound_agree/val.csv
    --config.data.synthetic=sound_turns --config.data.train=runs/data/sound_turns/train.csv \\
        --config.data.eval=runs/data/sound_turns/val.csv --config.model.name=avslowfast_tiny

In the first of them no sum of the scores of both streams tells the class: `--config.model.kwargs.hidden=0` takes the
layer away that joins them. The second needs both in time with each other, as only networks have them that fuse before
they pool.
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
