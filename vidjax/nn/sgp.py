"""Scalable-granularity perception: depthwise convolutions of two extents and a mean in the place of attention.

Source: "TriDet" (arXiv 2303.07347), `SGPBlock` of `libs/modeling/blocks.py` in dingfengshi/TriDet.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.droppath import DropPath
from vidjax.nn.init import scaled_normal, uniform_fan_in
from vidjax.nn.local_attention import BRANCH_SCALE, scaled
from vidjax.nn.masked_conv import CHANNEL_NORM_EPSILON, TimeConv, channel_norm, halved_mask, halved_max, masked
from vidjax.nn.mlp import Mlp


def wide_kernel(kernel_size: int, factor: float) -> int:
    """Extent of the wider convolution: `(kernel_size + 1) · factor`, rounded, and made odd by adding one."""
    size = round((kernel_size + 1) * factor)
    return size + (size % 2 == 0)


class SGPBlock(nnx.Module):
    """Block `x + fc·ReLU(global_fc(mean over T)) + (conv_w + conv_kw)·psi + norm`, then an MLP; all of depth one.

    The convolutions, the mean over time and the group norm see padding as well: a sequence that is padded farther gets
    other results.

    Args:
      dim: D, features; a multiple of `groups`.
      hidden: features between the layers of the MLP.
      kernel_size: w, odd extent of the convolutions.
      factor: k, factor of the wider one, see `wide_kernel`.
      stride: 1, or 2 to halve the sequence by a maximum over three places, before all else.
      scale: whether both branches have learned factors, small at first.
      groups: groups of the norm before the MLP.
      deviation: standard deviation of the convolutions' initial kernels. With 0, as for THUMOS14, every product of two
        of them keeps a gradient of 0, and the block learns only its norms and the MLP.
      drop_path: probability of dropping a branch, where branches are scaled.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        kernel_size: int = 1,
        factor: float = 1.5,
        stride: int = 1,
        *,
        scale: bool = True,
        groups: int = 16,
        deviation: float = 0.0,
        drop_path: float = 0.0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        def depthwise(size: int) -> TimeConv:
            return TimeConv(dim, dim, size, groups=dim, kernel_init=scaled_normal(deviation), dtype=dtype, rngs=rngs)

        self.norm1 = channel_norm(dim, dtype=dtype, rngs=rngs)
        self.psi, self.fc, self.conv_w = depthwise(kernel_size), depthwise(1), depthwise(kernel_size)
        self.conv_kw, self.global_fc = depthwise(wide_kernel(kernel_size, factor)), depthwise(1)
        self.norm2 = nnx.GroupNorm(
            dim, num_groups=groups, epsilon=CHANNEL_NORM_EPSILON, use_fast_variance=False, dtype=dtype, rngs=rngs
        )
        self.mlp = Mlp(dim, hidden, kernel_init=uniform_fan_in, dtype=dtype, rngs=rngs)
        self.out_scale = nnx.Param(jnp.full(dim, BRANCH_SCALE)) if scale else nnx.data(None)
        self.mlp_scale = nnx.Param(jnp.full(dim, BRANCH_SCALE)) if scale else nnx.data(None)
        self.drop_path = DropPath(drop_path if scale else 0.0)
        self.stride = stride

    def __call__(self, x: jax.Array, mask: jax.Array, rngs: nnx.Rngs | None = None) -> tuple[jax.Array, jax.Array]:
        """Map `(B, T, D)` and its mask, bool `(B, T)`, to both of the output, `(B, T', D)` and `(B, T')`."""
        if self.stride > 1:
            x, mask = halved_max(x), halved_mask(mask)
        y = self.norm1(x)
        whole = nnx.relu(self.global_fc(y.mean(axis=1, keepdims=True)))
        y = self.fc(y) * whole + (self.conv_w(y) + self.conv_kw(y)) * self.psi(y) + y
        x = masked(x, mask) + self._branch(y, self.out_scale, rngs)
        return x + self._branch(self.mlp(self.norm2(x)), self.mlp_scale, rngs), mask

    def _branch(self, y: jax.Array, scale: nnx.Param | None, rngs: nnx.Rngs | None) -> jax.Array:
        return y if scale is None else self.drop_path(scaled(y, scale), rngs)
