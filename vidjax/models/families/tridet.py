"""TriDet: convolutions of two extents at several levels in time; ends of segments as distributions over near places.

Like ActionFormer, with `SGPBlock` in the place of attention, and a head whose distances are expectations: of what the
offsets say, plus what the places there say of a start or an end (`SegmentOutputs.distances`). Its layers see padding:
sequences are padded to the length of training (2304, 768 and 960 vectors), as in the reference.

Source: Shi et al., "TriDet: temporal action detection with relative boundary modeling" (arXiv 2303.07347), and
dingfengshi/TriDet, with its `configs/*.yaml`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from vidjax.models.arguments import by_field
from vidjax.models.pyramid import (
    DOUBLING,
    OVERLAPPING,
    PRIOR_BIAS,
    TINY_RANGES,
    Embedding,
    Pyramid,
    Range,
    SegmentHead,
    SegmentTraining,
    climb,
    sequence_variant,
)
from vidjax.nn.masked_conv import MaskedTower, channel_norm
from vidjax.nn.noise import Noise
from vidjax.nn.sgp import SGPBlock

PAPER = "https://arxiv.org/abs/2303.07347"
THUMOS = SegmentTraining(overlap_power=0.2)


@dataclass(frozen=True)
class TridentSize:
    """Size of the head.

    Attributes:
      bins: B, strides up to which an end may be away from a place.
      head_dim: channels of the towers.
      head_kernel: kernel of the towers of classes and offsets.
      boundary_kernel: kernel of the towers of starts and ends.
    """

    bins: int = 16
    head_dim: int = 512
    head_kernel: int = 3
    boundary_kernel: int = 3


class TridentHead(SegmentHead):
    """Towers for classes and offsets, and for starts and ends of each class, whose gradient stops at the head.

    Args:
      in_features: C, channels of the levels.
      num_classes: K, number of classes.
      size: bins, channels and kernels.
      levels: number of levels.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self, in_features: int, num_classes: int, size: TridentSize, *, levels: int, dtype: Any, rngs: nnx.Rngs
    ):
        super().__init__(
            in_features, num_classes, features=size.head_dim, levels=levels, outputs=2 * (size.bins + 1),
            kernel_size=size.head_kernel, dtype=dtype, rngs=rngs,
        )  # fmt: skip
        self.start, self.end = (
            MaskedTower(
                in_features, size.head_dim, num_classes, kernel_size=size.boundary_kernel, bias=PRIOR_BIAS,
                dtype=dtype, rngs=rngs,
            )
            for _ in range(2)
        )  # fmt: skip

    def __call__(self, levels: Sequence[jax.Array], masks: Sequence[jax.Array]) -> dict[str, list[jax.Array]]:
        """Map levels `(B, T_l, C)` and their masks to outputs per level, by their names in `SegmentOutputs`."""
        still = [jax.lax.stop_gradient(level) for level in levels]
        ends = {"start": self.start(still, masks), "end": self.end(still, masks)}
        return super().__call__(levels, masks) | ends


class TriDet(Pyramid):
    """Blocks of convolutions at six levels in time, and a trident head.

    Args:
      num_classes: K, number of classes.
      width: D, width of a vector.
      dim: C, channels of the levels; a multiple of 16.
      hidden: features between the layers of the blocks' MLPs.
      depths: number of convolutions, of blocks at the first level, and of blocks that halve the sequence.
      kernel_size: w, extent of the convolutions of the blocks that halve; those of the first level have 1.
      factor: k, factor of the wider convolutions.
      positions: length of the table of absolute positions; 0: none.
      ranges: distances per level, see `Pyramid`.
      bins, head_dim, head_kernel, boundary_kernel: size of the head, see `TridentSize`.
      noise: standard deviation of the noise on the vectors, in training.
      deviation: standard deviation of the depthwise convolutions' initial kernels, see `SGPBlock`.
      drop_path: probability of dropping a branch of a block that halves.
      matching, radius, label_smoothing, offset_weight, overlap_power, positives: options of training, see
        `SegmentTraining`.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `ranges` are not one per level.
    """

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        width: int,
        dim: int = 512,
        hidden: int = 768,
        depths: tuple[int, int, int] = (2, 2, 5),
        kernel_size: int = 1,
        factor: float = 5.0,
        positions: int = 0,
        ranges: Sequence[Range] = DOUBLING,
        trident: TridentSize,
        noise: float = 0.0,
        deviation: float = 0.0,
        drop_path: float = 0.1,
        training: SegmentTraining = THUMOS,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(width, dim, ranges, training)
        convs, first, halvings = depths
        if len(self.ranges) != 1 + halvings:
            raise ValueError(f"depths = {depths}: give ranges for each of the {1 + halvings} levels")
        options = {"factor": factor, "deviation": deviation, "dtype": dtype, "rngs": rngs}
        self.noise = Noise(noise)
        self.embedding = Embedding(width, dim, convs, positions, dtype=dtype, rngs=rngs)
        self.stem = nnx.List(SGPBlock(dim, hidden, scale=False, **options) for _ in range(first))
        self.branch = nnx.List(
            SGPBlock(dim, hidden, kernel_size, stride=2, drop_path=drop_path, **options) for _ in range(halvings)
        )
        self.norms = nnx.List(channel_norm(dim, dtype=dtype, rngs=rngs) for _ in self.ranges)
        self.head = TridentHead(dim, num_classes, trident, levels=len(self.ranges), dtype=dtype, rngs=rngs)

    def pyramid(self, x: jax.Array, mask: jax.Array, rngs: nnx.Rngs | None) -> tuple[list[jax.Array], list[jax.Array]]:
        """Map vectors `(B, T, D)` and their mask `(B, T)` to the levels `(B, T_l, C)` and their masks `(B, T_l)`."""
        x = self.embedding(self.noise(x, rngs), mask)
        return climb(self.stem, self.branch, self.norms, x, mask, rngs)


_variant = functools.partial(sequence_variant, TriDet, "tridet", PAPER)


_ANET = {
    "dim": 256, "hidden": 2048, "kernel_size": 15, "factor": 1.3, "positions": 768, "bins": 12, "noise": 0.5,
    "deviation": 0.2, "label_smoothing": 0.1, "overlap_power": 1.0, "positives": 400 / 16,
}  # fmt: skip
_EPIC = {"hidden": 1024, "ranges": OVERLAPPING, "overlap_power": 0.25, "positives": 250 / 2}
_HACS = {
    "dim": 1024, "hidden": 1024, "factor": 1.2, "head_dim": 1024, "head_kernel": 5, "boundary_kernel": 1,
    "deviation": 0.1, "label_smoothing": 0.1, "overlap_power": 1.0, "positives": 400 / 16,
}  # fmt: skip
_HACS_SLOWFAST = {"kernel_size": 3, "positions": 960, "bins": 14, "noise": 0.2}
_HACS_I3D = {
    "kernel_size": 15, "positions": 512, "bins": 12, "depths": (2, 2, 6),
    "ranges": (*DOUBLING[:5], (64, 128), (128, 10000)),
}  # fmt: skip
_TINY = {
    "dim": 16, "hidden": 32, "depths": (1, 1, 3), "kernel_size": 3, "factor": 1.5, "deviation": 0.1, "bins": 4,
    "head_dim": 16, "ranges": TINY_RANGES, "positives": 10.0,
}  # fmt: skip

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("tridet_thumos_i3d", 2304, 2048, 20, "THUMOS14 mAP 69.27, 0.3:0.7 (repository)", noise=5e-4),
        _variant("tridet_anet_tsp", 768, 512, 1, "ActivityNet 1.3 mAP 36.77 (repository)", **_ANET),
        _variant("tridet_epic_verb", 2304, 2304, 97, kernel_size=5, factor=2.0, **_EPIC),
        _variant("tridet_epic_noun", 2304, 2304, 300, factor=4.0, label_smoothing=0.1, **_EPIC),
        _variant("tridet_hacs_slowfast", 960, 2304, 200, **_HACS, **_HACS_SLOWFAST),
        _variant("tridet_hacs_i3d", 512, 2048, 200, **_HACS, **_HACS_I3D),
        _variant("tridet_tiny", 64, 16, 6, **_TINY),
    )
}
