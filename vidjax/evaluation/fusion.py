"""Late fusion: several networks' scores of the same videos become one, as in two-stream networks.

Paper: Simonyan & Zisserman, Two-Stream Convolutional Networks (1406.2199), where appearance and motion are averaged.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vidjax.errors import UserError
from vidjax.evaluation import metrics


@dataclass(frozen=True)
class VideoScores:
    """One network's answers to N videos, as an evaluation leaves them in `scores.npz`."""

    paths: np.ndarray  # str (N,)
    class_names: tuple[str, ...]
    scores: np.ndarray  # float (N, K), probabilities
    targets: np.ndarray  # int (N,) classes or, if multi-label, (N, K) zeros and ones

    def __len__(self) -> int:
        return len(self.paths)

    def accuracy(self) -> dict[str, float]:
        """`{"top1", "top5"}`, up to 5 classes `{"top1"}`, for multi-label targets `{"mAP"}`; fractions, NaN where there
        is nothing."""
        if self.targets.ndim == 2:
            precisions = metrics.average_precision(self.scores, self.targets)
            known = precisions[np.isfinite(precisions)]
            return {"mAP": float(known.mean()) if len(known) else float("nan")}
        return metrics.accuracies(self.scores, self.targets)


def read_scores(where: str | Path) -> VideoScores:
    """The scores of an evaluation: its folder, or the file `scores.npz` in it.

    Raises:
      UserError: if there are none, naming the path.
    """
    path = Path(where)
    path = path / "scores.npz" if path.is_dir() else path
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = ("paths", "class_names", "scores", "targets")
            paths, class_names, scores, targets = (arrays[name] for name in names)
    except (OSError, KeyError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(
            f"{path} holds no scores of an evaluation ({reason}): give the folder that eval.py or train.py wrote "
            "eval.json to"
        ) from None
    return VideoScores(paths, tuple(map(str, class_names)), scores, targets)


def align(streams: Sequence[VideoScores]) -> list[VideoScores]:
    """The same networks on the videos that all of them have scored, row by row the same video.

    The order is the first one's. A path that stands several times, for parts of a video, is matched in order.

    Raises:
      UserError: if the networks tell other classes apart, share no video or were given other labels for one.
    """
    first = streams[0]
    for number, stream in enumerate(streams[1:], start=2):
        if stream.class_names != first.class_names:
            odd = sorted({*stream.class_names} ^ {*first.class_names})
            what = f"{', '.join(odd[:5])} are not in both" if odd else "their order differs"
            raise UserError(f"the classes of network {number} are not those of the first: {what}")
    rows = [_rows(stream.paths) for stream in streams]
    common = [key for key in rows[0] if all(key in other for other in rows[1:])]
    if not common:
        raise UserError(f"the networks have scored no video in common; the first one's begin with {first.paths[:1]}")
    aligned: list[VideoScores] = []
    for number, (stream, own) in enumerate(zip(streams, rows, strict=True), start=1):
        order = [own[key] for key in common]
        stream = replace(stream, paths=stream.paths[order], scores=stream.scores[order], targets=stream.targets[order])
        differs = (stream.targets != (aligned or [stream])[0].targets).reshape(len(common), -1).any(axis=1)
        if differs.any():
            raise UserError(f"network {number} was evaluated with another label of {stream.paths[differs.argmax()]}")
        aligned.append(stream)
    return aligned


def fuse(streams: Sequence[VideoScores], weights: Sequence[float] | None = None) -> VideoScores:
    """The weighted mean of several networks' scores, on the videos that all of them have scored.

    Args:
      streams: two or more.
      weights: one per network, none negative and not all 0; None: equal ones.

    Raises:
      UserError: if there is one network alone, the weights do not fit, or for what `align` refuses.
    """
    weights = [1.0] * len(streams) if weights is None else list(weights)
    if len(streams) < 2:
        raise UserError("fusion takes the scores of two networks or more")
    if len(weights) != len(streams) or min(weights) < 0 or not sum(weights) > 0:
        raise UserError(
            f"weights = {weights}: give one for each of the {len(streams)} networks, none negative, not all 0"
        )
    aligned = align(streams)
    weighted = (w * stream.scores.astype(np.float64) for w, stream in zip(weights, aligned, strict=True))
    mean = np.asarray(sum(weighted)) / sum(weights)
    return replace(aligned[0], scores=mean)


def _rows(paths: np.ndarray) -> dict[tuple[str, int], int]:
    """`{(path, how many times it has stood before): row}`."""
    seen: Counter[str] = Counter()
    rows = {}
    for row, path in enumerate(map(str, paths)):
        rows[path, seen[path]] = row
        seen[path] += 1
    return rows
