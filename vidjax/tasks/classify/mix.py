"""Mixup and CutMix of a batch, on the device: clips and their targets are mixed in pairs.

Mixup (Zhang et al. 2017, arXiv 1710.09412) blends two clips; CutMix (Yun et al. 2019, arXiv 1905.04899) puts a box of
one, the same in all its frames, into the other. As in timm, the partner of a batch's i-th clip is the i-th from its
end, and a batch gets either Mixup or CutMix. The sound of a clip is blended with the share of its target, as
normalised spectrograms, as in PANNs and MBT.
"""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import betaincinv

from vidjax.config import ClassifyConfig

# Points between which the quantiles of a Beta distribution are interpolated.
_QUANTILES = 4097


@dataclass(frozen=True)
class MixRule:
    """Settings of mixing a batch, as in `ClassifyConfig`.

    Attributes:
      mixup: α of mixup's Beta(α, α); 0: no mixup.
      cutmix: α of CutMix's Beta(α, α); 0: no CutMix.
      probability: probability that a batch, or with `per_clip` a clip, is mixed.
      cutmix_share: share of mixed batches (with `per_clip`, clips) that get CutMix, if both are on.
      per_clip: whether each clip has draws of its own; otherwise the whole batch shares one.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0
    cutmix_share: float = 0.5
    per_clip: bool = False

    @classmethod
    def of(cls, config: ClassifyConfig) -> "MixRule | None":
        """Read the rule from `config`; None: nothing is mixed."""
        if not (config.mixup or config.cutmix) or not config.mix_probability:
            return None
        return cls(config.mixup, config.cutmix, config.mix_probability, config.cutmix_share, config.mix_per_clip)


@chex.dataclass(frozen=True)
class Mix:
    """Random draws for B clips. A clip's target keeps the share `weight`; its partner's target gets the rest."""

    weight: jax.Array  # float32 (B,), in 0…1
    blend: jax.Array  # float32 (B,), the share of the clip's own pixels outside the box
    box: jax.Array  # int32 (B, 4): top, bottom, left, right of the partner's box, pixels; all 0: no box


def draw_mix(rule: MixRule, key: jax.Array, batch: int, height: int, width: int) -> Mix:
    """Draw how a batch of clips is mixed.

    Args:
      rule: settings of mixing.
      key: random key; equal keys give equal draws.
      batch: B, number of clips.
      height, width: size of the frames, pixels.
    """
    count = batch if rule.per_clip else 1
    whether, which, share, y, x = jax.random.uniform(key, (5, count))  # in one call: each one takes time to compile
    mixed = whether < rule.probability
    cut = which < rule.cutmix_share if rule.mixup and rule.cutmix else jnp.full((count,), bool(rule.cutmix))
    blend = _beta(share, rule.mixup) if rule.mixup else jnp.ones((count,))
    kept = _beta(share, rule.cutmix) if rule.cutmix else jnp.ones((count,))
    box = _boxes(jnp.sqrt(1 - kept), y, x, height, width)
    area = (box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2]) / (height * width)
    blend = jnp.where(mixed & ~cut, blend, 1.0)
    box = jnp.where((mixed & cut)[:, None], box, 0)
    weight = jnp.where(mixed & cut, 1 - area, blend)
    # One draw for the batch becomes one per clip, so that parts of the batch keep their own.
    draws = {"weight": weight, "blend": blend, "box": box}
    return Mix(**{name: jnp.broadcast_to(x, (batch, *x.shape[1:])) for name, x in draws.items()})


def _beta(uniform: jax.Array, alpha: float) -> jax.Array:
    """Draws from a uniform distribution → from Beta(α, α): its quantiles, as `jax.random.beta` takes long to
    compile."""
    levels = np.linspace(0, 1, _QUANTILES)
    quantiles = betaincinv(alpha, alpha, levels).astype(np.float32)
    return jnp.interp(uniform, jnp.asarray(levels, jnp.float32), jnp.asarray(quantiles))


def _boxes(side: jax.Array, y: jax.Array, x: jax.Array, height: int, width: int) -> jax.Array:
    """Boxes of `side`, a share of height and width, about the centres (y, x), all `(N,)` in 0…1; cut off at the edges.
    int32 `(N, 4)`."""
    edges = []
    for size, place in ((height, y), (width, x)):
        centre = (place * size).astype(jnp.int32)
        half = (side * size).astype(jnp.int32) // 2
        edges += [jnp.clip(centre - half, 0, size), jnp.clip(centre + half, 0, size)]
    return jnp.stack(edges, axis=-1)


def mix_clips(video: jax.Array, partner: jax.Array, mix: Mix) -> jax.Array:
    """Mix clips with their partners.

    Args:
      video, partner: normalised clips, float `(B, T, H, W, C)`.
      mix: draws for the B clips.

    Returns:
      Mixed clips, float32 `(B, T, H, W, C)`.
    """
    chex.assert_equal_shape([video, partner])
    chex.assert_rank(video, 5)

    def per_clip(x: jax.Array) -> jax.Array:
        return x.reshape(-1, 1, 1, 1, 1)

    rows = jnp.arange(video.shape[2]).reshape(1, 1, -1, 1, 1)
    columns = jnp.arange(video.shape[3]).reshape(1, 1, 1, -1, 1)
    top, bottom, left, right = (per_clip(mix.box[:, i]) for i in range(4))
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    blend = per_clip(mix.blend)
    return jnp.where(inside, partner, blend * video + (1 - blend) * partner)


def mix_sounds(sound: jax.Array, partner: jax.Array, mix: Mix, heard: jax.Array, partner_heard: jax.Array) -> jax.Array:
    """Blend spectrograms with those of their partners; where only one of the two is heard, it stands alone.

    Args:
      sound, partner: normalised spectrograms, float `(B, frames, values)`.
      mix: draws for the B clips; the share of a clip's target is that of its sound.
      heard, partner_heard: whether there is any sound, bool `(B,)`.

    Returns:
      Spectrograms, float32 `(B, frames, values)`.
    """
    chex.assert_equal_shape([sound, partner])
    chex.assert_rank(sound, 3)
    share = jnp.where(heard == partner_heard, mix.weight, heard.astype(jnp.float32))[:, None, None]
    return share * sound + (1 - share) * partner
