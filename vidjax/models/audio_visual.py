"""Networks that see and hear: their inputs, clips without sound, and the fusion of two networks.

`vidjax.models.families.audio_visual` builds such networks of named ones.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.errors import UserError
from vidjax.models.base import Features, VideoNetwork, named
from vidjax.nn.clips import ClipError, need_clips
from vidjax.nn.init import normal_001


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


@dataclass(frozen=True)
class SoundFusion:
    """Fusion of a network that sees and one that hears.

    Attributes:
      fusion: kind of fusion. "concat": the pooled features of both, side by side. "gated": the pooled features of each
        pass a layer and a tanh; a gate between them, the sigmoid of a layer of both, mixes them channel by channel
        (Arevalo et al., Gated Multimodal Units, 1702.01992).
      hidden: width of the fused features. "concat" has a layer and a ReLU before the classifier if it is not 0, and
        then can learn classes that no sum of what is seen and heard tells; for "gated" 0 means the width of the
        network that sees.
      drop_pathway: probability that a clip loses its sound, in training mode.

    Raises:
      UserError: for another kind, or a negative width.
    """

    fusion: str = "concat"
    hidden: int = 0
    drop_pathway: float = 0.0

    def __post_init__(self) -> None:
        if self.fusion not in ("concat", "gated"):
            raise UserError(f"fusion = {self.fusion!r}: must be concat or gated")
        if self.hidden < 0:
            raise UserError(f"hidden = {self.hidden}: must be 0 or more")


class AudioVisual(VideoNetwork):
    """Two networks, of pictures and of sound, and a classifier of what both find.

    It takes clips as "video", spectrograms as "audio", and "heard". A clip without sound is classified by what is seen:
    of "concat" the sound's part is a learned vector, the same for all such clips, and of "gated" the gate is closed.
    Tokens and maps are those of the network that sees.

    Args:
      pictures: network of clips; its classifier is removed.
      sound: network of spectrograms; its classifier is removed.
      num_classes: K, number of classes.
      options: kind of fusion.
      dropout: probability of dropping a feature before the classifier, in training mode.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        pictures: VideoNetwork,
        sound: VideoNetwork,
        num_classes: int,
        *,
        options: SoundFusion,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        pictures.head = sound.head = nnx.data(None)
        self.pictures, self.sound = pictures, sound
        self.channels = pictures.channels
        seen, heard, self.gated = pictures.widths.pooled, sound.widths.pooled, options.fusion == "gated"
        width = options.hidden or (seen if self.gated else seen + heard)
        self.unheard = nnx.data(None if self.gated else nnx.Param(jnp.zeros(heard)))
        self.gate = nnx.data(nnx.Linear(seen + heard, width, rngs=rngs) if self.gated else None)
        self.of_pictures = nnx.data(nnx.Linear(seen, width, rngs=rngs) if self.gated else None)
        self.of_sound = nnx.data(nnx.Linear(heard, width, rngs=rngs) if self.gated else None)
        joins = not self.gated and bool(options.hidden)
        self.join = nnx.data(nnx.Linear(seen + heard, width, rngs=rngs) if joins else None)
        self.drop_pathway = DropPathway(options.drop_pathway)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(width, num_classes, kernel_init=normal_001, rngs=rngs)
        self.widths = dataclasses.replace(pictures.widths, pooled=width, windows=False)

    def taken(self, inputs: Any) -> Mapping[str, jax.Array]:
        """Select clips and spectrograms, see `seen_and_heard`."""
        return seen_and_heard(inputs, self.channels, type(self).__name__)

    def encode(self, video: Mapping[str, jax.Array], rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised clips and spectrograms: the fused vector, and the rest of what is seen.

        Args:
          video: "video" (B, T, H, W, C), "audio" (B, N, M) and, unless all have sound, "heard", bool (B,).
          rngs: random streams; `dropout` is used in training mode.
        """
        heard = self.drop_pathway(video["heard"], rngs)
        seen = self.pictures.encode(video["video"], rngs=rngs)
        fused = self.fused(seen.pooled, self.sound.encode(video["audio"], rngs=rngs).pooled, heard)
        return dataclasses.replace(seen, pooled=fused, windows=None)

    def fused(self, seen: jax.Array, sound: jax.Array, heard: jax.Array) -> jax.Array:
        """Fuse the vectors of pictures (B, D) and sound (B, D'); heard is bool (B,)."""
        if self.gate is not None and self.of_pictures is not None and self.of_sound is not None:
            gate = where_heard(heard, nnx.sigmoid(self.gate(jnp.concatenate([sound, seen], axis=-1))))
            return (1 - gate) * jnp.tanh(self.of_pictures(seen)) + gate * jnp.tanh(self.of_sound(sound))
        assert self.unheard is not None, "only a gated network has no vector for clips without sound"
        both = jnp.concatenate([seen, where_heard(heard, sound, self.unheard[...])], axis=-1)
        return both if self.join is None else nnx.relu(self.join(both))
