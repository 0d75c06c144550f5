"""The videos of a run: generated if asked for, loaded, the same for all processes, and what they can be judged by."""

from pathlib import Path

from rich.console import Console

from vidjax import config as cfg
from vidjax import parallel
from vidjax.data.records import VideoSet, load_sets
from vidjax.evaluation.metrics import ranks
from vidjax.training import workdir as workdir_of
from vidjax.training.objectives import objective_of


def training_sets(config: cfg.Config, console: Console) -> tuple[VideoSet, VideoSet]:
    """Those to train on and those for evaluation; `config.train.best_metric` is filled in.

    Args:
      config: of the run.
      console: where generating shows its progress.

    Raises:
      ConfigError: if the processes have different videos or settings, or for a metric that these videos cannot have.
      DataError: for annotations that cannot be used.
    """
    parallel.on_writer(lambda: _generate(config.data, console))
    classifies = objective_of(config) == "classify"
    videos, eval_videos = load_sets(
        config.data, config.seed, labelled=classifies, flip_pairs=config.task.classify.flip_pairs
    )
    workdir_of.check_alike(config, videos, eval_videos)
    known = _metric_names(videos) if classifies else ["reconstruction/explained"]
    config.train.best_metric = config.train.best_metric or known[0]
    if config.train.best_metric not in known:
        raise cfg.ConfigError(
            f"config.train.best_metric = {config.train.best_metric!r}: this data set has {', '.join(known)}"
        )
    return videos, eval_videos


def _generate(config: cfg.DataConfig, console: Console) -> None:
    """Write the generated data set that `config.synthetic` asks for, unless it is there."""
    if config.synthetic != "motion":
        return
    from vidjax.data.synthetic import write_motion

    write_motion(Path(config.train).parent, console=console)


def _metric_names(videos: VideoSet) -> list[str]:
    """What this data set can be judged by, the default first."""
    names = ["mAP"] if videos.multi_label else [f"top{k}" for k in ranks(len(videos.class_names))]
    return [f"{level}/{name}" for level in ("video", "clip") for name in names]
