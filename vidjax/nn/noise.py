"""Gaussian noise on inputs, in training."""

import jax
from flax import nnx


class Noise(nnx.Module):
    """Add normal deviates to an array in training mode; nothing happens in evaluation mode or at deviation 0.

    Args:
      deviation: standard deviation of the noise.

    Raises:
      ValueError: for a negative deviation.
    """

    def __init__(self, deviation: float):
        if deviation < 0:
            raise ValueError(f"deviation = {deviation}: must not be negative")
        self.deviation = deviation
        self.deterministic = False

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map an array to the same shape and type, with draws from the stream `dropout` of `rngs`.

        Raises:
          ValueError: if draws are needed without `rngs`.
        """
        if self.deterministic or not self.deviation:
            return x
        if rngs is None:
            raise ValueError(
                f"noise of deviation {self.deviation} needs a random stream: call the model with "
                "rngs=nnx.Rngs(dropout=…), or switch to evaluation with model.eval()"
            )
        return x + self.deviation * jax.random.normal(rngs.dropout(), x.shape, x.dtype)
