"""The teacher of a run: another run's network, whose probabilities the new one learns (`config.train.teacher`)."""

from typing import Any

from jax.sharding import NamedSharding

from vidjax.config import Config, ConfigError, Spec
from vidjax.config.choices import UNSTRIDED_RULES
from vidjax.data.records import LabelSpace
from vidjax.inputs import VideoInput
from vidjax.models.base import VideoNetwork
from vidjax.models.state import Arrays, split
from vidjax.models.teacher import Teacher
from vidjax.training.checkpoints import abstract_model, as_loaded, load_meta, load_model


def reading_spec(config: Config, spec: Spec, labels: LabelSpace) -> Spec:
    """Spec of the clips to read in training: the run's own, or with the frames that its teacher sees beside them.

    Args:
      config: config of the run.
      spec: spec of its network.
      labels: its classes.

    Raises:
      ConfigError: if the teacher has other classes or inputs, or numbers of frames do not divide each other.
      CheckpointFolderError: if there is no such run.
    """
    folder = config.train.teacher
    if not folder:
        return spec
    meta = load_meta(folder)

    def need(ok: bool, what: str) -> None:
        if not ok:
            raise ConfigError(f"config.train.teacher = {folder!r}: {what}")

    need(meta.labels.several == labels.several, "one of the two runs has several labels per video, and the other one")
    missing = [name for name in labels.names if name not in meta.labels.names]
    example = f" (it lacks {missing[0]!r})" if missing else ""
    need(
        meta.labels.names == labels.names,
        f"it has learned {len(meta.labels.names)} classes and this run has {len(labels.names)}; they must be the same, "
        f"in the same order{example}",
    )
    own, theirs = spec.inputs, meta.spec.inputs
    need(own.keys() == theirs.keys(), f"it takes {', '.join(theirs)}, and {spec.name} takes {', '.join(own)}")
    for name, mine in own.items():
        other = theirs[name]
        if not isinstance(mine, VideoInput) or not isinstance(other, VideoInput):
            need(mine == other, f"its input {name!r} is another ({other} instead of {mine})")
            continue
        need(
            (mine.size, mine.content, mine.flow) == (other.size, other.content, other.flow),
            f"it sees {other.brief} of {other.content}, and this run {mine.brief} of {mine.content}: size and content "
            "of the pictures must be the same, see config.data.clip",
        )
        few, many = sorted((mine.num_frames, other.num_frames))
        need(
            many % few == 0,
            f"it sees {other.num_frames} frames, and this run {mine.num_frames}: one must divide the other",
        )
        if other.num_frames > mine.num_frames:
            spec = _denser(spec, mine, many // few, config)
    return spec


def load_teacher(folder: str, sharding: NamedSharding) -> tuple[Teacher, dict[str, Arrays]]:
    """Load the teacher of a run: the structure, and its arrays as `{"params", "stats"}`.

    Args:
      folder: folder of the teacher's run; the best checkpoint by that run's metric is loaded.
      sharding: placement of the arrays.

    Raises:
      CheckpointFolderError: if there is no such run.
    """
    model, meta, _ = load_model(folder, sharding=sharding)
    return _with_arrays(model, meta.spec)


def abstract_teacher(folder: str) -> tuple[Teacher, dict[str, Arrays]]:
    """The teacher with abstract arrays, without reading weights."""
    meta = load_meta(folder)
    return _with_arrays(abstract_model(as_loaded(meta)), meta.spec)


def _with_arrays(model: Any, spec: Spec) -> tuple[Teacher, dict[str, Arrays]]:
    assert isinstance(model, VideoNetwork)
    teacher = Teacher(model, spec)
    _, params, stats = split(teacher)
    return teacher, {"params": params, "stats": stats}


def _denser(spec: Spec, video: VideoInput, times: int, config: Config) -> Spec:
    """The spec with `times` as many frames in the same time."""
    frames = video.num_frames * times
    if config.data.sampling.train in UNSTRIDED_RULES:
        return spec.with_video(num_frames=frames)
    if video.fps:
        return spec.with_video(num_frames=frames, fps=video.fps * times)
    if video.stride % times:
        raise ConfigError(
            f"config.train.teacher = {config.train.teacher!r}: it sees {times} times as many frames, but this run's "
            f"stride, {video.stride}, cannot be divided by {times}: set config.data.clip.stride to a multiple of it"
        )
    return spec.with_video(num_frames=frames, stride=video.stride // times)
