"""Normalisation layers."""

import contextlib
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.fast_variables import RunningStatistic
from vidjax.nn.packed import columns_in

LAYER_NORM_EPSILON = 1e-6  # as in most Transformers


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation with statistics and arithmetic in at least float32, for any input dtype.

    Given a dtype, Flax's own layer rounds the running statistics to it.

    Args:
      features: number of channels, the last axis of the input.
      momentum: share of the old running statistics that each training step keeps (PyTorch: 1 - momentum).
      epsilon: constant added to the variance.
      zero_init: whether to start with scale 0, so that a residual branch that ends here starts at zero (1706.02677,
        5.1).
      affine: whether to learn a scale and a bias.

    Attributes:
      groups: number of equal, consecutive parts of the batch that are each normalised with statistics of their own in
        training; the running statistics follow their means. `normalising` sets it.
    """

    mean: nnx.BatchStat
    var: nnx.BatchStat

    def __init__(
        self,
        features: int,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        zero_init: bool = False,
        affine: bool = True,
        rngs: nnx.Rngs,
    ):
        scale_init = nnx.initializers.zeros_init() if zero_init else nnx.initializers.ones_init()
        super().__init__(
            features, momentum=momentum, epsilon=epsilon, scale_init=scale_init, use_scale=affine, use_bias=affine,
            rngs=rngs,
        )  # fmt: skip
        self.mean, self.var = (RunningStatistic(statistic[...]) for statistic in (self.mean, self.var))
        self.groups = 1

    def __call__(self, x: jax.Array, real: jax.Array | None = None) -> jax.Array:
        """Normalise (B, …, C), keeping shape and dtype; training mode updates the running statistics.

        Args:
          x: input, (B, …, C).
          real: rows of which statistics are taken, bool (B,); the others are padding. None: all.

        Raises:
          ValueError: in training, if the groups do not divide the batch.
        """
        groups = 1 if self.use_running_average else self.groups
        columns = columns_in(x, self.num_features)
        if groups == columns == 1 and (real is None or self.use_running_average):
            return super().__call__(x).astype(x.dtype)
        if x.shape[0] % groups:
            raise ValueError(f"a batch of {x.shape[0]} does not divide into {groups} equal parts")
        # Devices split the leading axis, so a part on one device is normalised without the others.
        parts = x.astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(groups, -1, *x.shape[1:])

        weight = jnp.ones(x.shape[0], parts.dtype) if real is None else real.astype(parts.dtype)
        weight = weight.reshape(groups, -1)
        rows = weight.sum(axis=1, keepdims=True)

        def mean_of(x: jax.Array) -> jax.Array:  # (groups, C)
            x = x.mean(tuple(range(2, x.ndim - 1)))
            x = x.mean(axis=1) if real is None else (x * weight[:, :, None]).sum(axis=1) / jnp.maximum(rows, 1)
            return x.reshape(groups, columns, -1).mean(axis=1)

        def spread(x: jax.Array) -> jax.Array:  # (groups, C) to the channels of `parts`
            return jnp.tile(x, (1, columns)).reshape(groups, *(1,) * (parts.ndim - 2), -1)

        if self.use_running_average:
            mean, var = (running[...].astype(parts.dtype)[None] for running in (self.mean, self.var))
        else:
            mean = mean_of(parts)
            var = jnp.maximum(mean_of(jnp.square(parts)) - jnp.square(mean), 0)
            for running, new in ((self.mean, mean), (self.var, var)):
                # Without any row there is nothing to learn.
                new = jnp.where(rows > 0, new, running[...][None])
                running[...] = self.momentum * running[...] + (1 - self.momentum) * new.mean(axis=0)
        factor = jax.lax.rsqrt(var + self.epsilon)
        if self.scale is None or self.bias is None:
            return ((parts - spread(mean)) * spread(factor)).reshape(x.shape).astype(x.dtype)
        scale, bias = (p[...].astype(parts.dtype)[None] for p in (self.scale, self.bias))
        y = (parts - spread(mean)) * spread(factor * scale) + spread(jnp.broadcast_to(bias, mean.shape))
        return y.reshape(x.shape).astype(x.dtype)


class OffsetLayerNorm(nnx.Module):
    """Layer normalisation whose factor is 1 plus a learned number, `(…, D)` to the same shape.

    Statistics and arithmetic are in at least float32.

    Args:
      features: D, the last axis of the input.
      epsilon: constant added to the variance.
      dtype: dtype of the result; None: that of the input, at least float32.
      rngs: not used: factors and biases start at 0.

    Source: VideoPrism (arXiv 2402.13217), google-deepmind/videoprism `layers.py`.
    """

    def __init__(
        self, features: int, *, epsilon: float = LAYER_NORM_EPSILON, dtype: Any = None, rngs: nnx.Rngs | None = None
    ):
        del rngs
        self.scale, self.bias = nnx.Param(jnp.zeros(features)), nnx.Param(jnp.zeros(features))
        self.epsilon, self.dtype = epsilon, dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise `(…, D)`."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = wide - wide.mean(axis=-1, keepdims=True)
        factor = jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + self.epsilon)
        scale, bias = (jnp.expand_dims(p[...], tuple(range(x.ndim - 1))) for p in (self.scale, self.bias))
        y = centred * factor * (1 + scale) + bias
        return y.astype(self.dtype or y.dtype)


class InstanceNorm(nnx.Module):
    """Instance normalisation without parameters: every channel of every sample by its own mean and variance.

    Statistics and arithmetic are in at least float32, for any input dtype.

    Args:
      epsilon: constant added to the variance.
    """

    def __init__(self, *, epsilon: float = 1e-5):
        self.epsilon = epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise (B, …, C), keeping shape and dtype."""
        axes = tuple(range(1, x.ndim - 1))
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = wide - wide.mean(axes, keepdims=True)
        variance = jnp.square(centred).mean(axes, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + self.epsilon)).astype(x.dtype)


@contextlib.contextmanager
def normalising(model: nnx.Module, *, groups: int = 1, forget: bool = False) -> Generator[None, None, None]:
    """Context that changes the batch norms of `model`; states split off inside stay changed.

    Args:
      model: network, with or without batch norms.
      groups: number of parts of the batch, see `BatchNorm`.
      forget: whether running statistics keep only the last batch.
    """
    layers = [module for _, module in nnx.iter_modules(model) if isinstance(module, BatchNorm)]
    before = [(layer.groups, layer.momentum) for layer in layers]
    try:
        for layer in layers:
            layer.groups = groups
            layer.momentum = 0.0 if forget else layer.momentum
        yield
    finally:
        for layer, (own_groups, momentum) in zip(layers, before, strict=True):
            layer.groups, layer.momentum = own_groups, momentum
