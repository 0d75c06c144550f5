"""The videos of a run, with the annotations that its task needs."""

from dataclasses import replace

from vidjax.config import Config
from vidjax.data.listing.load import load_eval_set, load_sets
from vidjax.data.listing.mirroring import pair
from vidjax.data.listing.quarantine import mark, read
from vidjax.data.records import LabelSpace, VideoSet
from vidjax.data.text import DataError
from vidjax.tasks import flip_pairs, kinds_of, prepare_videos, task_of


def load_videos(config: Config, *, need_files: bool = True) -> tuple[VideoSet, VideoSet]:
    """Load the training and evaluation videos of a run; see `vidjax.data.listing.load.load_sets`.

    Args:
      config: config of the run.
      need_files: whether the listed videos must exist; False is enough for counting them.

    Raises:
      ConfigError: if the network is not made for the task.
      DataError: if annotations cannot be used.
    """
    task = task_of(config)
    train, held_out = load_sets(config.data, config.seed, kinds_of(task), need_files=need_files)
    train = _ready(config, task, train, training=True).counted()
    return train, _ready(config, task, held_out, training=False)


def load_eval_videos(config: Config, task: str, labels: LabelSpace) -> VideoSet:
    """Load the evaluation videos of `config`, annotated in the classes of a checkpoint.

    Args:
      config: config of the evaluation.
      task: name of the task that the checkpoint's network was trained for.
      labels: classes of the checkpoint.

    Raises:
      DataError: if annotations cannot be used, or name other classes.
    """
    videos = mark(_annotated(config, kinds_of(task), labels), read(config.data))
    return _ready(config, task, videos, training=False)


def _ready(config: Config, task: str, videos: VideoSet, *, training: bool) -> VideoSet:
    """Add what the settings of the task say: pairs of classes, and whatever else it prepares."""
    paired = pair(videos, flip_pairs(config, task), f"config.task.{task}.flip_pairs")
    return prepare_videos(config, task, paired, training=training)


def _annotated(config: Config, kinds: frozenset[str], labels: LabelSpace) -> VideoSet:
    if config.data.dataset or config.data.eval:
        return load_eval_set(config.data, labels, kinds)
    if kinds and not config.data.train:
        raise DataError("give the videos to evaluate: --config.data.eval=FILE.csv or a folder")
    _, videos = load_sets(config.data, config.seed, kinds)
    if kinds and videos.labels.names != labels.names:
        raise DataError(f"{config.data.train} now has other classes than the checkpoint; give --config.data.eval")
    return replace(videos, labels=replace(videos.labels, several=labels.several))
