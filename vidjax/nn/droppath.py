"""Stochastic depth: residual branches dropped for random samples of a batch."""

import jax
import jax.numpy as jnp
from flax import nnx


class DropPath(nnx.Module):
    """Set whole samples of a residual branch to 0 with probability `rate`, and divide the others by `1 - rate`.

    This keeps the expectation. Nothing happens at rate 0 or in evaluation mode (`model.eval()`, or
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
        """Map `(B, …)` to `(B, …)`, one draw per sample from the stream `dropout` of `rngs`.

        Raises:
          ValueError: if a draw is needed without `rngs`.
        """
        if self.deterministic or (isinstance(self.rate, float) and self.rate == 0):
            return x
        if rngs is None:
            raise ValueError(
                f"drop path of rate {self.rate} needs a random stream: call the model with "
                "rngs=nnx.Rngs(dropout=…), or switch to evaluation with model.eval()"
            )
        keep = jax.random.bernoulli(rngs.dropout(), 1 - self.rate, (x.shape[0],) + (1,) * (x.ndim - 1))
        return jnp.where(keep, (x / (1 - self.rate)).astype(x.dtype), jnp.zeros_like(x))
