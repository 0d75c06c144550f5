"""Convolutions along time over sequences of different lengths, padded and masked.

Sequences are `(B, T, C)`, masks bool `(B, T)`, True where a sequence has a feature. Layers multiply what they compute
by the mask, as the temporal detectors do whose code this follows: "ActionFormer" (arXiv 2202.07925), `MaskedConv1D` in
happyharrycn/actionformer_release, `libs/modeling/blocks.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.conv import Conv3D
from vidjax.nn.init import uniform_fan_in
from vidjax.nn.pooling import max_pool3d

CHANNEL_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class NormRule:
    """What norms between convolutions do where sources differ although their arrays have the same shapes.

    Attributes:
      epsilon: what is added to the variance.
      hides: whether the result is 0 where a sequence has no feature. Otherwise what a norm makes of zeros stands there,
        and the next convolution sees it.
    """

    epsilon: float = CHANNEL_NORM_EPSILON
    hides: bool = False

    def norm(self, features: int, *, dtype: Any = None, rngs: nnx.Rngs) -> nnx.LayerNorm:
        """Build a layer norm over the channels of each place."""
        return channel_norm(features, epsilon=self.epsilon, dtype=dtype, rngs=rngs)

    def result(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Return what comes after norm and activation, `(B, T, C)`, hidden by the mask, bool `(B, T)`, if so."""
        return masked(x, mask) if self.hides else x


ACTIONFORMER_NORMS = NormRule()


class TimeConv(nnx.Module):
    """Convolution along time, padded with zeros by half the kernel on both sides.

    Args:
      in_features: I, channels of the input.
      out_features: O, channels of the output.
      kernel_size: k, odd.
      stride: step between outputs; the output has ⌈T / stride⌉ places.
      groups: number of channel groups; I for a depthwise convolution.
      use_bias: whether to add a bias per output channel, 0 at first.
      kernel_init: initialiser of the kernel `(k, 1, 1, I / groups, O)`; PyTorch's default.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams; `params` draws the initial kernel.

    Raises:
      ValueError: for an even kernel, or if the groups do not divide the channels.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        use_bias: bool = True,
        kernel_init: nnx.Initializer = uniform_fan_in,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size = {kernel_size}: must be odd, to have a middle")
        self.conv = Conv3D(
            in_features, out_features, (kernel_size, 1, 1), (stride, 1, 1), (kernel_size // 2, 0, 0),
            feature_group_count=groups, use_bias=use_bias, kernel_init=kernel_init, dtype=dtype, rngs=rngs,
        )  # fmt: skip

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Map `(B, T, I)` to `(B, T', O)`, 0 where the mask, bool `(B, T')`, is False; None: no mask."""
        y = self.conv(x[:, :, None, None])[:, :, 0, 0]
        return y if mask is None else masked(y, mask)


def channel_norm(
    features: int, *, epsilon: float = CHANNEL_NORM_EPSILON, dtype: Any = None, rngs: nnx.Rngs
) -> nnx.LayerNorm:
    """Layer norm over the channels of each place, whose variance is that of differences from the mean."""
    return nnx.LayerNorm(features, epsilon=epsilon, use_fast_variance=False, dtype=dtype, rngs=rngs)


def masked(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Set `(B, T, C)` to 0 where the mask, bool `(B, T)`, is False."""
    return x * mask[..., None].astype(x.dtype)


def halved_mask(mask: jax.Array, stride: int = 2) -> jax.Array:
    """Mask of every `stride`-th place, bool `(B, T / stride)`."""
    return mask[:, ::stride]


def halved_max(x: jax.Array) -> jax.Array:
    """Maximum over three places around every second one, `(B, T, C)` to `(B, ⌈T/2⌉, C)`; padding never counts."""
    return max_pool3d(x[:, :, None, None], (3, 1, 1), (2, 1, 1), (1, 0, 0))[:, :, 0, 0]


def joined_levels(levels: Sequence[jax.Array], gap: int) -> jax.Array:
    """Join arrays `(B, T_l, …)` along time, with `gap` places of zeros (False) between.

    A convolution whose kernel reaches no farther than the gap then treats all levels as if each were alone, in one
    call, as long as the gaps stay 0.
    """
    parts = [levels[0]]
    for level in levels[1:]:
        parts += [jnp.zeros((level.shape[0], gap, *level.shape[2:]), level.dtype), level]
    return jnp.concatenate(parts, axis=1)


def split_levels(x: jax.Array, lengths: Sequence[int], gap: int = 0) -> list[jax.Array]:
    """Undo `joined_levels` for levels of these lengths."""
    starts = [sum(lengths[:i]) + i * gap for i in range(len(lengths))]
    return [x[:, start : start + length] for start, length in zip(starts, lengths, strict=True)]


class MaskedTower(nnx.Module):
    """Convolutions with channel norm and ReLU, then one convolution with bias to the outputs, for several levels.

    Args:
      in_features: C, channels of the input.
      features: channels between the layers.
      out_features: O, outputs of a place.
      depth: number of convolutions before the last.
      kernel_size: k of all convolutions.
      bias: initial bias of the outputs.
      rule: what its norms do.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        out_features: int,
        *,
        depth: int = 2,
        kernel_size: int = 3,
        bias: float = 0.0,
        rule: NormRule = ACTIONFORMER_NORMS,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        widths = [in_features] + [features] * depth
        self.convs = nnx.List(
            TimeConv(a, features, kernel_size, use_bias=False, dtype=dtype, rngs=rngs) for a in widths[:-1]
        )
        self.norms = nnx.List(rule.norm(features, dtype=dtype, rngs=rngs) for _ in range(depth))
        self.out = TimeConv(widths[-1], out_features, kernel_size, dtype=dtype, rngs=rngs)
        if bias:
            self.out.conv.bias = nnx.Param(jnp.full(out_features, bias))
        self.gap, self.rule = kernel_size // 2, rule

    def __call__(self, levels: Sequence[jax.Array], masks: Sequence[jax.Array]) -> list[jax.Array]:
        """Map levels `(B, T_l, C)` and their masks `(B, T_l)` to `(B, T_l, O)` each, 0 where masked."""
        mask, x = joined_levels(masks, self.gap), joined_levels(levels, self.gap)
        inside = joined_levels([jnp.ones_like(each) for each in masks], self.gap)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = masked(self.rule.result(nnx.relu(norm(conv(x, mask))), mask), inside)
        return split_levels(self.out(x, mask), [each.shape[1] for each in masks], self.gap)
