"""A click at the turn of a shape, in time or not: what only pictures and sound together can tell.

    python train.py --config=configs/motion_sync.py --workdir=runs/sync
    python train.py --config=configs/motion_sound.py --workdir=runs/sync_pictures --config.model.name=r2plus1d_tiny \\
        --config.data.synthetic=sound_turns --config.data.train=runs/data/sound_turns/train.csv \\
        --config.data.eval=runs/data/sound_turns/val.csv
    python train.py --config=configs/motion_sound.py --workdir=runs/sync_sound --config.model.name=panns_tiny \\
        --config.data.synthetic=sound_turns --config.data.train=runs/data/sound_turns/train.csv \\
        --config.data.eval=runs/data/sound_turns/val.csv --config.data.clip.size=0 --config.data.clip.resize="()"

Writes its videos to runs/data/sound_turns on first use. Shapes move to and fro and turn once a second; clicks come once
a second too, at the turns ("together") or half a second beside them ("apart"). Both begin at a random time, so that
pictures alone and sound alone are at chance, 50 %, and so is any network that pools each stream over time before the
two meet. This one joins them stage by stage, a fifth of a second of sound with each frame of its slow pathway.
"""

from configs import motion_sound
from vidjax.config import Config


def get_config() -> Config:
    config = motion_sound.get_config()
    config.model.name = "avslowfast_tiny"
    # Every frame of 1.6 s, eight of them in the slow pathway; the sound is never hidden, as nothing is told without it.
    config.model.kwargs = {"frames_of_sound": 12, "drop_pathway": 0.0}
    config.data.clip.num_frames, config.data.clip.stride = 16, 1
    config.data.synthetic = "sound_turns"
    config.data.train = "runs/data/sound_turns/train.csv"
    config.data.eval = "runs/data/sound_turns/val.csv"
    config.data.augment.flip = True  # no class tells left from right
    config.train.epochs = 20
    config.train.eval_epochs = config.train.checkpoint_epochs = 4
    return config
