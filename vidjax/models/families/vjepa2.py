"""V-JEPA 2: a joint space-time Vision Transformer with rotary positions, trained to predict its own features.

The published encoders have no classifier. `vjepa2_large`, `_huge`, `_giant` and `_giant_384` classify the mean of the
tokens; the models named after a data set pool them by attention first, as the published probes do.

Source: Assran et al., "V-JEPA 2: self-supervised video models enable understanding, prediction and planning"
(arXiv 2506.09985), facebookresearch/vjepa2, and `modeling_vjepa2.py` in transformers, with the same layers and
epsilons.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant
from vidjax.nn.attention import SelfAttention, attention
from vidjax.nn.attentive import AttentivePooler
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.droppath import DropPath
from vidjax.nn.grids import Grid
from vidjax.nn.init import normal_002
from vidjax.nn.mlp import Mlp
from vidjax.nn.norm import LAYER_NORM_EPSILON
from vidjax.nn.rotary import rotary_angles, rotate
from vidjax.nn.vision_transformer import GIANT, HUGE, LARGE, TransformerSize, VisionTransformer


class Block(nnx.Module):
    """Pre-norm Transformer block: attention with rotated queries and keys, and MLP, each a residual branch."""

    def __init__(self, dim: int, heads: int, hidden: int, *, drop_path: float, dtype: Any, rngs: nnx.Rngs):
        self.norm1 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.attn = SelfAttention(dim, heads, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.norm2 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, hidden, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: jax.Array, grid: Grid, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map tokens `(B, N, D)` of `grid` to the same shape."""

        def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            angles = rotary_angles(grid, q.shape[-1])
            return attention(rotate(q, angles), rotate(k, angles), v)

        x = x + self.drop_path(self.attn(self.norm1(x), attend=attend), rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs)


class VJEPA2(VisionTransformer, VideoNetwork):
    """V-JEPA 2's encoder, with or without attentive pooling, and a classifier.

    Videos may have any length and size that the tubelet divides: positions are counted in tokens, no parameter depends
    on them, and a longer or larger clip has further angles. A single frame, an image, is repeated to a tubelet.

    Args:
      num_classes: K, number of classes.
      dim: D, features of a token.
      depth: number of blocks.
      heads: attention heads per block; divides `dim`.
      mlp: features between the layers of the encoder's MLPs. The pooler's MLPs have 4·D.
      pooler: whether to pool tokens by attention; otherwise features are the mean of the tokens.
      pooler_depth: number of self-attention blocks of the pooler.
      pooler_heads: attention heads of the pooler; 0: `heads`, as in transformers. The original code trains probes with
        16, which is the same for all but the giants (there transformers divides the same weights into 22).
      tubelet: frames, rows and columns of a token.
      dropout: dropout probability before the classifier.
      drop_path: probability of dropping a residual branch in the last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      dtype: dtype of activations; parameters, norm statistics, softmax and classifier stay float32.
      remat: rematerialisation policy of each block, one of `REMAT`, see `nn/remat.py`.
      scan_blocks: whether to loop over blocks of equal structure instead of compiling each, see `nn/blocks.py`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide `dim`.
    """

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize,
        mlp: int,
        pooler: bool = False,
        pooler_depth: int = 3,
        pooler_heads: int = 0,
        tubelet: Grid = (2, 16, 16),
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        dim, heads, dtype = transformer.dim, transformer.heads, execution.dtype
        super().__init__(dim, tubelet, execution, in_channels=in_channels, kernel_init=normal_002, rngs=rngs)
        self.widths = Widths(dim, dim, {tubelet[1]: dim})

        def block(_: int, rate: float) -> Block:
            return Block(dim, heads, mlp, drop_path=rate, dtype=dtype, rngs=rngs)

        self.blocks = stack(block, transformer.depth, drop_path)
        self.norm = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, rngs=rngs)
        made = AttentivePooler(dim, pooler_heads or heads, pooler_depth, dtype=dtype, rngs=rngs) if pooler else None
        self.pooler = nnx.data(made)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(dim, num_classes, kernel_init=normal_002, rngs=rngs)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: return the encoder's normalised tokens, pooled by attention
        or averaged.

        Raises:
          ValueError: if the tubelet does not divide the video, naming the sizes.
        """
        if video.shape[1] == 1:
            video = jnp.repeat(video, self.patch_embed.tubelet[0], axis=1)
        x, grid = self.encoded(video, rngs)
        x = self.norm(x)
        pooled = x.mean(axis=1, dtype=jnp.float32) if self.pooler is None else self.pooler(x)
        return Features(pooled, x, grid, self.patch_map(x, grid))


# Widths of src/models/vision_transformer.py; an MLP of the giant is 48/11 as wide as its tokens.
_SIZES = {
    "large": {**dataclasses.asdict(LARGE), "mlp": 4096},
    "huge": {**dataclasses.asdict(HUGE), "mlp": 5120},
    "giant": {**dataclasses.asdict(GIANT), "mlp": 6144},
}


def _variant(
    name: str,
    width: str,
    *,
    size: int = 256,
    num_frames: int = 64,
    stride: int = 2,
    num_classes: int = 400,
    published: str = "",
) -> Variant:
    # ImageNet statistics; the short side is 256/224 of the crop.
    spec = Spec.of_video(
        name=name,
        num_frames=num_frames,
        stride=stride,
        size=size,
        resize=(size * 256 // 224,),
        num_classes=num_classes,
        paper="https://arxiv.org/abs/2506.09985",
        sources=("transformers", "vjepa2"),
        published=published,
    )
    return Variant(VJEPA2, spec, {**_SIZES[width], "pooler": bool(published)})


VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("vjepa2_large", "large"),
        _variant("vjepa2_huge", "huge"),
        _variant("vjepa2_giant", "giant"),
        _variant("vjepa2_giant_384", "giant", size=384),
        _variant(
            "vjepa2_large_ssv2", "large", num_frames=16, stride=4, num_classes=174,
            published="SSv2 73.7, frozen encoder, 2×3 views (facebookresearch/vjepa2)",
        ),
        _variant(
            "vjepa2_giant_384_ssv2", "giant", size=384, num_classes=174,
            published="SSv2 77.3, frozen encoder, 2×3 views (facebookresearch/vjepa2)",
        ),
        _variant(
            "vjepa2_large_diving48", "large", num_frames=32, num_classes=48,
            published="Diving48 89.0, frozen encoder, 4×3 views (facebookresearch/vjepa2)",
        ),
        _variant(
            "vjepa2_giant_384_diving48", "giant", size=384, num_frames=32, num_classes=48,
            published="Diving48 90.2, frozen encoder, 4×3 views (facebookresearch/vjepa2)",
        ),
    )
}  # fmt: skip
