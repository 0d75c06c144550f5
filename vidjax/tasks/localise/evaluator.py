"""Evaluation of networks that find segments: mean average precision by temporal IoU."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from vidjax.config import Config, Spec
from vidjax.config.choices import TIOUS
from vidjax.data.records import Segments, VideoSet
from vidjax.evaluation.evaluator import Rows
from vidjax.evaluation.matching import ThresholdAP
from vidjax.evaluation.segments import SegmentArrays, segment_ap
from vidjax.inputs import SequenceInput
from vidjax.nn.enter import enter
from vidjax.tasks.localise.decode import Candidates
from vidjax.tasks.localise.detections import Detections, VideoScores, suppressed, video_id, write_results
from vidjax.tasks.localise.methods import method_of, suppression_of
from vidjax.tasks.localise.nms import Found, Suppression
from vidjax.tasks.localise.timing import FeatureTiming, FrameTiming, Timing


class SegmentEvaluator:
    """Average precision of the segments found in whole videos.

    A video longer than the network's clips comes in parts that overlap; each part answers for the places up to the
    middle of what it shares with its neighbours, and suppression runs over all of them together.

    Args:
      videos: videos with their segments.
      spec: spec of the network, with its input.
      config: settings, of which `task.localise` and `data` are used.
      dtype: type of the network's inputs; None: float32.
    """

    def __init__(self, videos: VideoSet, spec: Spec, config: Config, dtype: Any = None):
        self._videos, self._spec, self._dtype = videos, spec, dtype
        self._settings = config.task.localise
        sequence = next((value for value in spec.inputs.values() if isinstance(value, SequenceInput)), None)
        self._timing: Timing = FeatureTiming(sequence, config.data) if sequence else FrameTiming(spec, config.data)
        self._found: dict[tuple[int, int], Candidates] = {}  # by record and view, in seconds
        self._rule: Suppression | None = None  # as the first outputs say
        self._detections: dict[int, Detections] | None = None

    def forward(self, network: Any, inputs: Mapping[str, jax.Array], number: jax.Array) -> Any:
        """Compute the network's outputs for B clips."""
        del number
        return network(enter(inputs, self._spec.inputs, self._dtype, network=network))

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether a batch has any view to score."""
        return bool((index >= 0).any())

    def add(self, rows: Rows, outputs: Any) -> None:
        """Decode the outputs of one view of each video."""
        self._detections = None
        for row, (index, views) in enumerate(zip(rows.index.tolist(), rows.views.tolist(), strict=True)):
            one = jax.tree.map(lambda x, row=row: np.asarray(x[row]), outputs)
            self._rule = self._rule or suppression_of(one, self._settings)
            found = method_of(one).decode(one, self._settings)
            self._found[index, rows.view] = self._in_seconds(found, index, rows.view, views)

    def merge(self, other: Self) -> None:
        """Add the detections of another evaluator."""
        self._found |= other._found
        self._rule = self._rule or other._rule
        self._detections = None

    def summary(self) -> dict[str, dict[str, float]]:
        """Summarise by set of thresholds, such as `thumos`: `mAP`, and the mean AP at single temporal IoUs."""
        settings = self._settings
        return {name: self._figures(name) for name in dict.fromkeys((settings.thresholds, *settings.also))}

    def details(self) -> dict[str, Any]:
        """Further entries of `eval.json`: the protocol, the thresholds, and the AP of each class."""
        settings, result = self._settings, self._score(self._settings.thresholds)
        names, counts = self._videos.labels.names, result.num_truths
        each = [None if np.isnan(column).all() else float(column.mean()) for column in result.ap.T]
        return {
            "protocol": settings.protocol,
            "thresholds": {name: list(TIOUS[name]) for name in (settings.thresholds, *settings.also)},
            "num_detections": sum(map(len, self._all().values())),
            "suppression": self._rule.kind if self._rule else None,
            "per_class": {
                name: {"AP": ap, "num_segments": int(count)}
                for name, ap, count in zip(names, each, counts, strict=True)
            },
        }

    def write(self, folder: Path, title: str) -> list[str]:
        """Write the detections and, for scorers of other projects, the truth: `segments.json` and `truth.json`."""
        names, found = self._videos.labels.names, self._all()
        if self._settings.video_scores:
            classes = VideoScores.read(self._settings.video_scores)
            join = self._settings.video_join
            joined = {index: classes.join(one, self._id(index), join) for index, one in found.items()}
            entries = {self._id(index): one.entries(classes.names) for index, one in joined.items()}
        else:
            entries = {self._id(index): one.entries(names) for index, one in found.items()}
        write_results(folder / "segments.json", entries, run=title)
        database = {
            self._id(index): {
                "subset": "validation",
                "duration": self._duration(index),
                "annotations": [{"segment": [start, end], "label": names[label]} for start, end, label in spans],
            }
            for index in self._all()
            for spans in [self._spans(index)]
        }
        text = json.dumps({"database": database}, indent=1, ensure_ascii=False)
        (folder / "truth.json").write_text(f"{text}\n", encoding="utf-8")
        return ["segments.json", "truth.json"]

    def detections(self, index: int) -> tuple[Detections, float]:
        """Detections of one video after suppression, and the video's duration in seconds."""
        return self._all()[index], self._duration(index)

    def _in_seconds(self, found: Candidates, index: int, view: int, views: int) -> Candidates:
        part = self._timing.part(self._videos.records[index], view, views)
        kept = (found.places >= part.first) & (found.places < part.last)
        times = part.grid.seconds(found.segments[kept].astype(np.float64))
        return Candidates(times, found.scores[kept], found.labels[kept], found.places[kept] + part.start)

    def _duration(self, index: int) -> float:
        return self._timing.duration(self._videos.records[index])

    def _id(self, index: int) -> str:
        return video_id(self._videos.records[index].path)

    def _spans(self, index: int) -> tuple[tuple[float, float, int], ...]:
        annotation = self._videos.records[index].annotation
        return annotation.spans if isinstance(annotation, Segments) else ()

    def _all(self) -> dict[int, Detections]:
        """Detections of every video, after suppression."""
        if self._detections is None:
            by_video: dict[int, list[Candidates]] = {}
            for (index, _), found in sorted(self._found.items(), key=lambda item: item[0]):
                by_video.setdefault(index, []).append(found)
            self._detections = {index: self._suppressed(index, parts) for index, parts in by_video.items()}
        return self._detections

    def _suppressed(self, index: int, parts: list[Candidates]) -> Detections:
        segments, scores, labels = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("segments", "scores", "labels")
        )
        assert self._rule is not None  # there were outputs
        return suppressed(Found(segments, scores, labels), self._rule, self._duration(index))

    def _figures(self, name: str) -> dict[str, float]:
        result, levels = self._score(name), TIOUS[name]
        # Of many thresholds those that papers print: the ends and the middle.
        shown = range(len(levels)) if len(levels) <= 5 else (0, len(levels) // 2, len(levels) - 1)
        return {"mAP": result.mAP} | {f"{levels[i]:g}": float(result.mean[i]) for i in shown}

    def _score(self, name: str) -> ThresholdAP:
        names, found = self._videos.labels.names, self._all()
        truth = [(index, *span) for index in found for span in self._spans(index)]
        video, start, end, label = (np.array(column) for column in zip(*truth, strict=True)) if truth else ([],) * 4
        true = SegmentArrays(_whole(video), _seconds(start), _seconds(end), _whole(label))
        each = [(np.full(len(one), index), one) for index, one in found.items()]
        segments = np.concatenate([np.zeros((0, 2)), *(one.segments for _, one in each)])
        predicted = SegmentArrays(
            _whole(np.concatenate([np.zeros(0), *(video for video, _ in each)])),
            start=_seconds(segments[:, 0]),
            end=_seconds(segments[:, 1]),
            label=_whole(np.concatenate([np.zeros(0), *(one.labels for _, one in each)])),
            score=_seconds(np.concatenate([np.zeros(0), *(one.scores for _, one in each)])),
        )
        return segment_ap(true, predicted, TIOUS[name], self._settings.protocol, num_classes=len(names))


def _whole(values: Any) -> np.ndarray:
    return np.asarray(values, np.int64)


def _seconds(values: Any) -> np.ndarray:
    return np.asarray(values, np.float64)
