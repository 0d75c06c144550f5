"""Order of videos in an endless training with mixed sources or balanced classes.

Videos are divided into strata: the sources of a mixture, or the classes of each source. Every stratum gives a fixed
share of the clips and goes through its videos in rounds: each video once, in a new random order, before any is
repeated. A video depends only on its position in the training, so that workers and processes may share positions in any
way, and a run can start at any position.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidjax.data.records import VideoSet


@dataclass(frozen=True)
class Stratum:
    """Videos that are drawn in turn, and their share of all clips."""

    videos: np.ndarray  # int64 (n,), indices of records, ascending
    share: float  # 0…1


def make_strata(videos: VideoSet, weights: Sequence[float] = (), balance: str = "") -> tuple[Stratum, ...]:
    """Divide a training set into strata, in the order of sources and classes.

    Args:
      videos: training videos.
      weights: weights of the sources of `videos`, proportional to their shares of clips; empty: all sources are one
        pool.
      balance: rule of division. "": each source is one stratum. "class": each class of a source is one, with equal
        shares. "sqrt": their shares are proportional to the square root of their number of videos. A video with
        several labels is in the stratum of each, and drawn as often as all of these together draw it; videos without
        labels form a further class.

    Returns:
      Strata with at least one video, whose shares add up to 1.
    """
    everything = np.arange(len(videos))
    pools = [(everything, 1.0)]
    if weights:
        source = np.array(videos.sources or [0] * len(videos))
        pools = [(everything[source == i], weight) for i, weight in enumerate(weights)]
    strata = []
    for pool, weight in pools:
        parts = _by_class(videos, pool) if balance else [pool] * bool(len(pool))
        sizes = np.array([len(part) for part in parts], float)
        parts_of_one = np.sqrt(sizes) if balance == "sqrt" else np.ones(len(parts))
        strata += [(part, weight * x / parts_of_one.sum()) for part, x in zip(parts, parts_of_one, strict=True)]
    total = sum(weight for _, weight in strata)
    return tuple(Stratum(part, float(weight / total)) for part, weight in strata)


def _by_class(videos: VideoSet, pool: np.ndarray) -> list[np.ndarray]:
    members: dict[int, list[int]] = {}
    for index in pool.tolist():
        for label in videos.records[index].labels or (len(videos.labels.names),):
            members.setdefault(label, []).append(index)
    return [np.array(members[label]) for label in sorted(members)]


class Order:
    """Endless order of records: `order[place]` is the record at a position of the training, from 0 on.

    An epoch has `length` positions. In each epoch, and since the beginning, a stratum has its share of the positions to
    within one or two, at random positions of the epoch.

    Args:
      strata: strata from `make_strata`.
      length: positions of an epoch, the number of training videos.
      seed: seed of the order, not negative.
    """

    def __init__(self, strata: Sequence[Stratum], length: int, seed: int):
        self._strata, self._length, self._seed = tuple(strata), length, seed
        self._shares = np.array([s.share for s in strata])
        self._taken = [np.zeros(len(strata), np.int64)]  # draws of each stratum before each epoch computed so far
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()
        self._home: dict[int, int] = {}  # record → its first stratum
        for number, stratum in reversed(list(enumerate(self._strata))):
            self._home.update(dict.fromkeys(stratum.videos.tolist(), number))

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_lock": None, "_kept": {}}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __getitem__(self, place: int) -> int:
        epoch, offset = divmod(int(place), self._length)
        with self._lock:
            if epoch not in self._kept:
                while len(self._kept) > 1:  # positions are requested nearly in order
                    self._kept.pop(next(iter(self._kept)))
                self._kept[epoch] = self.epoch(epoch)
            return int(self._kept[epoch][offset])

    def epoch(self, number: int) -> np.ndarray:
        """Records of one epoch, int64 `(length,)`."""
        while len(self._taken) <= number + 1:
            self._taken.append(self._taken[-1] + self._allot(len(self._taken) - 1))
        places = [self._rounds(i, *self._taken[number : number + 2]) for i in range(len(self._strata))]
        return np.random.default_rng([self._seed, 0, number]).permutation(np.concatenate(places))

    def peers(self, record: int) -> np.ndarray:
        """Records in the stratum of `record` (the first, if it is in several), int64 `(n,)`."""
        return self._strata[self._home[record]].videos

    def _allot(self, epoch: int) -> np.ndarray:
        """Number of each stratum's positions in an epoch: its deficit, rounded by largest remainders."""
        lacking = self._shares * (self._length * (epoch + 1)) - self._taken[epoch]
        counts = np.floor(np.maximum(lacking, 0)).astype(np.int64)
        left = self._length - int(counts.sum())
        by_need = np.argsort(-(lacking - counts), kind="stable")
        if left >= 0:
            counts[by_need[:left]] += 1
        else:
            spare = [i for i in by_need[::-1] if counts[i]]
            counts[spare[:-left]] -= 1
        return counts

    def _rounds(self, stratum: int, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Draws `before` to `after` of a stratum."""
        videos, first, last = self._strata[stratum].videos, int(before[stratum]), int(after[stratum])
        rounds = [
            np.random.default_rng([self._seed, 1 + stratum, r]).permutation(videos)
            for r in range(first // len(videos), -(-last // len(videos)))
        ]
        skip = first - first // len(videos) * len(videos)
        return np.concatenate([videos[:0], *rounds])[skip : skip + last - first]
