"""Scores of files of predictions, apart from any model (`vidjax evaluate segments|boxes|tubes|labels|frames`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vidjax.errors import UserError
from vidjax.evaluation import metrics
from vidjax.evaluation.boxes import frame_ap
from vidjax.evaluation.class_plot import plot_classes
from vidjax.evaluation.frames import per_frame_ap
from vidjax.evaluation.fusion import VideoScores, read_scores
from vidjax.evaluation.matching import ThresholdAP, class_mean
from vidjax.evaluation.paired_boxes import read_boxes
from vidjax.evaluation.paired_files import read_segments, read_tube_pair
from vidjax.evaluation.segments import proposal_recall, segment_ap, segment_recall
from vidjax.evaluation.several import mean_ap, sample_mean_ap
from vidjax.evaluation.summary_file import percent, summary_text, write_summary
from vidjax.evaluation.tubes import video_ap

_LISTED = 80  # classes in the table; the others are in eval.json
_MULTIPLES = (1, 5)  # of the recalls of segments
_PROPOSALS = (1, 5, 10, 50, 100)  # of the recalls of proposals


@dataclass(frozen=True, eq=False)
class Outcome:
    """Figures of an evaluation of files.

    Attributes:
      kind: what was scored, the name of the figures' level in `eval.json`.
      protocol: name of the protocol; empty: there is only one.
      figures: figures in 0…1, or ranks and counts, by name.
      names: names of the K classes; empty: no figures per class.
      values: figure of each class, float64 `(K,)`.
      counts: number of truths of each class, int `(K,)`.
      measure: name of the classes' figure.
      counted: name of the truths.
      facts: further entries of `eval.json`.
      notes: what does not fit together in the files, in words.
    """

    kind: str
    protocol: str
    figures: Mapping[str, float]
    names: Sequence[str] = ()
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    measure: str = "AP"
    counted: str = "num_truths"
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def summary(self) -> dict[str, Any]:
        """The contents of `eval.json`."""
        per_class = {
            name: {self.measure: float(value), self.counted: int(count)}
            for name, value, count in zip(self.names, self.values, self.counts, strict=True)
        }
        return {
            "levels": [self.kind],
            **({"protocol": self.protocol} if self.protocol else {}),
            self.kind: dict(self.figures),
            **self.facts,
            **({"per_class": per_class} if per_class else {}),
            "notes": list(self.notes),
        }


def present(outcome: Outcome, *, out: str = "", as_json: bool = False) -> int:
    """Print figures and, with `out`, write `eval.json` and `per_class.png`; return the exit status.

    Args:
      outcome: the figures.
      out: folder to write to; empty: nothing is written.
      as_json: print the contents of `eval.json` instead of tables.

    Raises:
      UserError: if the folder has the result of a training run.
    """
    summary = outcome.summary()
    if out:
        _write(Path(out), outcome, summary)
    if as_json:
        print(summary_text(summary))
        return 0
    console = Console()
    protocol = f", protocol {outcome.protocol}" if outcome.protocol else ""
    table = Table(f"{outcome.kind}{protocol}", "")
    table.columns[1].justify = "right"
    for name, value in outcome.figures.items():
        table.add_row(name, percent(value, 2) if not name.endswith("rank") else f"{value:g}")
    console.print(table)
    if 0 < len(outcome.names) <= _LISTED:
        each = Table("class", outcome.measure, outcome.counted.replace("num_", ""))
        for column in each.columns[1:]:
            column.justify = "right"
        for name, value, count in zip(outcome.names, outcome.values, outcome.counts, strict=True):
            each.add_row(name, percent(float(value), 2), str(count))
        console.print(each)
    for note in outcome.notes:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if out:
        console.print(f"results in {out}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _write(folder: Path, outcome: Outcome, summary: dict[str, Any]) -> None:
    if (folder / "eval.json").exists() and (folder / "config.json").exists():
        raise UserError(f"--out={folder}: that folder has a run and its own result, which would be replaced")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    if len(outcome.names):
        title = ", ".join(filter(None, [outcome.kind, outcome.protocol and f"protocol {outcome.protocol}"]))
        plot_classes(folder / "per_class.png", outcome.names, outcome.values, outcome.counts, outcome.measure, title)
        files = ["per_class.png"]
    write_summary(folder, summary | {"files": files})


def score_segments(
    predictions: str, truth: str, *, protocol: str, subset: str, thresholds: Sequence[float], proposals: bool
) -> Outcome:
    """Score predicted segments, or proposals.

    Args:
      predictions: ActivityNet's JSON with `results`.
      truth: file, or folder, of labelled segments; see `vidjax.data.listing.segment_files`.
      protocol: name in `segments.PROTOCOLS`, for proposals in `segments.PROPOSAL_PROTOCOLS`.
      subset: subset of the truth; empty: see `read_segments`.
      thresholds: temporal IoUs.
      proposals: score the segments as proposals, regardless of labels.

    Raises:
      UserError: if files or settings cannot be used.
    """
    pair = read_segments(Path(predictions), Path(truth), subset, protocol, labelled=not proposals)
    facts = {"subset": pair.subset, "num_videos": pair.num_videos, "thresholds": list(thresholds)}
    facts |= {"num_truths": len(pair.truth), "num_predictions": len(pair.predictions)}
    if proposals:
        recall = proposal_recall(pair.truth, pair.predictions, thresholds, protocol=protocol)
        figures = {f"AR@{number}": recall.at(number) for number in _PROPOSALS} | {"area": recall.area}
        curve = {"numbers": recall.numbers.tolist(), "average_recall": recall.average.tolist()}
        return Outcome("proposals", protocol, figures, facts=facts | {"curve": curve}, notes=pair.notes)
    result = segment_ap(pair.truth, pair.predictions, thresholds, protocol, len(pair.labels))
    recall = segment_recall(pair.truth, pair.predictions, thresholds, _MULTIPLES, protocol, len(pair.labels))
    recalls = {f"recall@{multiple}x": float(recall[:, i].mean()) for i, multiple in enumerate(_MULTIPLES)}
    figures = {"mAP": result.mAP} | _by_threshold(result) | recalls
    return _of_thresholds("segments", result, figures, pair.labels, facts, pair.notes)


def score_tubes(
    predictions: str, truth: str, *, protocol: str, thresholds: Sequence[float], split: int, without: Sequence[str]
) -> Outcome:
    """Score predicted tubes; see `vidjax.data.listing.tube_files`.

    Args:
      predictions: file of tubes with scores.
      truth: file of tubes, or pickle of annotations.
      protocol: name in `tubes.PROTOCOLS`.
      thresholds: overlaps; empty: 0.2 and 0.5:0.05:0.95.
      split: official split of a pickle, from 1.
      without: classes to leave out.

    Raises:
      UserError: if files or settings cannot be used.
    """
    pair = read_tube_pair(Path(predictions), Path(truth), protocol, split=split, without=without)
    strict = tuple(np.linspace(0.5, 0.95, 10).tolist())
    levels = tuple(thresholds) or (0.2, *strict)
    result = video_ap(pair.truth, pair.predictions, levels, protocol, len(pair.labels))
    named = _by_threshold(result)
    figures = named if thresholds else named | {"mAP@0.5:0.95": float(result.mean[1:].mean())}
    facts = {"thresholds": list(levels), "num_truths": len(pair.truth), "num_predictions": len(pair.predictions)}
    return _of_thresholds("tubes", result, figures, pair.labels, facts, pair.notes)


def _by_threshold(result: ThresholdAP) -> dict[str, float]:
    return {f"mAP@{level:.4g}": float(mean) for level, mean in zip(result.thresholds, result.mean, strict=True)}


def _of_thresholds(
    kind: str,
    result: ThresholdAP,
    figures: Mapping[str, float],
    labels: Sequence[str],
    facts: Mapping[str, Any],
    notes: Sequence[str],
) -> Outcome:
    """Outcome with the mean over the thresholds as each class's figure, and the AP by class and threshold."""
    by_threshold = {label: column.tolist() for label, column in zip(labels, result.ap.T, strict=True)}
    return Outcome(
        kind,
        result.protocol,
        figures,
        labels,
        result.ap.mean(axis=0),
        result.num_truths,
        facts=dict(facts) | {"ap_by_threshold": by_threshold},
        notes=notes,
    )


def score_boxes(predictions: str, truth: str, *, classes: str, exclude: str, protocol: str, iou: float) -> Outcome:
    """Score detected boxes in AVA's CSV form.

    Args:
      predictions: file of detections.
      truth: file of annotations.
      classes: list of the actions to evaluate; empty: AVA's 60.
      exclude: file of excluded frames; empty: none.
      protocol: name in `boxes.PROTOCOLS`.
      iou: least IoU of a true detection.

    Raises:
      UserError: if files or settings cannot be used.
    """
    listed, excluded = (Path(name) if name else None for name in (classes, exclude))
    pair = read_boxes(Path(predictions), Path(truth), listed, excluded, protocol)
    result = frame_ap(
        pair.truth,
        pair.predictions,
        iou,
        protocol,
        num_classes=len(pair.labels),
        named=pair.named,
        excluded=pair.excluded,
    )
    left_out = [f"predicted boxes {reason} do not count: {number}" for reason, number in result.left_out.items()]
    facts = {"iou": iou, "num_frames": len(pair.named), "num_truths": int(result.num_truths.sum())}
    facts |= {"num_predictions": len(pair.predictions), "detections_left_out": result.left_out}
    figures, notes = {f"mAP@{iou:g}": result.mAP}, [*pair.notes, *left_out]
    return Outcome("boxes", protocol, figures, pair.labels, result.ap, result.num_truths, facts=facts, notes=notes)


def score_labels(scores: str) -> Outcome:
    """Score the classes of whole videos: accuracies or, with several labels per video, mean average precisions.

    Args:
      scores: folder of an evaluation, or an `.npz` file with `scores (N, K)` and `targets (N,)` or `(N, K)`.

    Raises:
      UserError: if the arrays cannot be used.
    """
    found = read_scores(scores, bare=True)
    facts = {"num_videos": len(found)}
    if found.targets.ndim == 2:
        macro, each = mean_ap(found.scores, found.targets)
        figures = {"mAP": macro, "mAP of samples": sample_mean_ap(found.scores, found.targets)[0]}
        counts = (found.targets > 0).sum(axis=0)
        return Outcome("labels", "", figures, found.class_names, each, counts, counted="num_videos", facts=facts)
    _check_classes(scores, found)
    matrix = metrics.confusion_matrix(found.scores.argmax(axis=1), found.targets, found.scores.shape[1])
    counts = matrix.sum(axis=1)
    each = np.divide(np.diag(matrix), counts, out=np.full(len(counts), np.nan), where=counts > 0)
    figures = found.accuracy() | {"mean of classes": float(class_mean(each))}
    return Outcome(
        "labels", "", figures, found.class_names, each, counts, measure="top1", counted="num_videos", facts=facts
    )


def score_frames(scores: str, *, background: Sequence[str] = (), ambiguous: str = "") -> Outcome:
    """Score single frames of videos: per-frame and calibrated average precision.

    Args:
      scores: `.npz` file with `scores (N, K)` and `targets (N,)` or `(N, K)` of N frames, and perhaps `class_names`.
      background: classes, by name or number, that have no figure.
      ambiguous: class, by name or number, whose frames are removed, and which has no figure; empty: none.

    Raises:
      UserError: if the arrays cannot be used, or there is no such class.
    """
    found = read_scores(scores, bare=True)
    if found.targets.ndim == 1:
        _check_classes(scores, found)
        truth = np.eye(found.scores.shape[1])[found.targets]
    else:
        truth = found.targets
    removed = _classes(scores, found, [ambiguous] if ambiguous else [])
    without = np.any(truth[:, removed], axis=1)
    left_out = [*_classes(scores, found, background), *removed]
    result = per_frame_ap(found.scores, truth, without=without, left_out=left_out)
    figures = {"mAP": result.mAP, "calibrated mAP": result.mcAP}
    calibrated = dict(zip(found.class_names, map(float, result.calibrated), strict=True))
    facts = {"num_frames": result.num_frames, "calibrated_ap": calibrated}
    counts = truth[~without].sum(axis=0).astype(np.int64)
    return Outcome("frames", "", figures, found.class_names, result.ap, counts, counted="num_frames", facts=facts)


def _check_classes(scores: str, found: VideoScores) -> None:
    targets, count = found.targets, found.scores.shape[1]
    if not len(targets) or not np.issubdtype(targets.dtype, np.integer) or targets.min() < 0 or targets.max() >= count:
        raise UserError(f"{scores}: targets (N,) must be class numbers in 0…{count - 1}, and N above 0")


def _classes(scores: str, found: VideoScores, wanted: Sequence[str]) -> list[int]:
    """Numbers of classes given by name or number."""
    numbers = {str(i): i for i in range(len(found.class_names))}
    numbers |= {name: i for i, name in enumerate(found.class_names)}
    if unknown := [name for name in wanted if name not in numbers]:
        raise UserError(f"{scores}: no class {unknown[0]!r}; the classes are {', '.join(found.class_names[:20])}")
    return [numbers[name] for name in wanted]
