"""Errors of optical flow, as its benchmarks count them.

Sources: Butler et al., Sintel (ECCV 2012), which means over all pixels of all pairs; Menze & Geiger, KITTI 2015, which
means over pairs, and whose outliers are more than 3 pixels and 5 % of the true length away; princeton-vl/RAFT
`evaluate.py`, which has both.
"""

from dataclasses import dataclass

import numpy as np

_OUTLIER, _SHARE = 3.0, 0.05  # pixels, and of the true motion's length
_WITHIN = (1, 3, 5)  # pixels


def flow_errors(flow: np.ndarray, true: np.ndarray) -> np.ndarray:
    """End-point errors: lengths of the difference, float32 `(H, W)`, in pixels.

    Args:
      flow: estimated field, `(H, W, 2)`.
      true: true field, of the same shape.

    Raises:
      ValueError: if the shapes differ.
    """
    if flow.shape != true.shape or flow.shape[-1:] != (2,):
        raise ValueError(f"flow of shape {flow.shape} is compared with {true.shape}; both must be (H, W, 2)")
    return np.linalg.norm(flow.astype(np.float32) - true.astype(np.float32), axis=-1)


def flow_outliers(errors: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Outliers by KITTI's rule, bool `(H, W)`: more than 3 pixels and more than 5 % of the true length away."""
    return (errors > _OUTLIER) & (errors > _SHARE * np.linalg.norm(true, axis=-1))


@dataclass
class FlowScores:
    """Sums of errors over pairs of pictures.

    Attributes:
      pairs: number of pairs.
      pixels: number of pixels whose true motion is known.
      epe: sum of end-point errors over pixels.
      pair_epe: sum over pairs of the mean error of a pair.
      within: pixels with errors below 1, 3 and 5 pixels.
      outliers: pixels that are outliers.
    """

    pairs: int = 0
    pixels: int = 0
    epe: float = 0.0
    pair_epe: float = 0.0
    within: tuple[int, ...] = (0,) * len(_WITHIN)
    outliers: int = 0

    def add(self, flow: np.ndarray, true: np.ndarray, known: np.ndarray | None = None) -> None:
        """Count a pair.

        Args:
          flow: estimated field, `(H, W, 2)`.
          true: true field, of the same shape.
          known: where the true field is known, bool `(H, W)`; None: everywhere. A pair without such a pixel counts
            nothing.

        Raises:
          ValueError: if the shapes differ.
        """
        errors = flow_errors(flow, true)
        known = np.ones(errors.shape, bool) if known is None else known
        if not known.any():
            return
        outliers, errors = flow_outliers(errors, true)[known], errors[known].astype(np.float64)
        self.pairs += 1
        self.pixels += errors.size
        self.epe += float(errors.sum())
        self.pair_epe += float(errors.mean())
        self.within = tuple(count + int((errors < n).sum()) for count, n in zip(self.within, _WITHIN, strict=True))
        self.outliers += int(outliers.sum())

    def merge(self, other: "FlowScores") -> None:
        """Add the counts of other pairs."""
        self.pairs += other.pairs
        self.pixels += other.pixels
        self.epe += other.epe
        self.pair_epe += other.pair_epe
        self.within = tuple(a + b for a, b in zip(self.within, other.within, strict=True))
        self.outliers += other.outliers

    def summary(self) -> dict[str, float]:
        """Figures: "epe" over pixels, "epe_per_pair" (KITTI's), shares "1px", "3px" and "5px", "fl_all" in percent.

        Raises:
          ValueError: if no pair was counted.
        """
        if not self.pairs:
            raise ValueError("no pair of pictures has true flow")
        shares = {f"{n}px": count / self.pixels for count, n in zip(self.within, _WITHIN, strict=True)}
        means = {"epe": self.epe / self.pixels, "epe_per_pair": self.pair_epe / self.pairs}
        return means | shares | {"fl_all": 100 * self.outliers / self.pixels}
