"""Network input from decoded pixels, on the device: normalisation and frame differences."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vidjax.inputs import FeatureInput, Input, VideoInput

# Changes an input between its two halves: by name, the normalised input → the same shape.
Between = Callable[[str, jax.Array], jax.Array]


def normalise(video: jax.Array, input: VideoInput, dtype: Any = None) -> jax.Array:
    """Normalise uint8 `(…, C)`: scaled to 0…1, minus the mean, divided by the deviation, per channel.

    Args:
      video: pixels, channels last.
      input: description of the input, with `mean` and `std`.
      dtype: dtype of the result; None: float32. The arithmetic is float32 in any case.
    """
    shape = (1,) * (video.ndim - 1) + (-1,)
    std = jnp.asarray(input.std, jnp.float32).reshape(shape)
    mean = jnp.asarray(input.mean, jnp.float32).reshape(shape)
    return ((video.astype(jnp.float32) / 255 - mean) / std).astype(dtype or jnp.float32)


def network_input(video: jax.Array, input: VideoInput, dtype: Any = None) -> jax.Array:
    """Make the network's input from normalised clips.

    Args:
      video: normalised float clips, `(B, T, H, W, C)`, from `normalise`.
      input: description of the input; its `enters` selects the frames as they are; each frame less the one before, the
        first being 0; or both, channels side by side.
      dtype: dtype of the result; None: float32. Differences are taken before rounding to it.

    Returns:
      `(B, T, H, W, C)`, or `(B, T, H, W, 2·C)` for both.

    Raises:
      ValueError: for another value of `enters`.
    """
    if input.enters not in ("frames", "differences", "both"):
        raise ValueError(f"enters = {input.enters!r}: must be one of frames, differences, both")
    if input.enters != "frames":
        differences = jnp.concatenate([jnp.zeros_like(video[:, :1]), video[:, 1:] - video[:, :-1]], axis=1)
        video = differences if input.enters == "differences" else jnp.concatenate([video, differences], axis=-1)
    return video.astype(dtype or jnp.float32)


def _enter_video(video: jax.Array, input: VideoInput, dtype: Any, between: Callable) -> jax.Array:
    return network_input(between(normalise(video, input)), input, dtype)


def _enter_features(vectors: jax.Array, input: FeatureInput, dtype: Any, between: Callable) -> jax.Array:
    del input
    return between(vectors.astype(jnp.float32)).astype(dtype or jnp.float32)


# (what is read (B, …), its input, dtype, a change of the normalised input) → what enters the network
ENTER: dict[type[Input], Callable[..., jax.Array]] = {VideoInput: _enter_video, FeatureInput: _enter_features}


def enter(
    arrays: Mapping[str, jax.Array], inputs: Mapping[str, Input], dtype: Any = None, between: Between | None = None
) -> dict[str, jax.Array]:
    """What enters a network, by the names of its inputs.

    Args:
      arrays: what is read, `(B, …)` each.
      inputs: of the network.
      dtype: dtype of the results; None: float32.
      between: changes each normalised input, before differences are taken.
    """

    def change(name: str) -> Callable[[jax.Array], jax.Array]:
        return lambda array: between(name, array) if between else array

    return {name: ENTER[type(inputs[name])](array, inputs[name], dtype, change(name)) for name, array in arrays.items()}
