"""What a trained run can answer about a video: its classes, its feature vectors, and when it shows its classes."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.config import ReadingConfig, SamplingConfig
from vidjax.config.choices import WHOLE_VIDEO_RULES
from vidjax.data.reading.feature_file import Grid
from vidjax.data.reading.windows import WindowReader, Windows
from vidjax.errors import UserError
from vidjax.export.folder import read_info
from vidjax.inputs import AudioInput, VideoInput
from vidjax.predictor import Predictor
from vidjax.serving.batcher import View
from vidjax.serving.limits import Limits
from vidjax.tasks.localise.detections import of_scores
from vidjax.tasks.service import TOP, Answer, Read, list_schema, object_schema
from vidjax.training.checkpoints import load_meta
from vidjax.video import VideoError

_PATIENCE = 0.1  # seconds after which decoding a file gives way to that of others
_LEAST = 0.3  # score from which segments are told
_CLIPS = 10  # of a video, where the run would look at all of it


class Run(Protocol):
    """A trained run, as a server needs it.

    Attributes:
      answers: its answers by name.
      facts: what it is, as plain values for JSON.
    """

    answers: dict[str, Answer]
    facts: dict[str, Any]

    def blank(self) -> View:
        """A view without a video, for compiling."""
        ...

    def compute(self, views: Sequence[View], size: int) -> np.ndarray:
        """Outputs for views, from which all answers are made; see `vidjax.serving.batcher.Compute`."""
        ...


def guarded(limits: Limits) -> ReadingConfig:
    """Settings of reading files that are not trusted."""
    return ReadingConfig(
        timeout=limits.decode_seconds,
        max_memory=limits.decode_gib,
        max_pixels=limits.max_pixels,
        patience=_PATIENCE,
        isolate=True,
    )


def limited_clips(folder: str, num_clips: int | None) -> dict[str, Any]:
    """Arguments of a `Predictor` for files that others choose, who would otherwise say how much is computed.

    Args:
      folder: work directory of a run, or folder written by `convert` or `export`.
      num_clips: clips per video; None: as in the run's config, or 10 if that would be all of a video.
    """
    exported = read_info(folder)
    meta = load_meta(folder) if exported is None else exported.meta
    if meta.config.data.sampling.eval not in WHOLE_VIDEO_RULES:
        return {"num_clips": num_clips}
    return {"num_clips": num_clips or _CLIPS, "sampling": SamplingConfig(eval="multi_clip")}


class TrainedRun:
    """Run of a network that sees videos or hears sound.

    Args:
      folder: work directory of a run, or folder written by `convert`.
      limits: limits of decoding.
      num_clips: clips per video; None: as in the run's config, or 10 if that would be all of a video.
      num_crops: crops per clip; None: as in the run's config.
      step: update number of the checkpoint; None: the best.
      top: number of classes in an answer.

    Raises:
      UserError: if the network takes anything but video and sound.
    """

    def __init__(
        self,
        folder: str,
        limits: Limits,
        *,
        num_clips: int | None = None,
        num_crops: int | None = None,
        step: int | None = None,
        top: int = 5,
    ):
        reading = guarded(limits)
        more: dict[str, Any] = {"num_crops": num_crops, "step": step, "top": top}
        self._predictor = predictor = Predictor(folder, reading=reading, **limited_clips(folder, num_clips), **more)
        spec = predictor.spec
        if not {type(value) for value in spec.inputs.values()} <= {VideoInput, AudioInput}:
            given = " and ".join(value.kind for value in spec.inputs.values())
            raise UserError(f"{folder}: {spec.name} takes {given}; only networks of video and sound can be served")
        width = 0 if predictor.exported else predictor.width()
        self.answers: dict[str, Answer] = {}
        if predictor.has_classes:
            self.answers["predict"] = _Classes(predictor, width)
        if not predictor.exported:
            self.answers["embed"] = _Vectors(predictor, width)
        if predictor.has_classes and list(spec.inputs) == ["video"] and spec.video.flow is None:
            self.answers["segments"] = _Segments(predictor, width, limits)

        def outputs(network: Any, inputs: dict[str, jax.Array]) -> jax.Array:
            vectors = network.features(inputs).astype(jnp.float32)
            if not predictor.has_classes:
                return vectors
            return jnp.concatenate([vectors, network(inputs).astype(jnp.float32)], axis=-1)  # compiled, it runs once

        self._forward = None if predictor.exported else predictor.compiled(outputs)
        self.facts = {
            "model": spec.name,
            "fingerprint": "" if predictor.exported else predictor.fingerprint,
            "classes": list(predictor.class_names) if "predict" in self.answers else [],
            "views": predictor.sampling,
        }

    def blank(self) -> View:
        """A view without a video."""
        return self._predictor.blank()

    def compute(self, views: Sequence[View], size: int) -> np.ndarray:
        """Vectors of views, but for an export, and, with classes, the outputs behind them; see `Run.compute`."""
        return self._predictor.applying(size, self._forward)(views)


def _clips(**more: Any) -> dict[str, Any]:
    return list_schema(object_schema(start={"type": "number"}, end={"type": "number"}, **more))


class _Classes:
    """Classes of a file, best first, and those of its clips."""

    summary = "Classes of a video, best first, with their probabilities; of its clips too, if there are several."
    fields: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    schema: Mapping[str, Any] = MappingProxyType(object_schema(top=TOP, shown=TOP, clips=_clips(top=TOP)))

    def __init__(self, predictor: Predictor, width: int):
        self._predictor, self._width = predictor, width

    def read(self, path: str, given: Mapping[str, str]) -> Read:
        """Read the views of a file; see `Answer.read`."""
        del given
        return self._predictor.read(path)

    def of(self, read: Read, outputs: np.ndarray) -> dict[str, Any]:
        """Classes as `vidjax predict --json` gives them; see `Answer.of`."""
        found = self._predictor.prediction("", read[1], outputs[:, self._width :]).to_dict()
        return {name: value for name, value in found.items() if name != "path"}


class _Vectors:
    """Feature vectors of a file's clips."""

    summary = "Feature vectors of a video, one per clip: the classifier's input, averaged over the clip's crops."
    fields: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    schema: Mapping[str, Any] = MappingProxyType(object_schema(clips=_clips(vector=list_schema({"type": "number"}))))

    def __init__(self, predictor: Predictor, width: int):
        self._predictor, self._width = predictor, width

    def read(self, path: str, given: Mapping[str, str]) -> Read:
        """Read the views of a file; see `Answer.read`."""
        del given
        return self._predictor.read(path)

    def of(self, read: Read, outputs: np.ndarray) -> dict[str, Any]:
        """Vectors of clips; see `Answer.of`."""
        found = self._predictor.vectors("", read[1], outputs[:, : self._width])
        assert found.vectors is not None and found.start is not None and found.end is not None
        rows = zip(found.start.tolist(), found.end.tolist(), found.vectors.tolist(), strict=True)
        return {"clips": [{"start": start, "end": end, "vector": vector} for start, end, vector in rows]}


class _Segments:
    """Segments of a file in which its classes are to be seen, from their scores in sliding windows.

    Args:
      predictor: predictor of a classifier of video.
      width: numbers before the classes in the outputs of a window.
      limits: limits of the server.
    """

    summary = "When a video shows its classes: segments, best first, from scores of windows half a clip apart."
    fields: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    schema: Mapping[str, Any] = MappingProxyType(
        object_schema(
            duration={"type": "number"},
            segments=_clips(score={"type": "number"}, **{"class": {"type": "string"}}),
        )
    )

    def __init__(self, predictor: Predictor, width: int, limits: Limits):
        self._predictor, self._width = predictor, width
        self._most = max(1, min(limits.windows, limits.window_bytes // predictor.blank()["video"].nbytes))
        self._windows = Windows.of(predictor.spec.video)

    def read(self, path: str, given: Mapping[str, str]) -> Read:
        """Read the windows of a file; see `Answer.read`."""
        del given
        with WindowReader(path, self._predictor.spec, self._predictor.data, self._windows) as reader:
            if len(reader) > self._most:
                reason = (
                    f"has {len(reader)} windows of {self._windows.window} frames; at most {self._most} are read here"
                )
                raise VideoError(path, reason, "send a part of it")
            times = Grid.of_frames(self._windows.stride, self._windows.window, reader.fps), reader.duration
            return {"video": np.stack(list(reader.clips()))}, times

    def of(self, read: Read, outputs: np.ndarray) -> dict[str, Any]:
        """Segments as `vidjax localise` finds them, without those that others cover; see `Answer.of`."""
        grid, duration = read[1]
        found = of_scores(self._predictor.scores(outputs[:, self._width :]), grid, duration).best_of_each_place(_LEAST)
        best = sorted(found.entries(self._predictor.class_names), key=lambda each: -each["score"])
        rows = [(*each["segment"], each["score"], each["label"]) for each in best]
        return {
            "duration": duration,
            "segments": [{"start": a, "end": b, "score": score, "class": name} for a, b, score, name in rows],
        }


def reason_of(error: Exception, path: str) -> str:
    """What a client is told of an error with its file: without the name that the file has here."""
    if isinstance(error, VideoError):
        return f"the file {error.reason.replace(path, 'upload')}; {error.mend}"
    if isinstance(error, UserError):
        return str(error).replace(path, "the file")
    return "the file cannot be decoded"
