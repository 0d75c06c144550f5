"""Near-duplicates among the videos of an index: the same pictures, cut, encoded or shifted in time differently.

Clips of two copies resemble each other at one distance in time, the offset, all along their overlap. For pairs of
videos that share very similar clips, every distance between two clips is tried as offset; the one with the most similar
clips along the overlap is taken.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vidjax.embeddings.exact import exact_search, unit
from vidjax.embeddings.index import Index

THRESHOLD = 0.8  # cosine, after the mean vector is taken away
OVERLAP = 0.5  # of the shorter video
_NEIGHBOURS = 32  # most similar clips of which the videos are compared
_BATCH = 1024


@dataclass(frozen=True)
class Duplicate:
    """Two videos that overlap.

    Attributes:
      first, second: numbers of the videos.
      offset: time of a picture in the second video less its time in the first, seconds.
      similarity: mean cosine of the clips along the overlap.
      start, end: overlap in the first video, seconds.
      share: overlap as a share of the shorter video.
    """

    first: int
    second: int
    offset: float
    similarity: float
    start: float
    end: float
    share: float


def centred(index: Index) -> np.ndarray:
    """Clip vectors at length 1 less their mean over the videos, `(N, D)`: what all videos have in common tells none.

    With fewer than 10 videos the mean would be that of the duplicates themselves; then nothing is taken away.
    """
    vectors = unit(index.vectors)
    if len(index.videos) < 10:
        return vectors
    first = np.searchsorted(index.video, np.arange(len(index.videos)))
    counts = np.diff(np.append(first, len(index.video)))
    means = np.add.reduceat(vectors, first, axis=0) / counts[:, None]
    return unit(vectors - means.mean(axis=0))


def find_duplicates(
    index: Index,
    threshold: float = THRESHOLD,
    overlap: float = OVERLAP,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Duplicate]:
    """Find pairs of videos that overlap, the most similar first.

    Args:
      index: vectors of clips.
      threshold: least mean cosine along the overlap, after `centred`.
      overlap: least overlap, as a share of the shorter video.
      progress: wrapper of an iterable over the batches of clips, for a progress bar.
    """
    vectors = centred(index)
    pairs: set[tuple[int, int]] = set()
    for start in progress(range(0, len(vectors), _BATCH)):
        own = index.video[start : start + _BATCH]
        hits = exact_search(vectors, vectors[start : start + _BATCH], _NEIGHBOURS)
        close = (hits.scores >= threshold) & (index.video[hits.rows] != own[:, None])
        for row, column in np.argwhere(close):
            pairs.add(tuple(sorted((int(own[row]), int(index.video[hits.rows[row, column]])))))  # type: ignore[arg-type]
    found = [align(index, vectors, *pair) for pair in sorted(pairs)]
    good = [each for each in found if each.similarity >= threshold and each.share >= overlap]
    return sorted(good, key=lambda each: (-each.similarity, each.first, each.second))


def align(index: Index, vectors: np.ndarray, first: int, second: int) -> Duplicate:
    """Find the offset between two videos at which their clips are most similar.

    Args:
      index: times of the clips.
      vectors: vectors of the clips at length 1, `(N, D)`.
      first, second: numbers of the videos.
    """
    a, b = index.rows(first), index.rows(second)
    cosines = vectors[a] @ vectors[b].T
    times_a, times_b = ((index.start[rows] + index.end[rows]) / 2 for rows in (a, b))
    spans = [(float(index.start[rows].min()), float(index.end[rows].max())) for rows in (a, b)]
    offsets = times_b[None] - times_a[:, None]
    # Clips of two copies are up to half a distance between neighbouring clips apart.
    near = max(0.5 * max(_spacing(times_a), _spacing(times_b)), 1e-6)
    best = max((_at(cosines, offsets, float(offset), near) for offset in np.unique(offsets)), key=lambda each: each[0])
    _, similarity, offset = best
    start, end = max(spans[0][0], spans[1][0] - offset), min(spans[0][1], spans[1][1] - offset)
    shorter = max(min(span[1] - span[0] for span in spans), 1e-6)
    share = 1.0 if shorter <= 1e-6 else max(end - start, 0.0) / shorter
    return Duplicate(first, second, offset, similarity, start, max(end, start), min(share, 1.0))


def _spacing(times: np.ndarray) -> float:
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def _at(cosines: np.ndarray, offsets: np.ndarray, offset: float, near: float) -> tuple[float, float, float]:
    """Evidence for an offset, the mean cosine along the overlap, and the offset as the similar clips have it."""
    fits = np.abs(offsets - offset) <= near * (1 + 1e-9)
    side = 0 if cosines.shape[0] < cosines.shape[1] else 1
    shown = np.where(fits, cosines, -np.inf).max(axis=1 - side)  # of each clip of the shorter list, its best partner
    shown = shown[np.isfinite(shown)]
    # The offset lies between two distances of clips: nearly as similar neighbours pull it towards themselves.
    around = np.abs(offsets - offset) <= 2 * near * (1 + 1e-9)
    weights = np.where(around, np.exp(20 * (cosines - cosines[around].max())), 0)
    return float(np.maximum(shown, 0).sum()), float(shown.mean()), float((weights * offsets).sum() / weights.sum())


def groups(pairs: Sequence[Duplicate]) -> list[list[int]]:
    """Join pairs into groups of copies, numbers of videos in rising order, the largest group first."""
    group: dict[int, set[int]] = {}
    for pair in pairs:
        joined = group.get(pair.first, {pair.first}) | group.get(pair.second, {pair.second})
        group |= dict.fromkeys(joined, joined)
    distinct = {tuple(sorted(members)) for members in group.values()}
    return [list(members) for members in sorted(distinct, key=lambda each: (-len(each), each))]
