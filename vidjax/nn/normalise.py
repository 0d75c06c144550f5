"""uint8 pixels → the numbers a model expects, and which of them enter it, on the device."""

from typing import Any

import jax
import jax.numpy as jnp

from vidjax.config import Spec
from vidjax.config.choices import INPUTS


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


def network_input(video: jax.Array, spec: Spec, dtype: Any = None) -> jax.Array:
    """Normalised clips → what enters the network, by `spec.input`.

    Args:
      video: float `(B, T, H, W, C)`, from `normalise`.
      spec: "rgb": the frames as they are. "diff": each frame less the one before; the first has none and is 0.
        "rgb+diff": both, channels side by side.
      dtype: of the result; None: float32. Differences are taken before rounding to it.

    Returns:
      `(B, T, H, W, C)`, or `(B, T, H, W, 2·C)` for "rgb+diff".

    Raises:
      ValueError: for another `spec.input`.
    """
    if spec.input not in INPUTS:
        raise ValueError(f"spec.input = {spec.input!r}: must be one of {', '.join(INPUTS)}")
    if spec.input != "rgb":
        differences = jnp.concatenate([jnp.zeros_like(video[:, :1]), video[:, 1:] - video[:, :-1]], axis=1)
        video = differences if spec.input == "diff" else jnp.concatenate([video, differences], axis=-1)
    return video.astype(dtype or jnp.float32)
