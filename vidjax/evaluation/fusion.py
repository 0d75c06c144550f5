"""Late fusion: averaging several networks' scores of the same videos, as in two-stream networks.

Paper: Simonyan & Zisserman, Two-Stream Convolutional Networks (1406.2199), where appearance and motion are averaged.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vidjax.errors import UserError
from vidjax.evaluation import metrics
from vidjax.evaluation.several import mean_ap
from vidjax.nn.score_fusion import checked_weights, fused_logs

_ARRAYS = ("paths", "class_names", "scores", "targets")  # of scores.npz


@dataclass(frozen=True)
class VideoScores:
    """Scores of one network for N videos, as an evaluation writes them to `scores.npz`."""

    paths: np.ndarray  # str (N,)
    class_names: tuple[str, ...]
    scores: np.ndarray  # float (N, K), probabilities
    targets: np.ndarray  # int (N,) classes or, if multi-label, (N, K) zeros and ones

    def __len__(self) -> int:
        return len(self.paths)

    def accuracy(self) -> dict[str, float]:
        """Accuracies as fractions: `{"top1", "top5"}`, with up to 5 classes `{"top1"}`, or `{"mAP"}` for multi-label
        targets; NaN without videos."""
        if self.targets.ndim == 2:
            return {"mAP": mean_ap(self.scores, self.targets)[0]}
        return metrics.accuracies(self.scores, self.targets)


def read_scores(where: str | Path, bare: bool = False) -> VideoScores:
    """Load the scores of an evaluation from its folder or its file `scores.npz`.

    Args:
      where: folder or file.
      bare: whether `paths` and `class_names` may be absent, and are then numbers.

    Raises:
      UserError: if there are no scores, or the arrays do not fit together; names the path.
    """
    path = Path(where)
    path = path / "scores.npz" if path.is_dir() else path
    try:
        with np.load(path, allow_pickle=False) as arrays:
            optional = ("paths", "class_names") if bare else ()
            found = {name: arrays[name] for name in _ARRAYS if name in arrays or name not in optional}
        scores, targets = found["scores"], found["targets"]
        paths = found.get("paths", np.arange(len(scores)).astype(str))
        class_names = found.get("class_names", np.arange(scores.shape[-1]).astype(str))
    except (OSError, KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(
            f"{path} holds no scores of an evaluation ({reason}): give the folder that eval.py or train.py wrote "
            f"eval.json to{', or arrays scores and targets' if bare else ''}"
        ) from None
    if scores.ndim != 2 or targets.shape not in (scores.shape, scores.shape[:1]) or len(class_names) != scores.shape[1]:
        raise UserError(
            f"{path}: scores must be (N, K), targets (N,) or (N, K), and there must be K class names; they are "
            f"{scores.shape}, {targets.shape} and {len(class_names)}"
        )
    return VideoScores(paths, tuple(map(str, class_names)), scores, targets)


def align(streams: Sequence[VideoScores]) -> list[VideoScores]:
    """Align the scores of several networks: keep videos scored by all, the same video in each row.

    The order is the first network's. A path listed several times, for parts of a video, is matched in order.

    Raises:
      UserError: if the networks have different classes, share no video, or were evaluated with different labels.
    """
    first = streams[0]
    for number, stream in enumerate(streams[1:], start=2):
        if stream.class_names != first.class_names:
            odd = sorted({*stream.class_names} ^ {*first.class_names})
            what = f"{', '.join(odd[:5])} are not in both" if odd else "their order differs"
            raise UserError(f"the classes of network {number} differ from those of the first: {what}")
    rows = [_rows(stream.paths) for stream in streams]
    common = [key for key in rows[0] if all(key in other for other in rows[1:])]
    if not common:
        raise UserError(f"no video was scored by all networks; the first network's begin with {first.paths[:1]}")
    aligned: list[VideoScores] = []
    for number, (stream, own) in enumerate(zip(streams, rows, strict=True), start=1):
        order = [own[key] for key in common]
        stream = replace(stream, paths=stream.paths[order], scores=stream.scores[order], targets=stream.targets[order])
        differs = (stream.targets != (aligned or [stream])[0].targets).reshape(len(common), -1).any(axis=1)
        if differs.any():
            raise UserError(f"network {number} was evaluated with another label of {stream.paths[differs.argmax()]}")
        aligned.append(stream)
    return aligned


def fuse(
    streams: Sequence[VideoScores], weights: Sequence[float] | None = None, rule: str = "probabilities"
) -> VideoScores:
    """Weighted mean of several networks' scores, on the videos scored by all of them.

    Args:
      streams: scores of two or more networks.
      weights: one weight per network, none negative and not all 0; None: equal weights.
      rule: "probabilities": mean of the probabilities; "logits": weighted sum of the logits, which the probabilities
        give up to a constant, and the probabilities of that sum; see `vidjax.nn.score_fusion`.

    Raises:
      UserError: if there is only one network, the rule is unknown, the weights do not fit, or `align` refuses the
        scores.
    """
    if len(streams) < 2:
        raise UserError("fusion needs the scores of two or more networks")
    shares = checked_weights(weights, len(streams), rule)
    aligned = align(streams)
    scores = [stream.scores.astype(np.float64) for stream in aligned]
    fused = fused_logs([_log(p) for p in scores], shares, rule, np)
    if rule == "logits" and aligned[0].targets.ndim == 2:
        fused = fused - fused_logs([_log(1 - p) for p in scores], shares, rule, np)
        return replace(aligned[0], scores=metrics.sigmoid(fused))
    return replace(aligned[0], scores=np.exp(fused) if rule == "probabilities" else metrics.softmax(fused))


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


def _rows(paths: np.ndarray) -> dict[tuple[str, int], int]:
    """Rows by path and number of its earlier occurrences."""
    seen: Counter[str] = Counter()
    rows = {}
    for row, path in enumerate(map(str, paths)):
        rows[path, seen[path]] = row
        seen[path] += 1
    return rows
