"""Files of video scores: a table for people, arrays for programs, and a picture of the confusion matrix."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.data.records import VideoSet
from vidjax.evaluation.class_plot import plot_classes
from vidjax.evaluation.metrics import accuracies, confusion_matrix
from vidjax.evaluation.several import THRESHOLDS, best_thresholds, mean_ap
from vidjax.evaluation.summary_file import percent
from vidjax.lettering import lettering
from vidjax.tasks.classify.scores import Scores

# With more classes, neither the cells nor the names of the confusion matrix are legible.
_NAMED_CLASSES = 60


def write_scores(
    folder: Path, scores: Scores, videos: VideoSet, title: str = "", exits: Mapping[str, Scores] | None = None
) -> list[str]:
    """Write `video_scores.csv`, `scores.npz` and, for single labels, `confusion.png` or, for several, `ap.png` and the
    best thresholds, `thresholds.json`.

    Args:
      folder: existing folder to write to.
      scores: scores of every video that could be read.
      videos: videos that were evaluated.
      title: title of the picture.
      exits: scores of the same videos at the network's early exits, by layer; None: it has none.

    Returns:
      Names of the files.
    """
    records, targets = [videos.records[i] for i in scores.index], videos.targets()[scores.index]
    names = videos.labels.names
    with open(folder / "video_scores.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "prediction", "score", "correct"])
        for record, row in zip(records, scores.video_scores, strict=True):
            best = int(row.argmax())
            label = "|".join(names[i] for i in record.labels)
            writer.writerow([record.path, label, names[best], f"{row[best]:.6f}", int(best in record.labels)])
    np.savez_compressed(
        folder / "scores.npz",
        scores=scores.video_scores.astype(np.float32),
        view_scores=scores.view_scores.astype(np.float32),
        num_views=scores.is_view.sum(axis=1),
        targets=targets,
        paths=np.array([r.path for r in records]),
        class_names=np.array(names),
        **_of_exits(exits or {}),
    )
    if videos.labels.several:
        _write_thresholds(folder / THRESHOLDS, scores.video_scores, targets, names)
        mAP, precisions = mean_ap(scores.video_scores, targets)
        heading = "\n".join(filter(None, [title, f"video mAP {percent(mAP)}, {len(targets)} videos"]))
        plot_classes(folder / "ap.png", names, precisions, (targets > 0).sum(axis=0), "average precision", heading)
        return ["video_scores.csv", "scores.npz", THRESHOLDS, "ap.png"]
    top1 = accuracies(scores.video_scores, targets)["top1"]
    heading = "\n".join(filter(None, [title, f"video top-1 {percent(top1)}, {len(targets)} videos"]))
    matrix = confusion_matrix(scores.video_scores.argmax(axis=1), targets, len(names))
    plot_confusion(folder / "confusion.png", matrix, names, heading)
    return ["video_scores.csv", "scores.npz", "confusion.png"]


def _of_exits(exits: Mapping[str, Scores]) -> dict[str, Any]:
    """Arrays of `scores.npz`: the layers of the exits, and the scores there as `view_scores`, `(E, N, V, K)`."""
    if not exits:
        return {}
    scores = np.stack([each.view_scores for each in exits.values()])
    return {"exits": np.array(list(exits)), "exit_view_scores": scores.astype(np.float32)}


def _write_thresholds(path: Path, scores: np.ndarray, targets: np.ndarray, names: tuple[str, ...]) -> None:
    """Write the thresholds of the highest F1 by class; those of classes without a positive are null."""
    thresholds, f1 = best_thresholds(scores, targets)
    known = ~np.isnan(f1)
    decided = (scores >= thresholds) & (targets >= 0)
    hits, total = (decided & (targets > 0)).sum(), decided.sum() + (targets[:, known] > 0).sum()
    values = {
        "macro_f1": float(f1[known].mean()) if known.any() else None,
        "micro_f1": float(2 * hits / total) if total else None,
        "num_videos": len(scores),
        "classes": {
            name: {"threshold": float(threshold), "f1": float(value)} if there else {"threshold": None, "f1": None}
            for name, threshold, value, there in zip(names, thresholds, f1, known, strict=True)
        },
    }
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def plot_confusion(path: str | Path, matrix: np.ndarray, class_names: tuple[str, ...], title: str = "") -> None:
    """Draw a confusion matrix, each row as shares of its class."""
    with lettering((*class_names, title)) as shown:
        _draw_confusion(Path(path), matrix, tuple(map(shown, class_names)), shown(title))


def _draw_confusion(path: Path, matrix: np.ndarray, class_names: tuple[str, ...], title: str) -> None:
    from matplotlib.figure import Figure

    size = min(14.0, 3.5 + 0.35 * len(class_names))
    figure = Figure(figsize=(size + 0.5, size), layout="constrained")
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="share of the class's videos, %", shrink=0.7)
    axes.set(xlabel="predicted class", ylabel="true class")
    figure.suptitle(title, fontsize=10)
    if len(class_names) <= _NAMED_CLASSES:
        axes.set_xticks(range(len(class_names)), class_names, rotation=90)
        axes.set_yticks(range(len(class_names)), class_names)
    if len(class_names) <= 20:
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(path, dpi=120)
