"""Detections from outputs of networks for segments, one clip at a time: NumPy.

Sources: `inference_single_video` and `postprocessing` in happyharrycn/actionformer_release,
`libs/modeling/meta_archs.py`, and `postprocess_results` in its `libs/utils/postprocessing.py`; the product of scores is
sming256/OpenTAD's.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vidjax.tasks.localise.nms import Found

JOINED = ("root", "product")  # ways of joining the score of a segment with that of a video's class


class Candidates(NamedTuple):
    """Detections of a clip before suppression; those of the first level come first, each level's best first.

    Attributes:
      segments: starts and ends, float32 `(N, 2)`, in vectors or frames from the first of the clip.
      scores: scores in 0…1, float32 `(N,)`.
      labels: class numbers, int64 `(N,)`.
      places: times of the places that found them, float32 `(N,)`, in vectors or frames.
    """

    segments: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    places: np.ndarray

    @property
    def found(self) -> Found:
        """The detections without their places."""
        return Found(self.segments, self.scores, self.labels)


def candidates(
    logits: np.ndarray,
    distances: np.ndarray,
    mask: np.ndarray,
    levels: Sequence[int],
    *,
    min_score: float = 0.001,
    most: int = 2000,
    min_length: float = 0.05,
) -> Candidates:
    """Segments that the places of a clip find, by level the best ones.

    Args:
      logits: of the classes, `(N, K)`, all levels one after the other.
      distances: to the left and right end, in strides of the level, `(N, 2)`; or per class, `(N, K, 2)`.
      mask: bool `(N,)`, False for places without a vector.
      levels: number of places of each level; level l has a place every 2^l vectors.
      min_score: score that a segment must exceed.
      most: most segments of a level, over all its places and classes.
      min_length: length that a segment must exceed, in vectors; checked after the best are taken.
    """
    parts, first = [], 0
    for level, count in enumerate(levels):
        rows = slice(first, first + count)
        parts.append(_of_level(logits[rows], distances[rows], mask[rows], 2**level, min_score, most, min_length))
        first += count
    return Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _of_level(
    logits: np.ndarray,
    distances: np.ndarray,
    mask: np.ndarray,
    stride: int,
    min_score: float,
    most: int,
    min_length: float,
) -> Candidates:
    scores = (sigmoid(logits) * mask[:, None]).ravel()
    numbers = np.flatnonzero(scores > min_score)
    numbers = numbers[np.argsort(-scores[numbers], kind="stable")[:most]]
    place, label = np.divmod(numbers, logits.shape[1])
    ends = distances[place, label] if distances.ndim == 3 else distances[place]
    times = (place * stride).astype(np.float32)
    ends = ends.astype(np.float32) * np.float32(stride)
    segments = np.stack([times - ends[:, 0], times + ends[:, 1]], axis=1)
    long = segments[:, 1] - segments[:, 0] > min_length
    return Candidates(segments[long], scores[numbers][long], label[long], times[long])


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function in the type of `x`, without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)


def decode_pyramid(outputs: Any, settings: Any) -> Candidates:
    """Candidates of one clip.

    Args:
      outputs: `SegmentOutputs` of one clip, NumPy without the batch axis.
      settings: object with `min_score`, `candidates` and `min_length`, as `config.task.localise` has them.
    """
    distances = outputs.offsets
    if outputs.start is not None:
        import jax

        batched = jax.tree.map(lambda x: x[None], outputs)
        distances = np.asarray(batched.distances())[0]
    found = candidates(
        outputs.classes, distances, outputs.mask, outputs.levels,
        min_score=settings.min_score, most=settings.candidates, min_length=settings.min_length,
    )  # fmt: skip
    return found._replace(segments=found.segments * outputs.reduction, places=found.places * outputs.reduction)


def with_video_classes(found: Found, scores: np.ndarray, best: int = 2, join: str = "root") -> Found:
    """Give every segment the best classes of its whole video, found by another network.

    Args:
      found: N segments without classes, best first.
      scores: scores of the video's classes, `(K,)`.
      best: number of classes that each segment gets.
      join: the new score is the "product" of the score of the class and of the segment, or its "root" (ActionFormer,
        TriDet).

    Returns:
      `best · N` detections: those of the best class first.

    Raises:
      ValueError: for an unknown `join`.
    """
    if join not in JOINED:
        raise ValueError(f"join = {join!r}: must be one of {', '.join(JOINED)}")
    scores = np.asarray(scores)
    classes = np.argsort(-scores, kind="stable")[:best]
    joined = (scores[classes][:, None] * found.scores[None]).ravel()
    return Found(
        np.tile(found.segments, (len(classes), 1)),
        np.sqrt(joined) if join == "root" else joined,
        np.repeat(classes, len(found.scores)),
    )
