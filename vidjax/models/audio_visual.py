"""Inputs of networks that see and hear: a clip, a spectrogram, and whether there is anything to hear."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.models.base import named
from vidjax.nn.clips import ClipError, need_clips


def seen_and_heard(inputs: Any, channels: int, network: str) -> Mapping[str, jax.Array]:
    """Select the clip and the sound from the argument of a call, and check them.

    Args:
      inputs: mapping with clips `(B, T, H, W, C)` as "video" and spectrograms `(B, N, M)` as "audio", N frames of M
        bands. "heard", bool `(B,)`, is false for a clip without a track of sound; without it, all have one.
      channels: C, channels of the clips.
      network: name of the network, for messages.

    Returns:
      "video", "audio" and "heard".

    Raises:
      ClipError: for anything but a mapping, for other shapes, and for integers.
      UserError: if an input is missing.
    """
    if not isinstance(inputs, Mapping):
        raise ClipError(f"{network} takes a mapping of clips as 'video' and spectrograms as 'audio', not one array")
    video, audio = named(inputs, "video", network), named(inputs, "audio", network)
    need_clips(video, channels)
    need_spectrograms(audio)
    batch = jnp.shape(video)[:1]
    heard = inputs.get("heard")
    heard = jnp.ones(batch, bool) if heard is None else heard
    if not jnp.shape(audio)[:1] == jnp.shape(heard) == batch:
        shapes = ", ".join(f"{name} {jnp.shape(x)}" for name, x in (("audio", audio), ("heard", heard)))
        raise ClipError(f"{shapes}: expected as many as clips, {batch[0]}")
    return {"video": video, "audio": audio, "heard": heard.astype(bool)}


def need_spectrograms(audio: Any) -> None:
    """Refuse anything but floating-point spectrograms `(B, N, M)`.

    Raises:
      ClipError: for any other type or shape, which it names.
    """
    if len(jnp.shape(audio)) != 3 or not jnp.issubdtype(audio.dtype, jnp.floating):
        raise ClipError(f"audio {audio.dtype} {jnp.shape(audio)}: expected floating-point spectrograms (B, N, M)")


def where_heard(heard: jax.Array, x: jax.Array, otherwise: jax.Array | float = 0.0) -> jax.Array:
    """Keep the rows of `x`, `(B, …)`, that were heard, bool `(B,)`, and put others in place of the rest."""
    return jnp.where(heard.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.asarray(otherwise, x.dtype))


class DropPathway(nnx.Module):
    """Sound taken away from random clips in training, so that a network does not rely on what it learns first.

    Args:
      rate: probability that a clip loses its sound; 0 ≤ rate < 1.

    Raises:
      ValueError: for another rate.

    Source: AVSlowFast (arXiv 2001.08740, section 3.3), where the sound of a whole batch is dropped at once.
    """

    def __init__(self, rate: float):
        if not 0 <= rate < 1:
            raise ValueError(f"drop_pathway = {rate}: must lie in 0 ≤ rate < 1")
        self.rate = float(rate)
        self.deterministic = False

    def __call__(self, heard: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map bool `(B,)` to bool `(B,)`, drawing from the stream `dropout` of `rngs` in training mode.

        Raises:
          ValueError: if a draw is needed without `rngs`.
        """
        if self.deterministic or not self.rate:
            return heard
        if rngs is None:
            raise ValueError("sound is dropped in training: call the model with rngs=nnx.Rngs(dropout=…)")
        return heard & jax.random.bernoulli(rngs.dropout(), 1 - self.rate, heard.shape)
