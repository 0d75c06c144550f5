"""InternVideo2: a Vision Transformer over single frames' patches, pooled by attention of their mean; and its CLIP form.

- internvideo2_*: classifier.
- internvideo2_clip_*: the same network beside the text Transformer of MobileCLIP-B, with vectors in one space.

Paper: Wang et al., "InternVideo2: scaling foundation models for multimodal video understanding" (2403.15377). Reference
code: OpenGVLab/InternVideo `InternVideo2/single_modality/models/internvideo2.py`,
`InternVideo2/multi_modality/models/internvideo2_clip_small.py`.
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import VideoInput
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.families.clip import clip_variant
from vidjax.models.registry import Variant, tiny_spec
from vidjax.models.text_transformer import TextSize, TextTransformer
from vidjax.models.text_video import TextVideoNetwork, unit
from vidjax.nn.attention import SelfAttention, attention
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.droppath import DropPath
from vidjax.nn.grids import Grid
from vidjax.nn.init import normal_001, normal_002
from vidjax.nn.mlp import Mlp
from vidjax.nn.norm import LAYER_NORM_EPSILON
from vidjax.nn.positions import Table
from vidjax.nn.vision_transformer import BASE, LARGE, SMALL, ClipSize, TransformerSize, VisionTransformer

BILLION = TransformerSize(1408, 40, 16)
_LAYER_SCALE = 1e-5  # first factor of residual branches
_POOL_EPSILON = 1e-5
_CLIP = ClipSize(8)
_TEMPERATURE = 0.01


class Block(nnx.Module):
    """Pre-norm Transformer block with RMS norms, of queries and keys too, and learned factors of its branches.

    Args:
      dim: D, features of a token.
      heads: attention heads; divides `dim`.
      mlp_features: features inside the MLP.
      drop_path: probability of dropping a residual branch in training.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self, dim: int, heads: int, mlp_features: int, *, drop_path: float = 0.0, dtype: Any = None, rngs: nnx.Rngs
    ):
        norm = partial(nnx.RMSNorm, dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.norm1 = norm()
        self.attn = SelfAttention(dim, heads, qkv_bias="none", kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.q_norm, self.k_norm = norm(), norm()
        self.scale1 = nnx.Param(jnp.full(dim, _LAYER_SCALE))
        self.norm2 = norm()
        self.mlp = Mlp(dim, mlp_features, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.scale2 = nnx.Param(jnp.full(dim, _LAYER_SCALE))
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: jax.Array, grid: Grid, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map `(B, N, D)` to `(B, N, D)`."""
        del grid

        def normed(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            # All heads together, unlike the norms of most others.
            flat = (*q.shape[:2], -1)
            q, k = (norm(y.reshape(flat)).reshape(y.shape) for norm, y in ((self.q_norm, q), (self.k_norm, k)))
            return attention(q, k, v)

        y = self.attn(self.norm1(x), attend=normed)
        x = x + self.drop_path(y * self.scale1[...].astype(y.dtype)[None, None], rngs)
        y = self.mlp(self.norm2(x))
        return x + self.drop_path(y * self.scale2[...].astype(y.dtype)[None, None], rngs)


class MeanQueryPooling(nnx.Module):
    """Pooling of tokens `(B, N, D)` to `(B, E)`: attention of their mean, with a norm each for query, keys and values.

    Args:
      dim: D, features of a token.
      heads: attention heads; divides `dim`.
      out: E, features of the result.
      dtype: dtype of the computation; None: float32.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, out: int, *, dtype: Any = None, rngs: nnx.Rngs):
        if dim % heads:
            raise ValueError(f"pool_heads = {heads} does not divide dim = {dim}")
        self.heads = heads
        norm = partial(nnx.LayerNorm, dim, epsilon=_POOL_EPSILON, dtype=dtype, rngs=rngs)
        linear = partial(nnx.Linear, dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.q_norm, self.k_norm, self.v_norm = norm(), norm(), norm()
        self.q, self.k, self.v = (linear(dim) for _ in range(3))
        self.proj = linear(out)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `(B, N, D)` to `(B, E)`."""
        mean = x.mean(axis=1, keepdims=True)
        q, k, v = self.q(self.q_norm(mean)), self.k(self.k_norm(x)), self.v(self.v_norm(x))
        q, k, v = (y.reshape(*y.shape[:2], self.heads, -1) for y in (q, k, v))
        return self.proj(attention(q, k, v).reshape(mean.shape))[:, 0]


class InternVideo2(VisionTransformer, VideoNetwork):
    """Vision Transformer over the patches of all frames, a pooling by attention, and a classifier.

    Args:
      num_classes: K, number of classes.
      transformer: width, depth and heads, passed as the fields of `TransformerSize`.
      clip: clips that the table of positions is made for, passed as the fields of `ClipSize`.
      patch: rows and columns of a token.
      mlp_features: features inside the MLPs; 0: four times those of a token.
      pool_heads: attention heads of the pooling; divides `dim`.
      pool_features: features of the pooled vector.
      dropout: dropout probability before the classifier.
      drop_path: drop path rate of the last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      execution: dtype, rematerialisation and scanning of the blocks, passed as the fields of `Execution`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide the width or the patch the size, or the width is no multiple of 16.
    """

    positions: ClassVar[Mapping[str, Table]] = {"pos_embed": Table((0, 1, 2), "linear", space="cubic")}

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize,
        clip: ClipSize = _CLIP,
        patch: int = 14,
        mlp_features: int = 0,
        pool_heads: int = 16,
        pool_features: int = 768,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        dim, dtype = transformer.dim, execution.dtype
        super().__init__(dim, (1, patch, patch), execution, clip=clip, in_channels=in_channels, rngs=rngs)
        self.cls_token = nnx.Param(normal_002(rngs.params(), (1, 1, dim)))
        self.pos_embed = nnx.Param(jnp.asarray(sinusoids(self.table_grid, dim)))

        def block(_: int, rate: float) -> Block:
            return Block(dim, transformer.heads, mlp_features or 4 * dim, drop_path=rate, dtype=dtype, rngs=rngs)

        self.blocks = stack(block, transformer.depth, drop_path)
        self.pool = MeanQueryPooling(dim, pool_heads, pool_features, dtype=dtype, rngs=rngs)
        self.norm = nnx.LayerNorm(pool_features, epsilon=_POOL_EPSILON, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(pool_features, num_classes, kernel_init=normal_001, rngs=rngs)
        self.widths = Widths(pool_features, dim, {patch: dim})

    def placed(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Patches `(B, N, D)` after the class token, with positions.

        Raises:
          ValueError: if the table is for another grid; names both.
        """
        if self.table_grid != grid:
            made, given = ("×".join(map(str, sides)) for sides in (self.table_grid, grid))
            raise ValueError(
                f"the positions are for {made} tokens, not {given}: build the network with num_frames and size"
            )
        first = jnp.broadcast_to(self.cls_token[...].astype(x.dtype), (x.shape[0], 1, x.shape[2]))
        return jnp.concatenate([first, x], axis=1) + self.pos_embed[...].astype(x.dtype)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: tokens are the last block's, the class token first.

        Raises:
          ValueError: if the patch does not divide the frames, or the table is for clips of another length or size.
        """
        x, grid = self.encoded(video, rngs)
        return Features(self.norm(self.pool(x).astype(jnp.float32)), x, grid, self.patch_map(x, grid))


class InternVideo2Clip(TextVideoNetwork, InternVideo2):
    """InternVideo2 with vectors in one space with those of a text Transformer.

    Args:
      num_classes: not used: the network has no classifier.
      transformer: width, depth and heads, passed as the fields of `TransformerSize`.
      clip: clips that the table of positions is made for, passed as the fields of `ClipSize`.
      text: size of the text network, passed as the fields of `TextSize`.
      embed: E, length of the vectors.
      patch: rows and columns of a token.
      mlp_features: features inside the MLPs; 0: four times those of a token.
      pool_heads: attention heads of the pooling; divides `dim`.
      pool_features: features of the pooled vector, which is then projected.
      drop_path: drop path rate of the last block; rises linearly from 0 in the first.
      biased: whether similarities have a bias, for the sigmoid loss of pairs.
      in_channels: C, channels of the clips.
      execution: dtype, rematerialisation and scanning of the blocks, passed as the fields of `Execution`.
      rngs: random streams; `params` draws the initial weights.
    """

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize,
        clip: ClipSize = _CLIP,
        text: TextSize,
        embed: int = 512,
        patch: int = 14,
        mlp_features: int = 0,
        pool_heads: int = 16,
        pool_features: int = 768,
        drop_path: float = 0.0,
        biased: bool = False,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        del num_classes
        options = {**vars(transformer), **vars(clip), **vars(execution)}
        super().__init__(
            1, patch=patch, mlp_features=mlp_features, pool_heads=pool_heads, pool_features=pool_features,
            drop_path=drop_path, in_channels=in_channels, rngs=rngs, **options,
        )  # fmt: skip
        self.head = nnx.data(None)
        self.proj = nnx.Linear(pool_features, embed, kernel_init=normal_002, rngs=rngs)
        kept = dataclasses.replace(execution, remat="" if execution.remat == "attention" else execution.remat)
        self.text = TextTransformer(text, embed, execution=kept, rngs=rngs)
        self.make_temperature(biased, _TEMPERATURE)
        self.widths = dataclasses.replace(self.widths, pooled=embed)

    def text_vectors(self, numbers: jax.Array) -> jax.Array:
        """Vectors of texts of any length, float32 `(N, E)`; see `TextVideoNetwork.text_vectors`."""
        return self.text(numbers)

    def video_vectors(self, video: jax.Array) -> jax.Array:
        """Vectors of clips `(B, T, H, W, C)` of any length, float32 `(B, E)`."""
        return self.proj(super().encode(video).pooled)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: `pooled` has length 1; see `InternVideo2.encode`."""
        features = super().encode(video, rngs)
        return dataclasses.replace(features, pooled=unit(self.proj(features.pooled)))


def sinusoids(grid: Grid, dim: int) -> np.ndarray:
    """First positions of a class token and a grid, float32 `(1, 1 + T·H·W, D)`.

    The class token's are 0. A quarter of the columns is for time, the rest in equal parts for columns and rows; per
    axis sines, then cosines, of place / 10000^(i/n), i = 0 … n - 1.

    Raises:
      ValueError: if `dim` is no multiple of 16.
    """
    if dim % 16:
        raise ValueError(f"dim = {dim}: the positions need a multiple of 16")
    time, rows, columns = np.meshgrid(*(np.arange(n) for n in grid), indexing="ij")
    parts = [np.zeros((math.prod(grid), 0))]
    for places, width in ((time, dim // 4), (columns, 3 * dim // 8), (rows, 3 * dim // 8)):
        n = width // 2
        angles = places.reshape(-1, 1) * 10000.0 ** (-np.arange(n) / n)
        parts += [np.sin(angles), np.cos(angles)]
    table = np.concatenate(parts, axis=1)
    return np.concatenate([np.zeros((1, dim)), table])[None].astype(np.float32)


_PAPER = "https://arxiv.org/abs/2403.15377"
_PIXELS = {"num_frames": 8, "stride": 8, "size": 224, "resize": (224, 224)}


def _classifier(name: str, size: TransformerSize, published: str, **kwargs: Any) -> Variant:
    spec = Spec.of_video(name=name, paper=_PAPER, sources=("internvideo2",), published=published, **_PIXELS)
    return Variant(InternVideo2, spec, {**dataclasses.asdict(size), **kwargs})


def _clip(name: str, size: TransformerSize, published: str) -> Variant:
    facts = {"paper": _PAPER, "sources": ("internvideo2",), "published": published}
    video = VideoInput(8, fps=1.0, size=224, resize=(224, 224))
    return clip_variant(name, InternVideo2Clip, dataclasses.asdict(size), video, **facts)


_TINY = {"dim": 48, "depth": 2, "heads": 3, "patch": 16, "num_frames": 8, "size": 64, "pool_heads": 4,
         "pool_features": 32}  # fmt: skip
_TEXT = {"vocabulary": 512, "text_length": 32, "text_dim": 32, "text_depth": 2, "text_heads": 2, "embed": 32}

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _classifier("internvideo2_s14", SMALL, "K400 85.4, 4×3 views (InternVideo2)"),
        _classifier("internvideo2_b14", BASE, "K400 88.4, 4×3 views (InternVideo2)"),
        _classifier("internvideo2_l14", LARGE, "K400 90.4, 4×3 views (InternVideo2)"),
        _classifier("internvideo2_1b", BILLION, "K400 91.3, 4×3 views (InternVideo2)", mlp_features=6144),
        _clip("internvideo2_clip_s14", SMALL, "zero-shot MSR-VTT text to video R@1 35.6 (InternVideo2)"),
        _clip("internvideo2_clip_b14", BASE, "zero-shot MSR-VTT text to video R@1 40.3 (InternVideo2)"),
        _clip("internvideo2_clip_l14", LARGE, "zero-shot MSR-VTT text to video R@1 42.1 (InternVideo2)"),
        Variant(InternVideo2, tiny_spec("internvideo2_tiny", _PAPER), _TINY),
        clip_variant(
            "internvideo2_clip_tiny", InternVideo2Clip, {**_TINY, **_TEXT},
            tiny_spec("internvideo2_clip_tiny", _PAPER).video, paper=_PAPER,
        ),
    )
}  # fmt: skip
