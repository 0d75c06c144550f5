"""SpecAugment (Park et al. 2019, arXiv 1904.08779): masked stretches of time and ranges of bands of a spectrogram."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vidjax.config import SoundConfig


@dataclass(frozen=True)
class SpecAugment:
    """Numbers and sizes of masks, as in `SoundConfig`.

    Attributes:
      time_masks: stretches of each spectrogram that are masked.
      time_mask: longest stretch, spectra.
      frequency_masks: ranges of bands that are masked.
      frequency_mask: widest range, bands.
    """

    time_masks: int = 0
    time_mask: int = 0
    frequency_masks: int = 0
    frequency_mask: int = 0

    @classmethod
    def of(cls, config: SoundConfig) -> "SpecAugment | None":
        """Read the rule from `config`; None: nothing is masked."""
        if not (config.time_masks or config.frequency_masks):
            return None
        return cls(config.time_masks, config.time_mask, config.frequency_masks, config.frequency_mask)

    def draw(self, key: jax.Array, batch: int, frames: int, bands: int) -> dict[str, jax.Array]:
        """Draw masks for a batch of spectrograms: first and last masked row, int32 `(B, number, 2)`.

        Args:
          key: random key; equal keys give equal draws.
          batch: B, number of spectrograms.
          frames, bands: size of a spectrogram.

        Returns:
          "time" and "frequency", each with the first row and the one after the last; sizes are drawn evenly from 0 to
          the largest, places evenly from those where a mask fits.
        """
        axes = {"time": (self.time_masks, self.time_mask, frames)}
        axes |= {"frequency": (self.frequency_masks, self.frequency_mask, bands)}
        drawn = {}
        for number, (name, (count, most, room)) in enumerate(axes.items()):
            size, place = jax.random.uniform(jax.random.fold_in(key, number), (2, batch, count))
            length = jnp.minimum((size * (most + 1)).astype(jnp.int32), room)
            first = (place * (room - length + 1)).astype(jnp.int32)
            drawn[name] = jnp.stack([first, first + length], axis=-1)
        return drawn


def masked(values: jax.Array, masks: dict[str, jax.Array]) -> jax.Array:
    """Set the masked parts of normalised spectrograms `(B, frames, bands)` to 0.

    Args:
      values: spectrograms.
      masks: masks from `SpecAugment.draw`.
    """
    time = _covered(masks["time"], values.shape[1])
    frequency = _covered(masks["frequency"], values.shape[2])
    return jnp.where(time[:, :, None] | frequency[:, None, :], 0, values)


def _covered(bounds: jax.Array, count: int) -> jax.Array:
    """Whether a mask covers each of `count` rows, bool `(B, count)`."""
    rows = jnp.arange(count).reshape(1, 1, -1)
    return ((rows >= bounds[..., :1]) & (rows < bounds[..., 1:])).any(axis=1)
