"""An evaluation as files people and programs read: `eval.json`, a confusion matrix, per-video scores, a table."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vidjax.data.records import VideoSet
from vidjax.evaluation.identity import caption, read, same
from vidjax.evaluation.metrics import confusion_matrix
from vidjax.lettering import lettering
from vidjax.tasks.classify.evaluator import Scores
from vidjax.tasks.reconstruct.evaluator import Reconstructions, picture
from vidjax.wording import things

# Beyond this many classes neither a cell nor a name of the confusion matrix can be read.
_NAMED_CLASSES = 60


def write(
    folder: str | Path, summary: dict[str, Any], scores: Scores | Reconstructions, videos: VideoSet, run: str = ""
) -> None:
    """Write an evaluation to `folder`: `eval.json` last, since its being there says that the others are.

    Of a classifier these are `video_scores.csv`, `scores.npz` and, for single labels, `confusion.png`; of a
    reconstruction, if any video could be read, `reconstructions.png`.

    Args:
      folder: made if it is not there.
      summary: the figures, and what they are of: see `identity`.
      scores: of every video; or what was reconstructed.
      videos: that were evaluated.
      run: what the picture's title names.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(scores, Reconstructions):
        _write_pictures(folder, scores)
    else:
        _write_scores(folder, summary, scores, videos, run)
    text = json.dumps(_finite(summary), indent=2, ensure_ascii=False)
    temporary = folder / "eval.tmp"
    temporary.write_text(f"{text}\n", encoding="utf-8")
    temporary.replace(folder / "eval.json")


def read_whole(folder: str | Path, expected: Mapping[str, Any]) -> dict[str, Any] | None:
    """The `eval.json` of `folder` if it is of what is `expected`, see `identity`, and its other files are there too."""
    folder = Path(folder)
    found = read(folder)
    if found is None or not same(found, expected):
        return None
    if "reconstruction" in found:
        names = ["reconstructions.png"] if found["num_videos"] else []
    else:
        names = ["video_scores.csv", "scores.npz", *(["confusion.png"] if "top1" in found["video"] else [])]
    return found if all((folder / name).exists() for name in names) else None


def _write_scores(folder: Path, summary: dict[str, Any], scores: Scores, videos: VideoSet, run: str) -> None:
    records = [videos.records[i] for i in scores.index]
    names = videos.class_names
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
        targets=videos.targets()[scores.index],
        paths=np.array([r.path for r in records]),
        class_names=np.array(names),
    )
    if not videos.multi_label:
        predicted, labels = scores.video_scores.argmax(axis=1), videos.targets()[scores.index]
        title = "\n".join(
            filter(None, [run, f"video top-1 {_percent(summary['video']['top1'])}, {len(labels)} videos"])
        )
        plot_confusion(folder / "confusion.png", confusion_matrix(predicted, labels, len(names)), names, title)


def _write_pictures(folder: Path, reconstructions: Reconstructions) -> None:
    if reconstructions.pictures.size:
        import cv2

        sheet = cv2.cvtColor(picture(reconstructions.pictures), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "reconstructions.png"), sheet)


def plot_confusion(path: str | Path, matrix: np.ndarray, class_names: tuple[str, ...], title: str = "") -> None:
    """Draw a confusion matrix, each row scaled to the share of its class."""
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


def show(summary: dict[str, Any], console: Console) -> None:
    """Print what was evaluated, the clip- and video-level figures, the coverage and what could not be read."""
    if told := caption(summary):
        console.print(told, highlight=False, soft_wrap=True)
    if "video" in summary:
        names = list(summary["video"])
        table = Table("", *names)
        for level in ("clip", "video"):
            table.add_row(level, *(_percent(summary[level][name]) for name in names))
        console.print(table)
    total = round(summary["num_videos"] / summary["coverage"]) if summary["coverage"] else len(summary["unreadable"])
    each = f"{things(summary['num_views'], 'view')} each"
    if "num_clips_scored" in summary:
        each = f"up to {things(summary['num_views'], 'view')} each, {summary['num_clips_scored']} in all"
    console.print(f"{summary['num_videos']} of {things(total, 'video')}, {each}")
    for bad in summary["unreadable"][:10]:
        console.print(f"[yellow]unreadable:[/] {bad['path']}: {bad['reason']}", highlight=False, soft_wrap=True)
    if len(summary["unreadable"]) > 10:
        console.print(f"[yellow]… and {len(summary['unreadable']) - 10} more in eval.json[/]")


def closing(summary: dict[str, Any], folder: Path) -> str:
    """Two lines that end a command: the figures, and what they are of and where they lie."""
    told = caption(summary)
    return f"{headline(summary)}\n{told}{'; ' if told else ''}results in {folder}"


def headline(summary: dict[str, Any]) -> str:
    """One line: `clip top-1 97.3 %  top-5 100.0 %   video top-1 98.0 %  top-5 100.0 %`; or that of a reconstruction."""
    if "reconstruction" in summary:
        figures = summary["reconstruction"]
        return f"reconstruction loss {figures['loss']:.4f}, {_percent(figures['explained'])} of the variance explained"
    parts = []
    for level in ("clip", "video"):
        figures = "  ".join(f"{n.replace('top', 'top-')} {_percent(v)}" for n, v in summary[level].items())
        parts.append(f"{level} {figures}")
    return "   ".join(parts)


def _percent(value: float | None) -> str:
    """In JSON what is not a number has become None."""
    return "n/a" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def _finite(value: Any) -> Any:
    """JSON knows no NaN: null in its place."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
