"""Frame mAP of boxes, and the detections as files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import DetectConfig, Spec
from vidjax.data.records import Boxes, VideoSet
from vidjax.evaluation.boxes import BoxArrays, FrameAP, frame_ap
from vidjax.evaluation.evaluator import Rows
from vidjax.evaluation.metrics import sigmoid
from vidjax.nn.enter import enter
from vidjax.tasks.detect.objective import box_name

Start = Callable[[str], float]


def _zero(path: str) -> float:
    return 0.0


_EMPTY = np.empty((0, 7))  # columns: key frame, four corners, class, score


def _columns(rows: np.ndarray) -> BoxArrays:
    return BoxArrays(rows[:, 0].astype(np.int64), rows[:, 1:5], rows[:, 5].astype(np.int64), rows[:, 6])


class Scored(NamedTuple):
    """Scores of boxes in one view of a key frame."""

    scores: np.ndarray  # float32 (R, K)
    area: np.ndarray  # float32 (R,), pixels of each box in the view; 0: not shown


class BoxEvaluator:
    """Frame mAP of a network's boxes on a video set.

    A box that several crops show has the mean of their scores, weighted by the area that each shows. The scores are
    sigmoids of the logits.

    Args:
      videos: key frames to evaluate, with their boxes.
      spec: spec of the network, with its inputs and their normalisation.
      settings: protocol and overlap.
      start: path of a file → time of the annotations at which it begins, seconds, for the files of detections.
      dtype: type of the network's inputs; None: float32.
    """

    def __init__(self, videos: VideoSet, spec: Spec, settings: DetectConfig, start: Start = _zero, dtype: Any = None):
        self._videos, self._spec, self._settings, self._dtype = videos, spec, settings, dtype
        self._start = start
        self._views: dict[int, list[tuple[int, Scored]]] = {}

    def forward(
        self, network: nnx.Module, inputs: Mapping[str, jax.Array], number: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Compute logits, float32 `(B, R, K)`, and the boxes' areas in pixels, float32 `(B, R)`."""
        del number  # nothing is drawn
        boxes = inputs[box_name(self._spec)]
        area = (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
        return network(enter(inputs, self._spec.inputs, self._dtype, network=network)).astype(jnp.float32), area

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether a batch has any view to score."""
        return bool((index >= 0).any())

    def add(self, rows: Rows, outputs: tuple[np.ndarray, np.ndarray]) -> None:
        """Add the logits and areas of one view."""
        logits, area = outputs
        for index, scores, own in zip(rows.index.tolist(), sigmoid(logits), area, strict=True):
            count = self._count(index)
            self._views.setdefault(index, []).append((rows.view, Scored(scores[:count], own[:count])))

    def merge(self, other: Self) -> None:
        """Add the rows of another evaluator."""
        for index, views in other._views.items():
            self._views.setdefault(index, []).extend(views)

    @property
    def detections(self) -> dict[int, np.ndarray]:
        """Scores of the boxes of each key frame by the index of its record, float `(R, K)`; NaN for unseen boxes."""
        found = {}
        for index in sorted(self._views):
            views = [scored for _, scored in sorted(self._views[index], key=lambda each: each[0])]
            area = np.stack([view.area for view in views]).astype(np.float64)
            total = area.sum(axis=0)
            summed = np.einsum("vr,vrk->rk", area, np.stack([view.scores for view in views]).astype(np.float64))
            scores = np.full(summed.shape, np.nan)
            scores[total > 0] = summed[total > 0] / total[total > 0, None]
            found[index] = scores
        return found

    def summary(self) -> dict[str, dict[str, float]]:
        """Summarise, under `boxes`: `mAP`, the mean over classes of the average precision, and `accuracy`, the share of
        annotated boxes, where these are the ones asked about, whose highest score is one of their classes."""
        result = self._result()
        right = [
            label in classes
            for index, scores in self.detections.items()
            if self._boxes(index).proposals is None
            for label, classes in zip(scores.argmax(axis=-1), self._boxes(index).classes, strict=False)
            if classes
        ]
        return {"boxes": {"mAP": result.mAP, "accuracy": float(np.mean(right)) if right else float("nan")}}

    def details(self) -> dict[str, Any]:
        """Report the protocol, key frames and boxes, boxes beyond the network's most, and the precision per class."""
        result, names = self._result(), self._videos.labels.names
        asked = {index: len(self._boxes(index).asked) for index in self._views}
        counts = np.zeros(len(names), np.int64)
        for index in self._views:
            for classes in self._boxes(index).classes:
                counts[list(classes)] += 1
        return {
            "protocol": {"name": self._settings.protocol, "iou": self._settings.iou},
            "num_frames": len(self._views),
            "num_boxes": sum(asked.values()),
            "boxes_beyond_most": sum(count - self._count(index) for index, count in asked.items()),
            "detections_left_out": result.left_out,
            "per_class": {
                name: {"AP": None if np.isnan(value) else float(value), "num_boxes": int(count)}
                for name, value, count in zip(names, result.ap, counts, strict=True)
            },
        }

    def write(self, folder: Path, title: str) -> list[str]:
        """Write the detections and the annotation as AVA's CSVs, with the list of classes; see `ava_files`."""
        from vidjax.tasks.detect.ava_files import write_ava

        frames = {index: self._boxes(index) for index in self._views}
        paths = {index: self._videos.records[index].path for index in self._views}
        times = {index: boxes.at + self._start(paths[index]) for index, boxes in frames.items()}
        return write_ava(folder, paths, times, frames, self.detections, self._videos.labels.names)

    def _result(self) -> FrameAP:
        """Frame mAP of everything added so far."""
        numbers, labels = sorted(self._views), len(self._videos.labels.names)
        counted = np.array(self._videos.shown or range(labels))
        truth, guess = [_EMPTY], [_EMPTY]
        scores = self.detections
        for index in numbers:
            boxes = self._boxes(index)
            pairs = zip(boxes.corners, boxes.classes, strict=True)
            rows = [(index, *corners, label, 1.0) for corners, own in pairs for label in own]
            truth.append(np.array(rows, np.float64).reshape(-1, 7))
            seen = np.flatnonzero(~np.isnan(scores[index]).any(axis=-1))
            corners = np.array(boxes.asked[: self._count(index)], np.float64).reshape(-1, 4)[seen]
            columns = [np.full(len(seen) * len(counted), index), *corners.repeat(len(counted), axis=0).T]
            columns += [np.tile(counted, len(seen)), scores[index][seen][:, counted].ravel()]
            guess.append(np.stack(columns, axis=1))
        true, found = (_columns(np.concatenate(rows)) for rows in (truth, guess))
        settings = self._settings
        named = np.array(numbers, np.int64)
        return frame_ap(true, found, settings.iou, settings.protocol, num_classes=labels, named=named)

    def _boxes(self, index: int) -> Boxes[int]:
        annotation = self._videos.records[index].annotation
        return annotation if isinstance(annotation, Boxes) else Boxes(0.0, (), ())

    def _count(self, index: int) -> int:
        """Number of boxes of a record that the network is asked about."""
        most = next(value for name, value in self._spec.inputs.items() if name == box_name(self._spec))
        return min(len(self._boxes(index).asked), most.field.shape[0])
