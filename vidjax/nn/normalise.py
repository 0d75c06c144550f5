"""uint8 pixels → the numbers a model expects, on the device."""

from typing import Any

import jax
import jax.numpy as jnp

from vidjax.config import Spec


def normalise(video: jax.Array, spec: Spec, dtype: Any = None) -> jax.Array:
    """uint8 `(…, C)` scaled to 0…1, minus the spec's mean, divided by its std, per channel.

    Args:
      video: pixels, channels last.
      spec: gives `mean` and `std`.
      dtype: of the result; None: float32. The arithmetic is float32 in any case.
    """
    shape = (1,) * (video.ndim - 1) + (-1,)
    std = jnp.asarray(spec.std, jnp.float32).reshape(shape)
    mean = jnp.asarray(spec.mean, jnp.float32).reshape(shape)
    return ((video.astype(jnp.float32) / 255 - mean) / std).astype(dtype or jnp.float32)
