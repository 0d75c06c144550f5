"""Two dense layers between attention layers, shared by all Transformers here."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from vidjax.nn.remat import layer_result

LECUN_NORMAL = nnx.initializers.lecun_normal()


def gelu(x: jax.Array) -> jax.Array:
    """Exact (erf) GELU, PyTorch's default; Flax's own default is the tanh approximation."""
    return jax.nn.gelu(x, approximate=False)


def quick_gelu(x: jax.Array) -> jax.Array:
    """CLIP's approximation of GELU, `x · sigmoid(1.702 · x)`."""
    return x * jax.nn.sigmoid(1.702 * x)


class Mlp(nnx.Module):
    """Two dense layers with an activation between, `(…, D)` to `(…, out)`.

    Args:
      dim: D, input features.
      hidden: features between the layers.
      out: output features; None: `dim`.
      activation: function between the layers.
      dropout: dropout probability after the activation and the second layer, in training.
      kernel_init: initialiser of both kernels; biases start at 0.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        out: int | None = None,
        *,
        activation: Callable[[jax.Array], jax.Array] = gelu,
        dropout: float = 0.0,
        kernel_init: nnx.Initializer = LECUN_NORMAL,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.fc1 = nnx.Linear(dim, hidden, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, out or dim, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.activation = activation
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map `(…, D)` to `(…, out)`; `rngs` (stream `dropout`) is needed in training mode with dropout."""
        x = self.dropout(self.activation(layer_result(self.fc1(x))), rngs=rngs)
        return self.dropout(layer_result(self.fc2(x)), rngs=rngs)
