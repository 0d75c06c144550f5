"""Video Swin: a hierarchical Transformer with attention in shifted space-time windows.

Tubelets of 2×4×4 pixels become tokens; between the four stages, height and width are halved and the features doubled.
Time keeps its length throughout. Positions enter only the attention, as biases of relative positions.

Source: Liu et al., "Video Swin Transformer" (arXiv 2106.13230), and the code of SwinTransformer/Video-Swin-Transformer,
to which torchvision's and mmaction2's networks are equal.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.blocks import Execution, drop_rates
from vidjax.nn.droppath import DropPath
from vidjax.nn.grids import Triple, triple_of
from vidjax.nn.init import normal_002
from vidjax.nn.maps import flat_map
from vidjax.nn.mlp import Mlp
from vidjax.nn.patches import TubeletEmbedding
from vidjax.nn.target_backend import apart
from vidjax.nn.windows import WindowAttention

EPSILON = 1e-5  # of every layer norm


class Block(nnx.Module):
    """Pre-norm block: window attention and MLP, each a residual branch with stochastic depth."""

    def __init__(
        self, dim: int, heads: int, *, window: Triple, shift: Triple, drop_path: float, dtype: Any, rngs: nnx.Rngs
    ):
        self.norm1 = nnx.LayerNorm(dim, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.attn = WindowAttention(dim, heads, window=window, shift=shift, dtype=dtype, rngs=rngs)
        self.norm2 = nnx.LayerNorm(dim, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, 4 * dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map `(B, T, H, W, C)` to the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x)), rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs)


class PatchMerging(nnx.Module):
    """Merging of four neighbouring tokens of a frame into one of twice the features; odd sizes are zero-padded."""

    def __init__(self, dim: int, *, dtype: Any, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(4 * dim, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.reduction = nnx.Linear(4 * dim, 2 * dim, use_bias=False, kernel_init=normal_002, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `(B, T, H, W, C)` to `(B, T, ⌈H/2⌉, ⌈W/2⌉, 2·C)`."""
        height, width = x.shape[2:4]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        # Rows first: (0, 0), (1, 0), (0, 1), (1, 1).
        corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(jnp.concatenate(corners, axis=-1)))


class Stage(nnx.Module):
    """Patch merging (except in the first stage), then blocks; every second block shifts its windows."""

    def __init__(
        self,
        dim: int,
        heads: int,
        rates: Sequence[float],
        *,
        window: Triple,
        merge: bool,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        dtype = execution.dtype
        self.execution = execution
        self.merge = PatchMerging(dim // 2, dtype=dtype, rngs=rngs) if merge else None
        half = triple_of(w // 2 for w in window)
        self.blocks = nnx.List(
            [
                Block(
                    dim,
                    heads,
                    window=window,
                    shift=half if index % 2 else (0, 0, 0),
                    drop_path=rate,
                    dtype=dtype,
                    rngs=rngs,
                )
                for index, rate in enumerate(rates)
            ]
        )

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map `(B, T, H, W, C)` to the same shape, or after merging to `(B, T, ⌈H/2⌉, ⌈W/2⌉, 2·C)`."""
        x = x if self.merge is None else self.merge(x)
        return self.execution.run(self.blocks, x, rngs=rngs)


class VideoSwin(VideoNetwork):
    """Video Swin classifier.

    Videos may have any length and size: they are zero-padded to whole tubelets and windows, and windows larger than
    their input shrink to it, by the reference's rules. No parameter depends on the size.

    Args:
      num_classes: K, number of classes.
      dim: features of the first stage; each further stage has twice as many, D = dim·2^(stages - 1).
      depths: blocks of each stage.
      heads: attention heads of each stage.
      window: tokens of a window along T, H, W.
      tubelet: frames, rows and columns of a token.
      dropout: dropout probability between the pooled features and the classifier.
      drop_path: probability of dropping a residual branch in the last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      dtype: dtype of activations; parameters, norm statistics, softmax and classifier stay float32.
      remat: rematerialisation policy of each block, one of `REMAT`, see `nn/remat.py`.
      scan_blocks: whether to loop over blocks of equal structure instead of compiling each, see `nn/blocks.py`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if a stage's heads do not divide its features, or `depths` and `heads` differ in length.
    """

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        dim: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: Triple = (8, 7, 7),
        tubelet: Triple = (2, 4, 4),
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        if len(depths) != len(heads):
            raise ValueError(f"depths = {depths} and heads = {heads} must have the same length")
        self.channels, dtype = in_channels, execution.dtype
        self.patch_embed = TubeletEmbedding(in_channels, dim, tubelet, dtype=dtype, rngs=rngs)
        self.patch_norm = nnx.LayerNorm(dim, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        rates = iter(drop_rates(sum(depths), drop_path))
        self.stages = nnx.List(
            [
                Stage(
                    dim * 2**index,
                    count,
                    [next(rates) for _ in range(depth)],
                    window=window,
                    merge=index > 0,
                    execution=execution,
                    rngs=rngs,
                )
                for index, (depth, count) in enumerate(zip(depths, heads, strict=True))
            ]
        )
        self.widths = Widths.of_maps({tubelet[1] * 2**index: dim * 2**index for index in range(len(depths))})
        features = self.widths.pooled
        self.norm = nnx.LayerNorm(features, epsilon=EPSILON, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(features, num_classes, kernel_init=normal_002, rngs=rngs)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: return the normalised tokens, float32, and their mean.

        The maps are the stages' outputs; the last is of the normalised tokens.

        Raises:
          ClipError: for integer pixels and other shapes.
        """
        short = [-n % t for n, t in zip(video.shape[1:4], self.patch_embed.tubelet, strict=True)]
        video = jnp.pad(video, ((0, 0), *((0, n) for n in short), (0, 0)))
        grid = self.patch_embed.grid(video)
        x = self.patch_norm(self.patch_embed(video))
        x = x.reshape(x.shape[0], *grid, x.shape[-1])
        maps = {}
        for index, stage in enumerate(self.stages):
            maps[self.patch_embed.tubelet[1] * 2**index] = x = stage(x, rngs)
        # With dropout after the mean, XLA for GPUs puts channels first, in the blocks too, whose products it then fails
        # to compile. Rows that are kept apart keep that from the blocks.
        maps[max(maps)] = x = self.norm(apart(x.reshape(-1, x.shape[-1])).reshape(x.shape))
        return Features.of_maps(maps, flat_map(x).mean(axis=1))


def _variant(name: str, *, published: str, torchvision: bool = True, drop_path: float, **kwargs: Any) -> Variant:
    # The published Kinetics-400 protocol: 32 frames, every 2nd, short side 224, ImageNet statistics, 4 clips × 3 crops.
    spec = Spec.of_video(
        name=name,
        num_frames=32,
        stride=2,
        size=224,
        resize=(224,),
        paper="https://arxiv.org/abs/2106.13230",
        sources=(*(("torchvision",) if torchvision else ()), "video_swin", "mmaction2", "swin_image"),
        published=published,
    )
    # The dropout before the classifier is that of the repository's head.
    return Variant(VideoSwin, spec, {**kwargs, "dropout": 0.5, "drop_path": drop_path})


VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("swin3d_t", published="K400 78.8 / 93.6, 4×3 views (Video-Swin-Transformer)",
                 dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), drop_path=0.1),
        _variant("swin3d_s", published="K400 80.6 / 94.5, 4×3 views (Video-Swin-Transformer)",
                 dim=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24), drop_path=0.1),
        _variant("swin3d_b",
                 published="K400 80.6 / 94.6 (82.7 / 95.5 from ImageNet-22K), 4×3 views (Video-Swin-Transformer)",
                 dim=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), drop_path=0.3),
        _variant("swin3d_l", published="K400 83.46 / 95.91 from ImageNet-22K, 4×3 views (mmaction2)",
                 torchvision=False,
                 dim=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), drop_path=0.4),
    )
} | {
    "swin3d_tiny": Variant(
        VideoSwin,
        tiny_spec("swin3d_tiny", "https://arxiv.org/abs/2106.13230", size=32, resize=(36,)),
        {"dim": 48, "depths": (2, 2), "heads": (3, 6), "window": (4, 4, 4)},
    ),
}  # fmt: skip
