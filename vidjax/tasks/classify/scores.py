"""A classifier's scores for every view of every video, and the accuracies that follow from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidjax.data.records import Labels, VideoSet
from vidjax.evaluation import metrics
from vidjax.evaluation.several import mean_ap


@dataclass(frozen=True)
class Scores:
    """Scores of an evaluation: one row per video that could be read, in the order of the records."""

    index: np.ndarray  # int64 (N,), numbers of the records
    view_scores: np.ndarray  # float64 (N, V, K), probabilities; 0 where a video has fewer than V views
    num_views: np.ndarray | None = None  # int64 (N,), views of each video; None: V of each
    ensemble: str = "mean"  # or "max": see `config.eval.ensemble`

    @property
    def is_view(self) -> np.ndarray:
        """Mask of the entries of `view_scores` that are not padding, bool `(N, V)`."""
        count, most = self.view_scores.shape[:2]
        views = np.full(count, most) if self.num_views is None else self.num_views
        return np.arange(most) < views[:, None]

    @property
    def video_scores(self) -> np.ndarray:
        """Scores of each video, the mean or the maximum of its views', float64 `(N, K)`."""
        return metrics.join_views(self.view_scores, self.ensemble, self.is_view)


def figures(scores: Scores, videos: VideoSet) -> dict[str, dict[str, float]]:
    """Accuracies as fractions, at clip and video level, over the videos that could be read.

    Returns:
      `clip` and `video`: `{"top1", "top5"}` (up to 5 classes: `{"top1"}`; several labels: `{"mAP"}`).
    """
    targets = videos.targets()[scores.index]
    is_view = scores.is_view
    clip_targets = np.repeat(targets, is_view.sum(axis=1), axis=0)
    levels = {"clip": (scores.view_scores[is_view], clip_targets), "video": (scores.video_scores, targets)}
    if videos.labels.several:
        return {level: {"mAP": mean_ap(s, t)[0]} for level, (s, t) in levels.items()}
    return {level: metrics.accuracies(s, t) for level, (s, t) in levels.items()}


def per_class(scores: Scores, videos: VideoSet) -> dict[str, dict[str, float | int | None]]:
    """Video-level accuracy by class name: `{"top1" or "AP", "num_videos"}`; None for a class without videos."""
    targets = videos.targets()[scores.index]
    if videos.labels.several:
        values, counts, name = mean_ap(scores.video_scores, targets)[1], (targets > 0).sum(axis=0), "AP"
    else:
        matrix = metrics.confusion_matrix(scores.video_scores.argmax(axis=1), targets, len(videos.labels.names))
        counts, name = matrix.sum(axis=1), "top1"
        values = np.divide(np.diag(matrix), counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return {
        class_name: {name: None if np.isnan(value) else float(value), "num_videos": int(count)}
        for class_name, value, count in zip(videos.labels.names, values, counts, strict=True)
    }


def details(scores: Scores, videos: VideoSet) -> dict[str, Any]:
    """Report `per_class` figures, if videos are annotated in some categories only `per_category` ones, and if videos
    have different numbers of views the total `num_clips_scored`."""
    uneven = {} if scores.is_view.all() else {"num_clips_scored": int(scores.is_view.sum())}
    figures = per_class(scores, videos)
    return uneven | _per_category(figures, videos) | {"per_class": figures}


def _per_category(figures: Mapping[str, Mapping[str, Any]], videos: VideoSet) -> dict[str, Any]:
    """Mean of the classes' figures by category, the part of a name before its first slash, as HVU is evaluated."""
    if not any(isinstance(r.annotation, Labels) and r.annotation.categories for r in videos.records):
        return {}
    found: dict[str, list[float]] = {}
    for name, own in figures.items():
        found.setdefault(name.partition("/")[0], []).extend([own["AP"]] if own["AP"] is not None else [])
    return {"per_category": {name: {"mAP": float(np.mean(v)) if v else None} for name, v in found.items()}}
