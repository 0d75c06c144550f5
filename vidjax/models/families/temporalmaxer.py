"""TemporalMaxer: convolutions, and maxima over time in the place of attention, for segments in sequences of vectors.

Levels are maxima of the level before and have no weights of their own. Which places have to find a segment also depends
on what the network says of them (`matching="cost"`).

Source: Tang, Kim and Sohn, "TemporalMaxer: maximize temporal context with only max pooling for temporal action
localization" (arXiv 2303.09055), and TuanTNG/TemporalMaxer, with its `configs/*.yaml`.
"""

import functools
from collections.abc import Sequence
from typing import Any

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
    sequence_variant,
)
from vidjax.nn.masked_conv import CHANNEL_NORM_EPSILON, channel_norm, halved_mask, halved_max, masked

PAPER = "https://arxiv.org/abs/2303.09055"
BY_COST = SegmentTraining(matching="cost")
NORMS = ("groups", "channels")


class TemporalMaxer(Pyramid):
    """Maxima over time at six levels.

    Args:
      num_classes: K, number of classes.
      width: D, width of a vector.
      dim: C, channels of all layers; a multiple of 4.
      depths: number of convolutions, and of levels after the first.
      norm: norm of the levels: "groups", over four groups of channels and all places, padding too, without parameters;
        "channels", over the channels of a place, with parameters that all levels share.
      ranges: distances per level, see `Pyramid`.
      matching, radius, label_smoothing, offset_weight, overlap_power, positives: options of training, see
        `SegmentTraining`.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `ranges` are not one per level, or for an unknown norm.
    """

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        width: int,
        dim: int = 512,
        depths: tuple[int, int] = (2, 5),
        norm: str = "groups",
        ranges: Sequence[Range] = DOUBLING,
        training: SegmentTraining = BY_COST,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(width, dim, ranges, training)
        if len(self.ranges) != 1 + depths[1]:
            raise ValueError(f"depths = {depths}: give ranges for each of the {1 + depths[1]} levels")
        if norm not in NORMS:
            raise ValueError(f"norm = {norm!r}: must be one of {', '.join(NORMS)}")
        self.embedding = Embedding(width, dim, depths[0], 0, dtype=dtype, rngs=rngs)
        self.norm = (
            channel_norm(dim, dtype=dtype, rngs=rngs)
            if norm == "channels"
            else nnx.GroupNorm(
                dim, num_groups=4, epsilon=CHANNEL_NORM_EPSILON, use_bias=False, use_scale=False,
                use_fast_variance=False, dtype=dtype, rngs=rngs,
            )
        )  # fmt: skip
        self.head = SegmentHead(dim, num_classes, features=dim, levels=len(self.ranges), dtype=dtype, rngs=rngs)

    def pyramid(self, x: jax.Array, mask: jax.Array, rngs: nnx.Rngs | None) -> tuple[list[jax.Array], list[jax.Array]]:
        """Map vectors `(B, T, D)` and their mask `(B, T)` to the levels `(B, T_l, C)` and their masks `(B, T_l)`."""
        del rngs  # nothing is random
        levels, masks = [self.embedding(x, mask)], [mask]
        for _ in self.ranges[1:]:
            masks.append(halved_mask(masks[-1]))
            levels.append(masked(halved_max(levels[-1]), masks[-1]))
        return [self.norm(level) for level in levels], masks


_variant = functools.partial(sequence_variant, TemporalMaxer, "temporalmaxer", PAPER)


_EPIC = {"ranges": OVERLAPPING, "positives": 250 / 2}
_TINY = {"dim": 16, "depths": (1, 3), "ranges": TINY_RANGES, "positives": 10.0}

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("temporalmaxer_thumos_i3d", 2304, 2048, 20, "THUMOS14 mAP 67.7, 0.3:0.7 (repository)"),
        _variant("temporalmaxer_multithumos_i3d", 2304, 1024, 65, depths=(3, 5), norm="channels"),
        _variant("temporalmaxer_epic_verb", 2304, 2304, 97, norm="channels", **_EPIC),
        _variant("temporalmaxer_epic_noun", 2304, 2304, 300, **_EPIC),
        _variant("temporalmaxer_tiny", 64, 16, 6, **_TINY),
    )
}
