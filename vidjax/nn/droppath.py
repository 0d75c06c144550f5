"""Stochastic depth: a residual branch is left out for some samples of the batch."""

import jax
import jax.numpy as jnp
from flax import nnx


class DropPath(nnx.Module):
    """Sets whole samples of a residual branch to 0 with probability `rate`, and divides the others by `1 - rate`.

    So the expectation is the input's. Nothing happens at rate 0 or in evaluation mode (`model.eval()`, or
    `deterministic=True`). Source: "Deep networks with stochastic depth" (arXiv 1603.09382), in the per-sample form of
    timm.

    Raises:
      ValueError: for a rate outside 0 ≤ rate < 1.

    `rate` may be set to a traced scalar, while `nn/blocks.py` loops over blocks of different rates.
    """

    def __init__(self, rate: float, *, deterministic: bool = False):
        if not 0 <= rate < 1:
            raise ValueError(f"drop path rate = {rate}: must lie in 0 ≤ rate < 1")
        self.rate = float(rate)
        self.deterministic = deterministic

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`(B, …)` → `(B, …)`, one draw per sample from the stream `dropout` of `rngs`.

        Raises:
          ValueError: if there is something to draw and no `rngs`.
        """
        if self.deterministic or (isinstance(self.rate, float) and self.rate == 0):
            return x
        if rngs is None:
            raise ValueError(
                f"drop path of rate {self.rate} is on and has no random stream: call the model with "
                "rngs=nnx.Rngs(dropout=…), or switch to evaluation by model.eval()"
            )
        keep = jax.random.bernoulli(rngs.dropout(), 1 - self.rate, (x.shape[0],) + (1,) * (x.ndim - 1))
        return jnp.where(keep, (x / (1 - self.rate)).astype(x.dtype), jnp.zeros_like(x))
