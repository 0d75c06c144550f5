"""Non-local blocks: every position of a feature map attends to all others.

Paper: Wang et al., Non-local Neural Networks (1711.07971). Reference code: facebookresearch/SlowFast
`models/nonlocal_helper.py`; mmcv `cnn/bricks/non_local.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.attention import attention
from vidjax.nn.conv import Conv3D
from vidjax.nn.grids import Triple
from vidjax.nn.init import kaiming_fan_out
from vidjax.nn.norm import BatchNorm
from vidjax.nn.pooling import max_pool3d

MODES = ("softmax", "dot_product")


class NonLocal(nnx.Module):
    """Non-local block, `x + norm(out(affinity(theta(x), phi(x))·g(x)))`, over all positions of space and time.

    The norm starts with scale 0, so that the block starts as the identity and can be put into a trained network. Keys
    and values come from the map max-pooled by `pool`, which divides the cost by as much: N·M products of width
    `features` for the affinity and as many for the sum.

    Args:
      in_features: channels of input and output.
      features: channels inside; None: half of `in_features`.
      mode: affinity of positions i and j: `"softmax"` (embedded Gaussian): the softmax over j of
        theta_i·phi_j; `"dot_product"`: theta_i·phi_j over the number of keys.
      scaled: whether to divide theta_i·phi_j by √features before the softmax (SlowFast does, the paper does not).
      pool: window and strides (T, H, W) of the max-pool of keys and values.
      pool_first: whether to pool the input of `phi` and `g` (SlowFast) or their output (the paper, mmcv).
      out_bias: whether `out` has a bias, which the norm after it makes redundant.
      kernel_init: initialiser of the four 1×1×1 convolutions.
      dtype: dtype of the computation; None: the input's. The softmax is float32, or float64.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: for an unknown `mode`.
    """

    def __init__(
        self,
        in_features: int,
        features: int | None = None,
        *,
        mode: str = "softmax",
        scaled: bool = True,
        pool: Triple = (1, 2, 2),
        pool_first: bool = True,
        out_bias: bool = True,
        kernel_init: nnx.Initializer = kaiming_fan_out,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if mode not in MODES:
            raise ValueError(f"nonlocal_mode = {mode!r}: must be one of {', '.join(MODES)}")
        features = in_features // 2 if features is None else features
        layer = {"kernel_init": kernel_init, "dtype": dtype, "rngs": rngs}
        self.theta = Conv3D(in_features, features, 1, use_bias=True, **layer)
        self.phi = Conv3D(in_features, features, 1, use_bias=True, **layer)
        self.g = Conv3D(in_features, features, 1, use_bias=True, **layer)
        self.out = Conv3D(features, in_features, 1, use_bias=out_bias, **layer)
        self.norm = BatchNorm(in_features, zero_init=True, rngs=rngs)
        self.mode = mode
        self.scale = features**-0.5 if scaled else 1.0
        self.pool = pool
        self.pool_first = pool_first

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to the same shape."""
        queries = self.theta(x)
        if self.pool_first:
            pooled = max_pool3d(x, self.pool)
            keys, values = self.phi(pooled), self.g(pooled)
        else:
            keys, values = max_pool3d(self.phi(x), self.pool), max_pool3d(self.g(x), self.pool)
        q, k, v = (y.reshape(y.shape[0], -1, y.shape[-1]) for y in (queries, keys, values))
        if self.mode == "softmax":
            y = attention(q[:, :, None], k[:, :, None], v[:, :, None], scale=self.scale)[:, :, 0]
        else:
            # Without a softmax the order of the products is free: keys with values first needs no N×M affinity.
            dtype = jnp.promote_types(q.dtype, jnp.float32)
            both = jnp.einsum("bmd,bme->bde", k, v, preferred_element_type=dtype) / k.shape[1]
            y = jnp.einsum("bnd,bde->bne", q.astype(dtype), both).astype(q.dtype)
        return x + self.norm(self.out(y.reshape(queries.shape)))
