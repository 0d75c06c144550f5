"""Heads: the last layers, from a network's features to its outputs.

A head is replaced, not wrapped: `network.head = Attentive(network.width_of("tokens"), num_classes, rngs=rngs)`, so that
all other parameters keep their paths. `nnx.Linear` is the head for the pooled vector; the heads here read other parts
of `vidjax.models.base.Features`.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.models.base import Head
from vidjax.nn.attentive import AttentivePooler
from vidjax.nn.init import normal_002

Drop = Callable[[jax.Array], jax.Array]  # a network's dropout

MOST_HEADS = 16  # attention heads of V-JEPA 2's probes, whatever the encoder


class Dense(Head, nnx.Linear):
    """Linear classifier applied to every window of a feature map, as SlowFast and pytorchvideo evaluate.

    In evaluation the reference averages *probabilities* over the windows: one at the size for which the network is made
    (a 7×7 map pooled by 7×7), several for larger pictures. Here the result is the logarithm of that mean, whose softmax
    returns the probabilities; with one window it is the plain logits.

    Arguments are those of `nnx.Linear`.

    Source: `ResNetBasicHead` in facebookresearch/SlowFast, `models/head_helper.py`.
    """

    sees: ClassVar[str] = "windows"

    def __call__(self, x: jax.Array, drop: Drop | None = None) -> jax.Array:
        """Map `(B, …, D)` to `(B, K)` float32."""
        logits = self.each(x, drop).reshape(x.shape[0], -1, self.out_features)
        if logits.shape[1] == 1:
            return logits[:, 0]
        return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=1) - jnp.log(float(logits.shape[1]))

    def each(self, x: jax.Array, drop: Drop | None = None) -> jax.Array:
        """Logits of each window: map `(B, …, D)` to `(B, …, K)` float32."""
        x = x if drop is None else drop(x)
        return super().__call__(x.astype(jnp.float32))


class Attentive(Head):
    """Attentive classifier: a learned query attends to all tokens, and one layer classifies the result.

    Args:
      in_features: D', width of the tokens.
      num_classes: K, number of classes.
      blocks: number of Transformer blocks; the last is the query's cross-attention, the others are self-attention.
      heads: number of attention heads, a divisor of D'. 0: the greatest common divisor of 16 and D'.
      dtype: dtype of the pooler; the last layer is float32.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: if the heads do not divide D'.
    """

    sees: ClassVar[str] = "tokens"

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        blocks: int = 1,
        heads: int = 0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.pooler = attentive_pooler(in_features, blocks, heads, dtype=dtype, rngs=rngs)
        self.linear = nnx.Linear(in_features, num_classes, kernel_init=normal_002, rngs=rngs)
        self.out_features = num_classes

    def __call__(self, x: jax.Array, drop: Drop | None = None) -> jax.Array:
        """Map `(B, N, D')` to `(B, K)` float32."""
        x = self.pooler(x)
        return self.linear(x if drop is None else drop(x))


def attentive_pooler(features: int, blocks: int, heads: int, *, dtype: Any, rngs: nnx.Rngs) -> AttentivePooler:
    """Make the pooler of `Attentive` and of attentive probes; arguments are those of `Attentive`."""
    return AttentivePooler(features, heads or math.gcd(MOST_HEADS, features), blocks - 1, dtype=dtype, rngs=rngs)
