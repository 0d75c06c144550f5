"""Base class of the networks for sound alone, whose input is a spectrogram."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vidjax.models.base import Features, VideoNetwork, named
from vidjax.nn.clips import ClipError


class SoundNetwork(VideoNetwork):
    """Base class of networks that take spectrograms `(B, frames, mels)`, alone or as "audio" of a mapping.

    A family sets `mels` beside the attributes of `VideoNetwork`. It computes on `as_picture` and makes its features
    with `features_of`: time is then the first axis of their grid and maps, mel bands are the last, and the middle one
    has length 1. The stride of a map is its number of bands, as the stride of a picture's map is of pixels.

    Attributes:
      mels: number of mel bands.
    """

    mels: int
    channels = 1

    def taken(self, inputs: Any) -> jax.Array:
        """Select the spectrograms from the argument of a call, and check them.

        Args:
          inputs: spectrograms `(B, frames, mels)`, or a mapping that holds them as "audio".

        Raises:
          ClipError: for other shapes, and for integers such as samples.
          UserError: for a mapping that has no such input.
        """
        audio = named(inputs, "audio", type(self).__name__)
        shape = jnp.shape(audio)
        if len(shape) != 3 or shape[-1] != self.mels or not jnp.issubdtype(audio.dtype, jnp.floating):
            raise ClipError(
                f"audio {audio.dtype} {shape}: {type(self).__name__} takes a floating-point spectrogram (B, frames, "
                f"{self.mels}), which vidjax.nn.enter makes of samples"
            )
        return audio


def as_picture(audio: jax.Array) -> jax.Array:
    """Spectrograms `(B, frames, mels)` as pictures of one channel, `(B, 1, frames, mels, 1)`."""
    return audio[:, None, :, :, None]


def features_of(maps: Mapping[int, jax.Array], pooled: jax.Array, windows: jax.Array | None = None) -> Features:
    """Features of a spectrogram from the maps of its picture.

    Args:
      maps: maps `(B, 1, t, m, C)` by their strides along the bands.
      pooled: `(B, D)` float32.
      windows: vectors that are classified one by one, or None.
    """
    return Features.of_maps({stride: jnp.swapaxes(x, 1, 2) for stride, x in maps.items()}, pooled, windows)
