"""ActionFormer: attention to near places at several levels in time, for segments in sequences of feature vectors.

Two convolutions, two blocks of local attention, then five that halve the sequence: six levels, each with a norm. Heads
are shared by all levels. Drop path and the initial weights are those of the reference, whose evaluation takes the
moving average of the weights (decay 0.999).

Source: Zhang, Wu and Li, "ActionFormer: localizing moments of actions with Transformers" (arXiv 2202.07925), and
happyharrycn/actionformer_release, with its `configs/*.yaml`.
"""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
from flax import nnx

from vidjax.models.arguments import by_field
from vidjax.models.pyramid import (
    DOUBLING,
    OVERLAPPING,
    TINY_RANGES,
    Embedding,
    Pyramid,
    Range,
    SegmentHead,
    SegmentTraining,
    climb,
    sequence_variant,
)
from vidjax.nn.local_attention import ConvAttentionBlock
from vidjax.nn.masked_conv import ACTIONFORMER_NORMS, NormRule

THUMOS = SegmentTraining()
PAPER = "https://arxiv.org/abs/2202.07925"


class ActionFormer(Pyramid):
    """Local attention at six levels in time.

    Args:
      num_classes: K, number of classes.
      width: D, width of a vector.
      dim: C, channels of all layers; a multiple of `heads`.
      heads: attention heads.
      depths: number of convolutions, of blocks at the first level, and of blocks that halve the sequence.
      windows: places that a query sees, odd, or 0 for all; one number, or one per level.
      positions: length of the table of absolute positions; 0: none.
      ranges: distances per level, see `Pyramid`.
      dropout: dropout probability in the blocks.
      drop_path: probability of dropping a branch of a block.
      matching, radius, label_smoothing, offset_weight, overlap_power, positives: options of training, see
        `SegmentTraining`.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `windows` or `ranges` are not one per level.
    """

    rule: ClassVar[NormRule] = ACTIONFORMER_NORMS  # of the norms outside of the blocks

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        width: int,
        dim: int = 512,
        heads: int = 4,
        depths: tuple[int, int, int] = (2, 2, 5),
        windows: int | Sequence[int] = 19,
        positions: int = 0,
        ranges: Sequence[Range] = DOUBLING,
        dropout: float = 0.0,
        drop_path: float = 0.1,
        training: SegmentTraining = THUMOS,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(width, dim, ranges, training)
        convs, first, halvings = depths
        windows = (windows,) * (1 + halvings) if isinstance(windows, int) else tuple(windows)
        if not len(windows) == len(self.ranges) == 1 + halvings:
            raise ValueError(f"depths = {depths}: give windows and ranges for each of the {1 + halvings} levels")
        options = {"dropout": dropout, "drop_path": drop_path, "dtype": dtype, "rngs": rngs}
        normed = {"rule": self.rule, "dtype": dtype, "rngs": rngs}
        self.embedding = Embedding(width, dim, convs, positions, **normed)
        self.stem = nnx.List(ConvAttentionBlock(dim, heads, windows[0], **options) for _ in range(first))
        self.branch = nnx.List(ConvAttentionBlock(dim, heads, window, 2, **options) for window in windows[1:])
        self.norms = nnx.List(self.rule.norm(dim, dtype=dtype, rngs=rngs) for _ in windows)
        self.head = SegmentHead(dim, num_classes, features=dim, levels=len(windows), **normed)

    def pyramid(self, x: jax.Array, mask: jax.Array, rngs: nnx.Rngs | None) -> tuple[list[jax.Array], list[jax.Array]]:
        """Map vectors `(B, T, D)` and their mask `(B, T)` to the levels `(B, T_l, C)` and their masks `(B, T_l)`."""
        return climb(self.stem, self.branch, self.norms, self.embedding(x, mask), mask, rngs)


_variant = functools.partial(sequence_variant, ActionFormer, "actionformer", PAPER)


# ActivityNet: one class, whatever acts; the classes are another network's. Features are resized to 192 vectors.
_ANET = {
    "dim": 256, "windows": (7, 7, 7, 7, 7, 0), "positions": 192,
    "label_smoothing": 0.1, "offset_weight": 2.0, "positives": 200 / 16, "resized": True,
}  # fmt: skip
_EPIC = {"windows": 9, "ranges": OVERLAPPING, "positives": 250 / 2}
_TINY = {"dim": 16, "heads": 2, "depths": (1, 1, 3), "windows": 5, "ranges": TINY_RANGES, "positives": 10.0}

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("actionformer_thumos_i3d", 2304, 2048, 20, "THUMOS14 mAP 66.83, 0.3:0.7 (repository)"),
        _variant("actionformer_anet_tsp", 192, 512, 1, "ActivityNet 1.3 mAP 36.56 (repository)", **_ANET),
        _variant("actionformer_anet_i3d", 192, 2048, 1, **_ANET),
        _variant("actionformer_epic_verb", 2304, 2304, 97, **_EPIC),
        _variant("actionformer_epic_noun", 2304, 2304, 300, label_smoothing=0.1, **_EPIC),
        _variant("actionformer_tiny", 64, 16, 6, **_TINY),
    )
}
