"""Classes of given boxes in a file, for a server."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Config, Spec
from vidjax.data.listing.corners import refusal, within
from vidjax.data.listing.datasets import folder_fps
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.reading.open_video import open_video
from vidjax.data.records import Corners, LabelSpace, Record, VideoSet
from vidjax.errors import UserError
from vidjax.evaluation.evaluator import Rows
from vidjax.inputs import BoxInput, VideoInput
from vidjax.tasks.detect.clips import KeyFrameClips, most_boxes
from vidjax.tasks.detect.evaluator import BoxEvaluator
from vidjax.tasks.detect.proposals import moment
from vidjax.tasks.service import TOP, Read, Service, ServiceLimits, list_schema, object_schema
from vidjax.video import VideoError
from vidjax.wording import things

_BOXES = "boxes"
_FORM = '[{"time": 0.5, "box": [0.1, 0.2, 0.4, 0.9]}], times in seconds, corners as shares of the picture'
_NUMBER = {"type": "number"}
_CORNERS = {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4}


def service(config: Config, spec: Spec, labels: LabelSpace, dtype: Any, limits: ServiceLimits) -> Service:
    """Make the answer `boxes`.

    Raises:
      UserError: for a network that reads more than video and boxes, which a single file does not have.
    """
    if not {type(value) for value in spec.inputs.values()} <= {VideoInput, BoxInput}:
        given = " and ".join(value.kind for value in spec.inputs.values())
        raise UserError(f"{spec.name} takes {given}; a file alone has only video and the boxes given with it")
    answer = _ClassesOfBoxes(config, spec, labels, dtype, limits)
    return Service({_BOXES: answer}, answer.forward, ranks=True)


@dataclass(frozen=True, eq=False)
class _Asked:
    """Boxes that a client asks about, clip by clip.

    Attributes:
      records: a record for each clip.
      order: place in the client's list of each box of the clips, int64 `(N,)`.
      given: the client's list.
    """

    records: tuple[Record, ...]
    order: np.ndarray
    given: list[tuple[float, Corners]]


class _ClassesOfBoxes:
    """Classes of boxes in key frames; those of a key frame with many boxes are divided among several clips."""

    summary = "Classes of boxes in a video, such as who does what; the network sees a clip around the time of each."
    schema: Mapping[str, Any] = MappingProxyType(
        object_schema(boxes=list_schema(object_schema(time=_NUMBER, box=_CORNERS, top=TOP)))
    )
    fields: Mapping[str, Mapping[str, Any]] = MappingProxyType(
        {_BOXES: {"type": "string", "contentMediaType": "application/json", "description": f"Required: {_FORM}."}}
    )

    def __init__(self, config: Config, spec: Spec, labels: LabelSpace, dtype: Any, limits: ServiceLimits):
        self._data, self._labels, self._limits = config.data, labels, limits
        self._settings = (spec, getattr(config.task, spec.task))
        self._dtype, self._crops = dtype, config.eval.num_crops
        self._reader, self._most = ExampleReader(spec, config.data), most_boxes(spec, spec.name)
        self._layout = self._reader.layout()
        self._views = max(1, min(limits.views, limits.bytes // self._layout.bytes(1, 1)))

    def _evaluator(self, records: tuple[Record, ...]) -> BoxEvaluator:
        return BoxEvaluator(VideoSet(records, self._labels), *self._settings, dtype=self._dtype)

    def forward(self, network: nnx.Module, inputs: Mapping[str, jax.Array], number: jax.Array) -> jax.Array:
        """Logits of the boxes' classes and the boxes' areas, float32 `(B, R, K + 1)`."""
        logits, area = self._evaluator(()).forward(network, inputs, number)
        return jnp.concatenate([logits, area[..., None].astype(jnp.float32)], axis=-1)

    def read(self, path: str, given: Mapping[str, str]) -> Read:
        """Read the clips around the key frames of the boxes; see `Answer.read`."""
        asked = self._clips(path, boxes_of_text(given.get(_BOXES, "")))
        if len(asked.records) * self._crops > self._views:
            count = things(len(asked.records) * self._crops, "view")
            raise UserError(f"{_BOXES}: these are in {count}; at most {self._views} are read here: ask about fewer")
        until, found = time.monotonic() + self._limits.seconds, []
        with open_video(path, folder_fps=folder_fps(self._data), **self._data.reading.limits) as video:
            duration = video.duration
        if late := [at for at, _ in asked.given if at > duration]:
            raise UserError(
                f"{_BOXES}: the time {late[0]:g} s is after the end of the video, which lasts {duration:.2f} s"
            )
        for record in asked.records:
            if time.monotonic() > until:
                raise VideoError(path, f"takes more than {self._limits.seconds:g} s to read", "ask about fewer boxes")
            inputs, _ = self._reader.evaluate(record, 1, self._crops)
            found.append({"inputs": inputs})
        batch = self._layout.collate(found)["inputs"]  # clips by views
        return {name: array.reshape(-1, *array.shape[2:]) for name, array in batch.items()}, asked

    def _clips(self, path: str, given: list[tuple[float, Corners]]) -> _Asked:
        moments = np.array([moment(at) for at, _ in given])
        corners = np.array([box for _, box in given], np.float64)
        times = np.unique(moments)
        rows = [corners[moments == each] for each in times]
        return _Asked(
            KeyFrameClips.of(path, times / 1000, rows, self._most).records, np.argsort(moments, kind="stable"), given
        )

    def of(self, read: Read, outputs: np.ndarray) -> dict[str, Any]:
        """The boxes in the client's order, with their best classes; see `Answer.of`."""
        asked: _Asked = read[1]
        count, crops = len(asked.records), self._crops
        evaluator = self._evaluator(asked.records)
        for crop in range(crops):
            own = outputs[crop::crops]
            evaluator.add(Rows(np.arange(count), crop, np.full(count, crops)), (own[..., :-1], own[..., -1]))
        scores = evaluator.detections
        rows = np.concatenate([scores[clip] for clip in range(count)])
        by_place = dict(zip(asked.order.tolist(), rows, strict=True))
        return {
            _BOXES: [
                {"time": at, "box": list(box), "top": self._top(by_place[place])}
                for place, (at, box) in enumerate(asked.given)
            ]
        }

    def _top(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """The best classes; none of a box that no view shows."""
        if np.isnan(scores).any():
            return []
        best = np.argsort(-scores, kind="stable")[: self._limits.top]
        return [{"class": self._labels.names[k], "score": float(scores[k])} for k in best]


def boxes_of_text(text: str) -> list[tuple[float, Corners]]:
    """Times in seconds and corners of the boxes that JSON lists.

    Raises:
      UserError: if the text is of another form, names no box, or a box is not within the picture.
    """
    try:
        found = [(_number(each["time"]), [_number(value) for value in each["box"]]) for each in json.loads(text)]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(f"{_BOXES}: give {_FORM}") from None
    if not found or any(len(corners) != 4 or at < 0 for at, corners in found):
        raise UserError(f"{_BOXES}: give at least one box with four corners and a time from 0 on: {_FORM}")
    given = []
    for at, corners in found:
        cut = within(corners)
        if cut is None:
            raise UserError(f"{_BOXES}: {refusal(corners)}")
        given.append((at, cut))
    return given


def _number(value: Any) -> float:
    """A finite number below 10⁹.

    Raises:
      ValueError: if it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise ValueError
    return float(value)
