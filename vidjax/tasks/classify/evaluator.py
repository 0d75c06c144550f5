"""Clip- and video-level evaluation: every view of every video scored once, then averaged.

A clip is one view (one window of time and one crop). Video scores are the mean over a video's views of the softmax
(multi-label: sigmoid) of the logits.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from rich.console import Console

from vidjax import parallel
from vidjax.config import ConfigError, EvalConfig, Spec
from vidjax.data.pipeline import BadRecord, Batch
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import VideoSet
from vidjax.evaluation import metrics
from vidjax.evaluation.engine import batches_of, gather_bad, views_of
from vidjax.models.state import Arrays, in_float32, merge, split
from vidjax.nn.normalise import network_input, normalise

# (params, stats, uint8 video (B, T, H, W, C)) → logits (B, K), or features (B, D)
Forward = Callable[[Arrays, Arrays, jax.Array], jax.Array]


@dataclass(frozen=True)
class Scores:
    """The outcome of an evaluation: one row per video that could be read, in the order of the records."""

    index: np.ndarray  # int64 (N,), which record
    view_scores: np.ndarray  # float64 (N, V, K), probabilities; 0 where a video has fewer than V views
    bad: tuple[BadRecord, ...]
    num_views: np.ndarray | None = None  # int64 (N,), views of each video; None: V of each

    @property
    def is_view(self) -> np.ndarray:
        """bool `(N, V)`: what of `view_scores` is not padding."""
        count, most = self.view_scores.shape[:2]
        views = np.full(count, most) if self.num_views is None else self.num_views
        return np.arange(most) < views[:, None]

    @property
    def video_scores(self) -> np.ndarray:
        """float64 `(N, K)`: the mean over views."""
        return self.view_scores.sum(axis=1) / np.maximum(self.is_view.sum(axis=1, keepdims=True), 1)


def make_forward(model: nnx.Module, spec: Spec, mesh: Mesh, dtype: Any = None, *, features: bool = False) -> Forward:
    """The compiled function `(params, stats, uint8 (B, T, H, W, C)) → float32 logits (B, K)` in evaluation mode.

    Args:
      model: is put into evaluation mode.
      spec: how pixels are normalised and what enters the network.
      mesh: whose devices share a batch.
      dtype: of what enters; None: float32.
      features: features (B, D) instead of logits.
    """
    model.eval()
    graphdef, _, _ = split(model)

    def forward(params: Arrays, stats: Arrays, video: jax.Array) -> jax.Array:
        video = network_input(normalise(video, spec), spec, dtype)
        network = merge(graphdef, in_float32(params), stats)
        with parallel.kernels_on(mesh):
            return (network.features(video) if features else network(video)).astype(jax.numpy.float32)

    return jax.jit(forward, out_shardings=parallel.batch_sharding(mesh))


def evaluate(
    forward: Forward,
    params: Arrays,
    stats: Arrays,
    videos: VideoSet,
    reader: ClipReader,
    config: EvalConfig,
    mesh: Mesh,
    console: Console | None = None,
) -> tuple[dict[str, Any], Scores]:
    """Decode, score and summarise a whole video set, with a progress bar on `console`.

    Args:
      forward: from `make_forward`.
      params, stats: placed on the mesh.
      videos: what to evaluate.
      reader: how views are read.
      config: views per video and videos per step; the latter is rounded up to a multiple of the devices.
      mesh: whose devices share a batch.
      console: None: no bar.

    Returns:
      `(summary, scores)`: see `summarise` and `Scores`.
    """
    if config.num_crops == 10 and videos.directional:
        raise ConfigError(
            "config.eval.num_crops = 10: half of the crops are mirrored, and these labels tell left from right; use 5"
        )
    batches = batches_of(videos, reader, config, mesh, console)
    scores = score(forward, params, stats, batches, mesh, multi_label=videos.multi_label)
    return summarise(scores, videos), scores


def score(
    forward: Forward,
    params: Arrays,
    stats: Arrays,
    batches: Iterable[Batch],
    mesh: Mesh,
    *,
    multi_label: bool,
) -> Scores:
    """Run the model over evaluation batches.

    Args:
      forward: from `make_forward`.
      params, stats: placed on the mesh.
      batches: from `data.pipeline.eval_batches`; each process gives its rows.
      mesh: whose devices share a batch.
      multi_label: sigmoid instead of softmax.
    """
    sharding = parallel.batch_sharding(mesh)
    index, scores, num_views, bad = [], [], [], []
    probabilities = metrics.sigmoid if multi_label else metrics.softmax
    for batch in batches:
        # One view at a time: the views of 30-view testing need not fit on the device together.
        logits = [forward(params, stats, parallel.place(view, sharding)) for view in views_of(batch)]
        columns = {k: batch[k] for k in ("index", "mask", "views")}
        rows = parallel.gather({"logits": logits, **parallel.place(columns, sharding)})
        keep = rows["mask"]
        index.append(rows["index"][keep])
        num_views.append(rows["views"][keep])
        real = np.arange(len(logits))[:, None] < num_views[-1][:, None, None]
        scores.append(np.where(real, probabilities(np.stack(rows["logits"], axis=1)[keep]), 0.0))
        bad += batch["bad"]
    order = np.argsort(np.concatenate(index), kind="stable")
    most = max(s.shape[1] for s in scores)
    scores = [np.pad(s, ((0, 0), (0, most - s.shape[1]), (0, 0))) for s in scores]
    return Scores(
        np.concatenate(index)[order], np.concatenate(scores)[order], gather_bad(bad), np.concatenate(num_views)[order]
    )


def summarise(scores: Scores, videos: VideoSet) -> dict[str, Any]:
    """The figures of `eval.json`: accuracies as fractions, at clip and at video level.

    Returns:
      `clip` and `video`: `{"top1", "top5"}` (up to 5 classes: `{"top1"}`; multi-label: `{"mAP"}`);
      `coverage`, the share of videos that could be read;
      `num_videos`, those; `num_views` per video; where that differs, the most, and `num_clips_scored`, all of them;
      `per_class`: name → video-level `{"top1" or "AP", "num_videos"}`; `unreadable`: list of `{"path", "reason"}`.
      Accuracies are over the readable videos.
    """
    targets = videos.targets()[scores.index]
    is_view = scores.is_view
    clip_scores = scores.view_scores[is_view]
    clip_targets = np.repeat(targets, is_view.sum(axis=1), axis=0)
    levels = {"clip": (clip_scores, clip_targets), "video": (scores.video_scores, targets)}
    if videos.multi_label:
        per_class_values = metrics.average_precision(scores.video_scores, targets)
        counts, name = targets.sum(axis=0).astype(int), "AP"
        summary = {level: {"mAP": _nanmean(metrics.average_precision(s, t))} for level, (s, t) in levels.items()}
    else:
        matrix = metrics.confusion_matrix(scores.video_scores.argmax(axis=1), targets, len(videos.class_names))
        counts, name = matrix.sum(axis=1), "top1"
        per_class_values = np.divide(np.diag(matrix), counts, out=np.full(len(counts), np.nan), where=counts > 0)
        summary = {level: metrics.accuracies(s, t) for level, (s, t) in levels.items()}
    return summary | {
        "coverage": len(scores.index) / len(videos),
        "num_videos": len(scores.index),
        "num_views": scores.view_scores.shape[1],
        **({} if is_view.all() else {"num_clips_scored": len(clip_scores)}),
        "per_class": {
            class_name: {name: None if np.isnan(value) else float(value), "num_videos": int(count)}
            for class_name, value, count in zip(videos.class_names, per_class_values, counts, strict=True)
        },
        "unreadable": [{"path": b.path, "reason": b.reason} for b in scores.bad],
    }


def flat_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """`{"clip/top1": …, "video/top1": …}` (or `{"reconstruction/loss": …}`) of a summary, for logs and to choose
    the best checkpoint."""
    levels = [level for level in ("clip", "video", "reconstruction") if level in summary]
    return {f"{level}/{name}": value for level in levels for name, value in summary[level].items()}


def _nanmean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
