"""Average precision of boxes in frames (frame mAP), as for AVA.

Toolboxes disagree, so the protocol has a name, which goes beside every figure:

- official: AVA's `get_ava_performance.py`. Of a frame's detections the 50 with the highest scores count, over all
  classes. Frames that the truth does not name are left out; a frame named without a box counts.
- slowfast: as SlowFast (an older version of the official code). No limit; detections in frames without truth are false;
  within a frame detections are matched in the order of the file instead of by score.
- mmaction2: as mmaction2. No limit; frames without a true box are left out, and so are classes that are never
  predicted, instead of counting as 0; boxes have single precision; true boxes in excluded frames are still missed.

In all of them a detection looks only at the true box of its class and frame with the highest IoU, and is false if an
earlier one, by falling score, has it. Equal scores are taken as each code takes them, in the curve as
`matching.falling` says. Boxes without an area are dropped, or, by mmaction2, only inverted ones, which its own code
refuses.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from vidjax.errors import UserError
from vidjax.evaluation import matching

OFFICIAL = "official"


@dataclass(frozen=True)
class _Rule:
    """Differences of a protocol.

    Attributes:
      most: detections of a frame that count; 0: all.
      frames: frames whose detections count: "named" by the truth, "all", or those with true "boxes".
      flat: whether detections without an area count.
      by_score: whether detections of a frame are matched by falling score, instead of in the order of the rows.
      unpredicted: whether classes that are never predicted count.
      excluded: whether true boxes in excluded frames count.
      dtype: precision of boxes and scores.
      seconds: decimals of a frame's time that tell frames apart.
    """

    most: int = 0
    frames: str = "all"
    flat: bool = False
    by_score: bool = True
    unpredicted: bool = True
    excluded: bool = False
    dtype: type = np.float64
    seconds: int = 0


PROTOCOLS = {
    OFFICIAL: _Rule(most=50, frames="named", seconds=6),
    "slowfast": _Rule(by_score=False),
    "mmaction2": _Rule(frames="boxes", flat=True, unpredicted=False, excluded=True, dtype=np.float32),
}


@dataclass(frozen=True, eq=False)
class BoxArrays:
    """Labelled boxes in frames as columns of N rows: truths, or detections with scores.

    A box with several classes is several rows.

    Attributes:
      frame: number of each box's frame, unique over all videos, int `(N,)`.
      box: x1, y1, x2, y2 in any one unit, float `(N, 4)`.
      label: class of each box, int `(N,)`.
      score: scores of detections, float `(N,)`; None: truths.
    """

    frame: np.ndarray
    box: np.ndarray
    label: np.ndarray
    score: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frame)

    def rows(self, rows: np.ndarray) -> "BoxArrays":
        """Take these rows, given by their numbers or by a mask."""
        score = None if self.score is None else self.score[rows]
        return BoxArrays(self.frame[rows], self.box[rows], self.label[rows], score)


@dataclass(frozen=True, eq=False)
class FrameAP:
    """Average precision of boxes in frames.

    Attributes:
      protocol: name of the protocol.
      iou: least IoU of a true detection.
      ap: average precision by class, float64 `(K,)`; NaN for a class that does not count.
      num_truths: true boxes that count, by class, int64 `(K,)`.
      left_out: number of detections that do not count, by reason; without those whose number is 0.
    """

    protocol: str
    iou: float
    ap: np.ndarray
    num_truths: np.ndarray
    left_out: dict[str, int]

    @property
    def mAP(self) -> float:
        """Mean over the classes that count; NaN if there is none."""
        return float(matching.class_mean(self.ap))


def frame_ap(
    truth: BoxArrays,
    predictions: BoxArrays,
    iou: float = 0.5,
    protocol: str = OFFICIAL,
    *,
    num_classes: int | None = None,
    named: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
) -> FrameAP:
    """Compute the average precision of boxes by class.

    Args:
      truth: true boxes.
      predictions: detections, with scores.
      iou: least IoU of a true detection, in 0…1.
      protocol: name in `PROTOCOLS`.
      num_classes: K; None: as many as the highest label needs. Rows with other labels than 0…K-1 are left out.
      named: frames that the truth names, int; those of its boxes need not be among them. None: only those of its boxes.
      excluded: frames to leave out, int.

    Raises:
      UserError: if the protocol is unknown, scores are missing or not finite, or a true box is inverted.
    """
    rule, left_out = matching.rule_of(PROTOCOLS, protocol), {}
    if predictions.score is None or not np.isfinite(predictions.score).all():
        raise UserError("every detected box needs a finite score")
    if (truth.box[:, :2] > truth.box[:, 2:]).any():
        raise UserError(f"{int((truth.box[:, :2] > truth.box[:, 2:]).any(1).sum())} true boxes are inverted")
    count = num_classes
    if count is None:
        count = 1 + int(max(truth.label.max(initial=-1), predictions.label.max(initial=-1)))
    excluded = np.zeros(0, np.int64) if excluded is None else excluded

    def keep(boxes: BoxArrays, kept: np.ndarray, reason: str) -> BoxArrays:
        if lost := int((~kept).sum()):
            left_out[reason] = lost
        return boxes.rows(kept)

    frames = truth.frame if named is None else np.concatenate([truth.frame, named])
    truth = truth.rows((truth.label >= 0) & (truth.label < count))
    found = keep(predictions, (predictions.label >= 0) & (predictions.label < count), "of other classes")
    # In the curve, frames come in the order in which a code goes through them.
    sequence = truth.frame if rule.frames == "boxes" else found.frame
    num_truths = np.bincount(truth.label, minlength=count)
    truth = truth.rows(~np.isin(truth.frame, excluded))
    if not rule.excluded:
        num_truths = np.bincount(truth.label, minlength=count)
    found = keep(found, ~np.isin(found.frame, excluded), "in excluded frames")
    if rule.frames != "all":
        allowed = frames if rule.frames == "named" else truth.frame
        found = keep(found, np.isin(found.frame, allowed), "in frames without truth")
    if rule.most:
        truth, best = truth.rows(_heaped(truth, 0)), _heaped(found, rule.most)
        if lost := len(found) - len(best):
            left_out[f"after the best {rule.most} of a frame"] = lost
        found = found.rows(best)
    elif rule.by_score:
        found = found.rows(np.argsort(-np.asarray(found.score, rule.dtype), kind="stable"))
    sides = found.box[:, 2:] - found.box[:, :2]
    found = keep(found, np.all(sides >= 0 if rule.flat else sides > 0, axis=1), "without an area")

    found_boxes, true_boxes = found.box.astype(rule.dtype), truth.box.astype(rule.dtype)
    scores = np.asarray(found.score, rule.dtype)
    groups, own = (b.frame * count + b.label for b in (truth, found))
    pairs = matching.overlapping(groups, own, lambda p, t: box_iou(found_boxes[p], true_boxes[t]), iou)
    hits = matching.match(pairs, np.arange(len(found)), len(truth), np.array([iou]), rule=matching.BEST)
    known, first = np.unique(sequence, return_index=True)
    listed = np.argsort(first[np.searchsorted(known, found.frame)], kind="stable")
    order = listed[matching.falling(scores[listed], found.label[listed])]
    ap = matching.average_precision(hits, found.label, order, num_truths)[0]
    if not rule.unpredicted:
        ap[np.bincount(found.label, minlength=count) == 0] = np.nan
    return FrameAP(protocol, iou, ap, num_truths, left_out)


def frame_times(seconds: np.ndarray, protocol: str) -> np.ndarray:
    """Times by which a protocol tells frames apart: rounded to six decimals, or cut to whole seconds.

    Args:
      seconds: times as the files have them, float64 `(N,)`.
      protocol: name in `PROTOCOLS`.

    Raises:
      UserError: if the protocol is unknown.
    """
    decimals = matching.rule_of(PROTOCOLS, protocol).seconds
    return np.round(seconds, decimals) if decimals else np.trunc(seconds)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of pairs of boxes x1, y1, x2, y2.

    Args:
      a, b: boxes in one unit, float `(…, 4)`.

    Returns:
      float64 `(…)`; 0 where neither has an area. Sides and areas have the precision of the boxes.
    """
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = sides.clip(0).astype(np.float64).prod(axis=-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (a, b))
    union = (area_a + area_b) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _heaped(boxes: BoxArrays, most: int) -> np.ndarray:
    """Rows frame by frame, in each by falling score and at most `most` (0: all), as the official code reads them.

    It keeps a frame's rows in a heap, by score, class and corners. That decides which of equal scores stay, and their
    order; without equal scores it is the order of the scores. Boxes without scores are all equal.
    """
    score = np.ones(len(boxes)) if boxes.score is None else np.asarray(boxes.score, np.float64)
    order = np.lexsort((-score, boxes.frame))
    frames, scores = boxes.frame[order], score[order]
    kept = np.arange(len(order)) - np.searchsorted(frames, frames) < (most or len(order))
    same = frames[1:] == frames[:-1]
    parts = []
    for rows, keep, equal in zip(
        np.split(order, np.flatnonzero(~same) + 1),
        np.split(kept, np.flatnonzero(~same) + 1),
        np.split(np.append(same & (scores[1:] == scores[:-1]), False), np.flatnonzero(~same) + 1),
        strict=True,
    ):
        parts.append(_heap(boxes, score, np.sort(rows), most) if equal.any() else rows[keep])
    return np.concatenate(parts)


def _heap(boxes: BoxArrays, score: np.ndarray, rows: np.ndarray, most: int) -> np.ndarray:
    heap: list[tuple[float, ...]] = []
    columns = (score[rows], boxes.label[rows], *boxes.box[rows][:, [1, 0, 3, 2]].T)
    entries = list(zip(*(column.tolist() for column in columns), strict=True))
    number = {id(entry): row for entry, row in zip(entries, rows.tolist(), strict=True)}
    for entry in entries:
        if not most or len(heap) < most:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    return np.array([number[id(entry)] for entry in sorted(heap, key=lambda entry: -entry[0])], np.int64)
