"""Networks that find segments in a sequence of feature vectors: a pyramid of levels in time, and heads on all of them.

Level l has a place every 2^l vectors; a place stands for the time of its vector. Each place says which classes act
there, and how far the segment reaches to the left and to the right, in strides of its level. `Pyramid` is the base of
the families; targets, losses and decoding are in `vidjax.tasks`, as these networks only compute.

Source: "ActionFormer" (arXiv 2202.07925), `libs/modeling/meta_archs.py` in happyharrycn/actionformer_release.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import SequenceInput
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant
from vidjax.models.sequences import sequence_of
from vidjax.nn.clips import ClipError
from vidjax.nn.fast_variables import RunningStatistic
from vidjax.nn.masked_conv import ACTIONFORMER_NORMS, MaskedTower, NormRule, TimeConv, masked, split_levels
from vidjax.nn.positions import resize_table, sinusoid_table

PRIOR = 0.01  # probability of each class at each place, at first
Range = tuple[float, float]
# Of each level, the distances to the farther end of a segment for which it is responsible, in vectors.
DOUBLING: tuple[Range, ...] = ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))
# The same of EPIC-Kitchens, where they overlap.
OVERLAPPING: tuple[Range, ...] = ((0, 4), (2, 8), (4, 16), (8, 32), (16, 64), (32, 10000))
# Those of small networks of four levels, for learning and tests.
TINY_RANGES: tuple[Range, ...] = ((0, 4), (4, 8), (8, 16), (16, 10000))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["classes", "offsets", "mask", "start", "end"],
    meta_fields=["levels", "reduction"],
)
@dataclass(frozen=True)
class SegmentOutputs:
    """Outputs of a network for segments; the places of all levels one after the other, N in all.

    Attributes:
      classes: logits `(B, N, K)` float32.
      offsets: `(B, N, 2)` float32, distances ≥ 0 to the left and right end, in strides of the level; with `start` and
        `end`, `(B, N, 2·(bins + 1))`, logits of the bins on the left, then of those on the right.
      mask: bool `(B, N)`, True where there is a vector.
      start: logits `(B, N, K)` of a start at each place; None: the offsets are distances.
      end: logits `(B, N, K)` of an end at each place; None: the offsets are distances.
      levels: number of places of each level; level l has a stride of 2^l places of the first.
      reduction: vectors or frames of the input per place of the first level.
    """

    classes: jax.Array
    offsets: jax.Array
    mask: jax.Array
    start: jax.Array | None = None
    end: jax.Array | None = None
    levels: tuple[int, ...] = ()
    reduction: int = 1

    def distances(self) -> jax.Array:
        """Distances to the left and right end, in strides of the level: `(B, N, 2)`, or `(B, N, K, 2)` per class.

        With `start` and `end`, they are the expectations of distributions over bins, 0 to `bins` strides away: the
        softmax of what the places there say of a start or an end and of the offsets' logits. Beyond the ends of a level
        places say 0. Source: `decode_offset` in dingfengshi/TriDet, `libs/modeling/meta_archs.py`.
        """
        if self.start is None or self.end is None:
            return self.offsets
        bins = self.offsets.shape[-1] // 2 - 1
        left, right = self.offsets[:, :, None, : bins + 1], self.offsets[:, :, None, bins + 1 :]
        ends = []
        for logits, own, before in ((self.start, left, bins), (self.end, right, 0)):
            near = [_neighbours(x, before, bins - before) for x in split_levels(logits, self.levels)]
            shares = jax.nn.softmax(jnp.concatenate(near, axis=1) + own)
            away = jnp.abs(jnp.arange(bins + 1) - before).astype(shares.dtype)
            ends.append(shares @ away)
        return jnp.stack(ends, axis=-1)


def _neighbours(x: jax.Array, before: int, after: int) -> jax.Array:
    """Values at each place and its neighbours, `(B, T, K)` to `(B, T, K, before + 1 + after)`, 0 beyond the ends."""
    wide = jnp.pad(x, ((0, 0), (before, after), (0, 0)))
    return jnp.stack([wide[:, i : i + x.shape[1]] for i in range(before + 1 + after)], axis=-1)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["pooled", "tokens", "maps", "windows", "streams", "mask"],
    meta_fields=["grid", "levels"],
)
@dataclass(frozen=True)
class PyramidFeatures(Features):
    """Features of sequences: the tokens are the places of all levels, one level after the other.

    Attributes:
      mask: bool `(B, N)`, True where there is a vector.
      levels: number of places of each level.
    """

    mask: jax.Array | None = None
    levels: tuple[int, ...] = ()


class Embedding(nnx.Module):
    """Convolutions over vectors, each with norm and ReLU, then positions if the network has them.

    Args:
      width: D, width of a vector.
      dim: C, channels of the result.
      depth: number of convolutions.
      positions: length of the table of sinusoids that is added, divided by √C; 0: none.
      rule: what its norms do.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        width: int,
        dim: int,
        depth: int,
        positions: int,
        *,
        rule: NormRule = ACTIONFORMER_NORMS,
        dtype: Any,
        rngs: nnx.Rngs,
    ):
        widths = [width] + [dim] * depth
        self.convs = nnx.List(TimeConv(a, dim, use_bias=False, dtype=dtype, rngs=rngs) for a in widths[:-1])
        self.norms = nnx.List(rule.norm(dim, dtype=dtype, rngs=rngs) for _ in range(depth))
        self.positions, self.rule = positions, rule

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Map `(B, T, D)` and its mask `(B, T)` to `(B, T, C)`."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.rule.result(nnx.relu(norm(conv(x, mask))), mask)
        if self.positions:
            x = x + masked(jnp.asarray(self._table(x), x.dtype)[None], mask)
        return x

    def _table(self, x: jax.Array) -> np.ndarray:
        """Positions `(T, C)`: the first of the table, or the table resized if the sequence is longer."""
        length, dim = x.shape[1:]
        table = sinusoid_table(self.positions, dim)
        if length > self.positions:
            table = resize_table(table, (self.positions, 1, 1), (length, 1, 1))
        return table[:length] / np.float32(dim**0.5)


class SegmentHead(nnx.Module):
    """Two towers that all levels share, for the classes of a place and its distances to both ends.

    Args:
      in_features: C, channels of the levels.
      num_classes: K, number of classes.
      features: channels of the towers.
      levels: number of levels, each with a learned factor of the distances.
      outputs: outputs of the second tower.
      kernel_size: kernel of all convolutions.
      rule: what its norms do.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        features: int,
        levels: int,
        outputs: int = 2,
        kernel_size: int = 3,
        rule: NormRule = ACTIONFORMER_NORMS,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        tower = functools.partial(MaskedTower, in_features, features, rule=rule, dtype=dtype, rngs=rngs)
        self.classes = tower(num_classes, kernel_size=kernel_size, bias=PRIOR_BIAS)
        self.offsets = tower(outputs, kernel_size=kernel_size)
        self.scales = nnx.List(nnx.Param(jnp.ones(())) for _ in range(levels))
        self.out_features = num_classes

    def __call__(self, levels: Sequence[jax.Array], masks: Sequence[jax.Array]) -> dict[str, list[jax.Array]]:
        """Map levels `(B, T_l, C)` and their masks to outputs per level, by their names in `SegmentOutputs`."""
        offsets = self.offsets(levels, masks)
        scaled = [nnx.relu(x * scale[...].astype(x.dtype)) for x, scale in zip(offsets, self.scales, strict=True)]
        return {"classes": self.classes(levels, masks), "offsets": scaled}


@dataclass(frozen=True)
class SegmentTraining:
    """How a network for segments is trained; evaluation does not depend on it.

    Attributes:
      matching: rule that says which places have to find a segment: "places", by where they lie, or "cost", also by what
        the network says of them.
      radius: largest distance of such a place from the middle of the segment, in strides; 0: anywhere inside.
      label_smoothing: share of the target of classes that is spread over K + 1.
      offset_weight: weight of the loss of the ends, where that of the classes has 1.
      overlap_power: exponent of the overlap by which the class loss of positives is multiplied.
      positives: positive places per clip at the start, of the running number that the loss is divided by.

    Raises:
      ValueError: for an unknown `matching`.
    """

    matching: str = "places"
    radius: float = 1.5
    label_smoothing: float = 0.0
    offset_weight: float = 1.0
    overlap_power: float = 0.0
    positives: float = 50.0

    def __post_init__(self) -> None:
        if self.matching not in MATCHING:
            raise ValueError(f"matching = {self.matching!r}: must be one of {', '.join(MATCHING)}")


MATCHING = ("places", "cost")
PRIOR_BIAS = -math.log((1 - PRIOR) / PRIOR)


class Pyramid(VideoNetwork):
    """Base class of networks for segments.

    A family defines `pyramid`, and its constructor calls this class's and sets `head`, see `SegmentHead`. Without a
    head, a call returns the pooled features.

    Attributes:
      ranges: per level, the least and largest distance to the farther end of a segment for which it is responsible, in
        places of the first level.
      training: options of training.
      positives: running number of positive places per clip, float32 `()`; training divides its losses by it.
      reduction: vectors or frames of the input per place of the first level.
    """

    positives: RunningStatistic
    reduction: int = 1

    def __init__(self, width: int, dim: int, ranges: Sequence[Range], training: SegmentTraining):
        self.width, self.training = width, training
        self.positives = RunningStatistic(jnp.float32(training.positives))
        self.widths = Widths(pooled=dim, tokens=dim)
        self.dropout = nnx.Dropout(0.0)
        self.ranges = tuple((float(low), float(high)) for low, high in ranges)

    def taken(self, inputs: Any) -> Mapping[str, jax.Array]:
        """Select the vectors and their mask, and check them.

        Args:
          inputs: vectors `(B, T, D)`, or a mapping with them as "features" and, if sequences are padded, their mask,
            bool `(B, T)`, as "mask". T is a multiple of 2^(levels - 1).

        Raises:
          ClipError: for other shapes and lengths, and for integers.
        """
        sequence = sequence_of(inputs, self.width, type(self).__name__)
        shape, step = sequence["features"].shape, 2 ** (len(self.ranges) - 1)
        if not shape[1] or shape[1] % step:
            raise ClipError(f"features {shape}: pad them to a multiple of {step} vectors, the stride of the last level")
        return sequence

    def pyramid(self, x: jax.Array, mask: jax.Array, rngs: nnx.Rngs | None) -> tuple[list[jax.Array], list[jax.Array]]:
        """Map vectors `(B, T, D)` and their mask `(B, T)` to the levels `(B, T_l, C)` and their masks `(B, T_l)`."""
        raise NotImplementedError(f"{type(self).__name__} does not define pyramid(x, mask, rngs)")

    def encode(self, video: Any, rngs: nnx.Rngs | None = None) -> PyramidFeatures:
        """Compute the levels of vectors `(B, T, D)`, see `taken`; pooled is the mean of the first level's places."""
        levels, masks = self.pyramid(video["features"], video["mask"], rngs)
        count = jnp.maximum(masks[0].sum(axis=1, dtype=jnp.float32), 1)
        pooled = masked(levels[0], masks[0]).sum(axis=1, dtype=jnp.float32) / count[:, None]
        lengths = tuple(level.shape[1] for level in levels)
        tokens, mask = jnp.concatenate(levels, axis=1), jnp.concatenate(masks, axis=1)
        return PyramidFeatures(pooled, tokens, (sum(lengths), 1, 1), mask=mask, levels=lengths)

    def apply_head(self, features: Features, *others: jax.Array, rngs: nnx.Rngs | None = None) -> Any:
        """Apply the head to the features of `encode`: `SegmentOutputs`."""
        del others, rngs  # nothing random comes after the levels
        assert self.head is not None, "a network without a head has nothing to apply"
        assert isinstance(features, PyramidFeatures) and features.tokens is not None and features.mask is not None
        levels = split_levels(features.tokens, features.levels)
        found = self.head(levels, split_levels(features.mask, features.levels))
        joined = {name: jnp.concatenate(x, axis=1).astype(_wide(x[0])) for name, x in found.items()}
        return SegmentOutputs(**joined, mask=features.mask, levels=features.levels, reduction=self.reduction)

    def __call__(self, video: Any, rngs: nnx.Rngs | None = None) -> Any:
        """Map vectors `(B, T, D)`, see `taken`, to `SegmentOutputs`; without a head, to features `(B, C)`."""
        features = self.encode(video, rngs=rngs)
        return features.pooled if self.head is None else self.apply_head(features, rngs=rngs)


def _wide(x: jax.Array) -> Any:
    """Type of outputs: at least float32."""
    return jnp.promote_types(x.dtype, jnp.float32)


def climb(
    stem: Iterable[Callable[..., Any]],
    branch: Iterable[Callable[..., Any]],
    norms: Iterable[Callable[[jax.Array], jax.Array]],
    x: jax.Array,
    mask: jax.Array,
    rngs: nnx.Rngs | None,
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Compute levels by blocks that each map `(x, mask, rngs)` to the next vectors and mask.

    Args:
      stem: blocks before the first level.
      branch: a block for each further level.
      norms: a norm for each level.
      x: vectors, `(B, T, C)`.
      mask: their mask, bool `(B, T)`.
      rngs: random stream for dropping branches; None in evaluation.

    Returns:
      The levels `(B, T_l, C)` and their masks `(B, T_l)`.
    """
    for block in stem:
        x, mask = block(x, mask, rngs)
    levels, masks = [x], [mask]
    for block in branch:
        x, mask = block(x, mask, rngs)
        levels.append(x)
        masks.append(mask)
    return [norm(level) for norm, level in zip(norms, levels, strict=True)], masks


def sequence_variant(
    build: Callable[..., Pyramid],
    source: str,
    paper: str,
    name: str,
    steps: int,
    width: int,
    num_classes: int,
    published: str = "",
    *,
    resized: bool = False,
    **kwargs: Any,
) -> Variant:
    """Make the table entry of a network on sequences of feature vectors.

    Args:
      build: class of the network.
      source: format of its checkpoints, which small networks for tests (`*_tiny`) do not have.
      paper: publication that describes the network.
      name: name of the network.
      steps: T, vectors of a sequence.
      width: D, length of a vector.
      num_classes: K, number of classes of the published checkpoints.
      published: accuracy reported elsewhere.
      resized: whether sequences are resized to T vectors, instead of padded.
      **kwargs: further arguments of the class.
    """
    spec = Spec(
        name,
        {"features": SequenceInput(steps=steps, width=width, resized=resized)},
        task="localise",
        num_classes=num_classes,
        paper=paper,
        sources=() if name.endswith("_tiny") else (source,),
        published=published,
    )
    return Variant(build, spec, {"width": width, **kwargs})
