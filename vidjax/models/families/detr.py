"""DETR: objects of single pictures as a set of boxes, from a ResNet and a Transformer with learned queries.

Paper: Carion et al., End-to-End Object Detection with Transformers (2005.12872). Reference code:
facebookresearch/detr `models/detr.py`, `models/transformer.py`; transformers `models/detr/modeling_detr.py`.

It sees pictures, not clips, and so is no `VideoNetwork`: `vidjax/models/detectors.py` lists its sizes. It is here to
find people before their actions are recognised; its norms use their running statistics always, as the reference's do.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.models.families.resnet import DEPTHS, Bottleneck, ResNet, Stage, Stem, frame_conv
from vidjax.nn.attention import attention
from vidjax.nn.init import scaled_normal
from vidjax.nn.mlp import Mlp

_layer_norm = partial(nnx.LayerNorm, epsilon=1e-5)
STRIDE = 32  # of the last map, in pixels


class Detr(nnx.Module):
    """DETR with a ResNet of bottlenecks.

    Args:
      num_classes: K, number of classes, without the one for no object.
      layers: layers of the ResNet, 50, 101 or 152.
      depths: blocks of its four stages; None: those of `layers`.
      width: channels of its stem and of its first stage's bottlenecks.
      dim: D, width of the Transformer; a multiple of 4 and of `heads`.
      depth: layers of the encoder, and of the decoder.
      heads: attention heads.
      hidden: width between the two dense layers of an MLP.
      queries: Q, most objects in a picture.
      dtype: dtype of the computation; None: float32. Parameters are float32.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: if `dim` is not a multiple of 4 and of `heads`.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        layers: int = 50,
        depths: Sequence[int] | None = None,
        width: int = 64,
        dim: int = 256,
        depth: int = 6,
        heads: int = 8,
        hidden: int = 2048,
        queries: int = 100,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if dim % 4 or dim % heads:
            raise ValueError(f"dim = {dim}: must be a multiple of 4 and of heads = {heads}")
        self.dim, self.dtype = dim, dtype
        self.backbone = ResNet(
            1,
            stem=Stem(width, (1, 7, 7), max_pool=True, dtype=dtype, rngs=rngs),
            stem_features=width,
            stages=[
                Stage(count, width * 2**i, (1, 2, 2) if i else (1, 1, 1), frame_conv)
                for i, count in enumerate(depths or DEPTHS[layers])
            ],
            block=Bottleneck,
            dtype=dtype,
            rngs=rngs,
        )
        self.backbone.head = nnx.data(None)
        features = width * 2**3 * Bottleneck.expansion
        self.input_proj = nnx.Linear(features, dim, dtype=dtype, rngs=rngs)
        options: dict[str, Any] = {"heads": heads, "hidden": hidden, "dtype": dtype, "rngs": rngs}
        self.encoder = nnx.List([EncoderLayer(dim, **options) for _ in range(depth)])
        self.decoder = nnx.List([DecoderLayer(dim, **options) for _ in range(depth)])
        self.norm = _layer_norm(dim, dtype=dtype, rngs=rngs)
        self.queries = nnx.Param(scaled_normal(1.0)(rngs.params(), (queries, dim)))
        self.head = nnx.Linear(dim, num_classes + 1, rngs=rngs)
        self.boxes = nnx.List([nnx.Linear(dim, out, rngs=rngs) for out in (dim, dim, 4)])

    def __call__(self, pictures: jax.Array, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Detect objects.

        Args:
          pictures: normalised RGB pictures, float `(B, H, W, 3)`, padded at the right and bottom with 0 to one size.
          mask: which pixels belong to the pictures, bool `(B, H, W)`; None: all.

        Returns:
          Logits, float32 `(B, Q, K + 1)`, the last of no object; and boxes as centre x, centre y, width, height,
          float32 `(B, Q, 4)`, in shares 0…1 of each picture without its padding.
        """
        feature_map = self.backbone.maps(pictures[:, None])[-1][:, 0]
        count, height, width, _ = feature_map.shape
        if mask is None:
            mask = jnp.ones(pictures.shape[:3], bool)
        rows = jnp.arange(height) * mask.shape[1] // height
        columns = jnp.arange(width) * mask.shape[2] // width
        mask = mask[:, rows][:, :, columns]
        places = sine_positions(mask, self.dim).reshape(count, -1, self.dim)
        seen = mask.reshape(count, 1, 1, -1)
        memory = self.input_proj(feature_map).reshape(count, -1, self.dim)
        places = places.astype(memory.dtype)
        for layer in self.encoder:
            memory = layer(memory, places, seen)
        queries = jnp.broadcast_to(self.queries[...].astype(memory.dtype)[None], (count, *self.queries.shape))
        found = jnp.zeros_like(queries)
        for layer in self.decoder:
            found = layer(found, queries, memory, places, seen)
        found = self.norm(found).astype(jnp.float32)
        box = found
        for layer in self.boxes[:-1]:
            box = nnx.relu(layer(box))
        return self.head(found), nnx.sigmoid(self.boxes[-1](box))


class PlacedAttention(nnx.Module):
    """Attention whose queries and keys, but not values, have positions added.

    Args:
      dim: D, width of inputs and output.
      heads: attention heads.
      dtype: dtype of the computation; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(self, dim: int, *, heads: int, dtype: Any = None, rngs: nnx.Rngs):
        self.heads = heads
        self.q, self.k, self.v, self.proj = (nnx.Linear(dim, dim, dtype=dtype, rngs=rngs) for _ in range(4))

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Attend from `(B, N, D)` to `(B, M, D)`; `mask` bool `(B, 1, 1, M)`: which keys count."""
        q, k, v = (
            layer(x).reshape(*x.shape[:2], self.heads, -1)
            for layer, x in ((self.q, q), (self.k, k), (self.v, v))
        )  # fmt: skip
        return self.proj(attention(q, k, v, mask=mask).reshape(*q.shape[:2], -1))


class EncoderLayer(nnx.Module):
    """Self-attention with positions and an MLP, each followed by its norm.

    Args:
      dim: D, width.
      heads: attention heads.
      hidden: width between the two dense layers of the MLP.
      dtype: dtype of the computation; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(self, dim: int, *, heads: int, hidden: int, dtype: Any = None, rngs: nnx.Rngs):
        self.attn = PlacedAttention(dim, heads=heads, dtype=dtype, rngs=rngs)
        self.norm1 = _layer_norm(dim, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, hidden, activation=nnx.relu, dtype=dtype, rngs=rngs)
        self.norm2 = _layer_norm(dim, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, places: jax.Array, mask: jax.Array) -> jax.Array:
        """Map tokens `(B, N, D)` with positions `(B, N, D)`; `mask` bool `(B, 1, 1, N)`: which tokens count."""
        placed = x + places
        x = self.norm1(x + self.attn(placed, placed, x, mask))
        return self.norm2(x + self.mlp(x))


class DecoderLayer(nnx.Module):
    """Attention among the objects, attention to the picture, and an MLP, each followed by its norm.

    Args:
      dim: D, width.
      heads: attention heads.
      hidden: width between the two dense layers of the MLP.
      dtype: dtype of the computation; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(self, dim: int, *, heads: int, hidden: int, dtype: Any = None, rngs: nnx.Rngs):
        self.attn = PlacedAttention(dim, heads=heads, dtype=dtype, rngs=rngs)
        self.norm1 = _layer_norm(dim, dtype=dtype, rngs=rngs)
        self.cross = PlacedAttention(dim, heads=heads, dtype=dtype, rngs=rngs)
        self.norm2 = _layer_norm(dim, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, hidden, activation=nnx.relu, dtype=dtype, rngs=rngs)
        self.norm3 = _layer_norm(dim, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: jax.Array, queries: jax.Array, memory: jax.Array, places: jax.Array, mask: jax.Array
    ) -> jax.Array:
        """Map objects `(B, Q, D)`.

        Args:
          x: objects so far.
          queries: positions of the objects, `(B, Q, D)`.
          memory: tokens of the picture, `(B, N, D)`.
          places: their positions, `(B, N, D)`.
          mask: which of them count, bool `(B, 1, 1, N)`.
        """
        placed = x + queries
        x = self.norm1(x + self.attn(placed, placed, x))
        x = self.norm2(x + self.cross(x + queries, memory + places, memory, mask))
        return self.norm3(x + self.mlp(x))


def sine_positions(mask: jax.Array, dim: int) -> jax.Array:
    """Positions in the part of a map that the mask shows, as sines and cosines: rows, then columns.

    Args:
      mask: which places belong to the picture, bool `(B, H, W)`.
      dim: D, a multiple of 4.

    Returns:
      float32 `(B, H, W, D)`: along each axis an angle from 0 to 2π at wavelengths up to 10,000 times as long.
    """
    half = dim // 2
    wavelengths = 10_000 ** (2 * (jnp.arange(half) // 2) / half)
    parts = []
    for axis in (1, 2):
        steps = jnp.cumsum(mask, axis=axis, dtype=jnp.float32)
        last = jax.lax.slice_in_dim(steps, steps.shape[axis] - 1, None, axis=axis)
        angles = (steps / (last + 1e-6) * (2 * math.pi))[..., None] / wavelengths[None, None, None]
        pairs = jnp.stack([jnp.sin(angles[..., 0::2]), jnp.cos(angles[..., 1::2])], axis=-1)
        parts.append(pairs.reshape(*mask.shape, half))
    return jnp.concatenate(parts, axis=-1)
