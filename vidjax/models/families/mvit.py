"""MViT: a Transformer with pooling attention, whose tokens become fewer and wider from stage to stage.

A class token is classified. Version 1 adds learned positions to the first tokens; version 2 has only relative
positions, adds the pooled queries to each attention's result, and widens in the attention instead of the MLP.

Sources: Fan et al., "Multiscale vision transformers" (arXiv 2104.11227); Li et al., "MViTv2: improved multiscale vision
transformers for classification and detection" (arXiv 2112.01526); the code of both in facebookresearch/SlowFast, to
which pytorchvideo's, torchvision's and mmaction2's networks are equal.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.blocks import Execution, drop_rates
from vidjax.nn.conv import Conv3D
from vidjax.nn.droppath import DropPath
from vidjax.nn.grids import Grid, Triple, triple_of
from vidjax.nn.init import normal_002
from vidjax.nn.mlp import Mlp
from vidjax.nn.norm import LAYER_NORM_EPSILON
from vidjax.nn.pooling import max_pool3d
from vidjax.nn.pooling_attention import PoolingAttention
from vidjax.nn.positions import Table
from vidjax.nn.remat import layer_result
from vidjax.nn.vision_transformer import ClipSize, TransformerSize, grid_tokens

PATCH_STRIDE = (2, 4, 4)
FIRST_STAGE = TransformerSize(96, 16, 1)  # of the smallest published networks
CLIP = ClipSize(16)


class Block(nnx.Module):
    """Pre-norm block: pooling attention and MLP, each a residual branch with stochastic depth.

    Where the attention pools the queries, the skip branch is max-pooled over the grid; where the width changes, it is
    projected from the normalised tokens.
    """

    def __init__(
        self,
        dim: int,
        out: int,
        heads: int,
        *,
        widen_in_attention: bool,
        stride_q: Triple,
        drop_path: float,
        dtype: Any,
        rngs: nnx.Rngs,
        **attention: Any,
    ):
        inner = out if widen_in_attention else dim
        self.widen_in_attention = widen_in_attention
        self.stride_q = stride_q
        self.norm1 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.attn = PoolingAttention(dim, inner, heads, stride_q=stride_q, dtype=dtype, rngs=rngs, **attention)
        self.norm2 = nnx.LayerNorm(inner, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(inner, 4 * inner, out, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.proj = nnx.Linear(dim, out, kernel_init=normal_002, dtype=dtype, rngs=rngs) if dim != out else None
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: jax.Array, grid: Grid, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map tokens `(B, 1 + T·H·W, dim)` of `grid` to `(B, 1 + T'·H'·W', out)`, of `self.attn.grid(grid)`."""
        y = self.norm1(x)
        attended = self.attn(y, grid)
        if self.proj is not None and self.widen_in_attention:
            x = layer_result(self.proj(y))
        x = self._pooled(x, grid) + self.drop_path(attended, rngs)
        y = self.norm2(x)
        if self.proj is not None and not self.widen_in_attention:
            x = layer_result(self.proj(y))
        return x + self.drop_path(self.mlp(y, rngs), rngs)

    def _pooled(self, x: jax.Array, grid: Grid) -> jax.Array:
        if self.stride_q == (1, 1, 1):
            return x
        batch, _, dim = x.shape
        window = triple_of(s + 1 if s > 1 else s for s in self.stride_q)
        y = max_pool3d(x[:, 1:].reshape(batch, *grid, dim), window, self.stride_q, tuple(w // 2 for w in window))
        return jnp.concatenate([x[:, :1], y.reshape(batch, -1, dim)], axis=1)


class MViT(VideoNetwork):
    """MViT classifier, version 1 or 2.

    Videos may have another length or size than `num_frames` and `size`. Positions are then interpolated linearly, as
    in the reference: version 1's learned ones along T (linear) and H, W (bilinear), version 2's tables of relative
    positions along each axis (`relative_rows`).

    Args:
      num_classes: K, number of classes.
      version: 1 or 2.
      dim: features of the first stage; each further stage has twice as many, and twice as many heads.
      depth: number of blocks of all stages.
      heads: attention heads of the first stage.
      stages: indices of the blocks that begin a new stage; their queries are pooled with stride (1, 2, 2).
      kernel: pooling kernel (kt, kh, kw) of queries, keys and values; None: stride + 1 where the stride is more than
        1, and no pooling without strides.
      kv_stride: stride along H and W of the first stage's pooling of keys and values; halved with each stage.
      num_frames: T, frames of the clips for which the positions are made.
      size: height and width of the clips for which the positions are made, pixels.
      dropout: dropout probability between the class token and the classifier.
      drop_path: probability of dropping a residual branch in the last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      dtype: dtype of activations; parameters, norm statistics, softmax and classifier stay float32.
      remat: rematerialisation policy of each block, one of `REMAT`, see `nn/remat.py`.
      scan_blocks: whether to loop over blocks of equal structure instead of compiling each, see `nn/blocks.py`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: for an unknown version, or if the heads do not divide the features.
    """

    # As in SlowFast's loader (`utils/checkpoint.py`), which is cubic for places, unlike its forward pass.
    positions: ClassVar[Mapping[str, Table]] = {
        "spatial_positions": Table((1, 2), "cubic"),
        "temporal_positions": Table((0,), "linear"),
        **{f"blocks.*.attn.relative_{axis}": Table((), "linear") for axis in "thw"},
    }

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        version: int,
        transformer: TransformerSize = FIRST_STAGE,
        stages: Sequence[int],
        kernel: Triple | None = (3, 3, 3),
        kv_stride: int = 8,
        clip: ClipSize = CLIP,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        if version not in (1, 2):
            raise ValueError(f"version = {version!r}: must be 1 or 2")
        self.execution, self.channels = execution, in_channels
        dim, dtype = transformer.dim, execution.dtype
        # Kernels, including convolutions, are initialised as in SlowFast; biases start at 0, as in torchvision.
        self.patch_embed = Conv3D(
            in_channels, dim, (3, 7, 7), PATCH_STRIDE, (1, 3, 3),
            use_bias=True, kernel_init=normal_002, dtype=dtype, rngs=rngs,
        )  # fmt: skip
        sizes = (clip.num_frames, clip.size, clip.size)
        self.base_grid = grid = triple_of(n // s for n, s in zip(sizes, PATCH_STRIDE, strict=True))

        def table(*shape: int) -> nnx.Param:
            return nnx.Param(normal_002(rngs.params(), shape, jnp.float32))

        self.class_token = table(dim)
        self.spatial_positions = table(grid[1] * grid[2], dim) if version == 1 else nnx.data(None)
        self.temporal_positions = table(grid[0], dim) if version == 1 else nnx.data(None)
        self.class_position = table(dim) if version == 1 else nnx.data(None)

        plan = list(_plan(version, transformer, stages, kernel, kv_stride, grid))
        rates = drop_rates(transformer.depth, drop_path)
        self.blocks = nnx.List(
            [Block(**block, drop_path=rate, dtype=dtype, rngs=rngs) for block, rate in zip(plan, rates, strict=True)]
        )
        stride, maps = PATCH_STRIDE[1], {}
        for block in plan:
            stride *= block["stride_q"][1]
            maps[stride] = block["out"]
        self.widths = Widths.of_maps(maps)
        features = self.widths.pooled
        self.norm = nnx.LayerNorm(features, epsilon=LAYER_NORM_EPSILON, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(features, num_classes, kernel_init=normal_002, rngs=rngs)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: return the normalised tokens, float32, and the normalised
        class token.

        The tokens, `(B, 1 + N, D)`, begin with the class token. The maps are the stages' outputs; the last is of the
        normalised tokens.

        Raises:
          ClipError: for integer pixels and other shapes.
        """
        x, grid, maps = self._encoded(video, rngs)
        pooled = self.norm(x[:, 0].astype(jnp.float32))
        tokens = self.norm(x.astype(jnp.float32))
        maps[max(maps)] = grid_tokens(tokens, grid)
        return Features(pooled, tokens, grid, maps)

    def _encoded(self, video: jax.Array, rngs: nnx.Rngs | None) -> tuple[jax.Array, Grid, dict[int, jax.Array]]:
        """Map `(B, T, H, W, C)` to the last block's tokens `(B, 1 + N, D)`, their grid, and the maps of all stages."""
        x = self.patch_embed(video)
        batch, *sizes, dim = x.shape
        grid = triple_of(sizes)
        first = self.class_token[...]
        if self.class_position is not None:
            first = first + self.class_position[...]
            x = x + self._positions(grid).astype(x.dtype)[None]
        first = jnp.broadcast_to(first.astype(x.dtype)[None, None], (batch, 1, dim))
        x = jnp.concatenate([first, x.reshape(batch, -1, dim)], axis=1)
        stride, maps = PATCH_STRIDE[1], {}
        # Blocks that pool their queries change the grid; those between them share one.
        for pools, blocks in groupby(self.blocks, key=lambda block: block.stride_q != (1, 1, 1)):
            for part in ([block] for block in blocks) if pools else [list(blocks)]:
                x = self.execution.run(part, x, grid, rngs=rngs)
                grid, stride = part[-1].attn.grid(grid), stride * part[-1].stride_q[1]
                maps[stride] = grid_tokens(x, grid)
        return x, grid, maps

    def _positions(self, grid: Grid) -> jax.Array:
        """Positions `(T, H, W, dim)`: a learned vector per frame plus one per place in the frame."""
        # Version 1 only.
        assert self.temporal_positions is not None and self.spatial_positions is not None
        assert self.base_grid is not None
        time, space = self.temporal_positions[...], self.spatial_positions[...]
        space = space.reshape(*self.base_grid[1:], -1)
        if grid != self.base_grid:
            time = jax.image.resize(time, (grid[0], time.shape[-1]), "linear", antialias=False)
            space = jax.image.resize(space, (*grid[1:], space.shape[-1]), "linear", antialias=False)
        return time[:, None, None] + space[None]


def _plan(
    version: int, size: TransformerSize, stages: Sequence[int], kernel: Triple | None, kv_stride: int, grid: Grid
) -> Iterator[dict[str, Any]]:
    """Arguments of `Block` that differ between the blocks."""
    dim, heads = size.dim, size.heads
    for index in range(size.depth):
        begins = index in stages
        if begins:
            heads, kv_stride = 2 * heads, max(kv_stride // 2, 1)
        stride_q = (1, 2, 2) if begins else (1, 1, 1)
        stride_kv = (1, kv_stride, kv_stride)
        # Version 1 widens in the MLP, so that the block before a stage outputs its width.
        out = 2 * dim if index + (version == 1) in stages else dim
        yield {
            "dim": dim,
            "out": out,
            "heads": heads,
            "widen_in_attention": version == 2,
            "kernel_q": _kernel(kernel, stride_q) if version == 2 or begins else None,
            "stride_q": stride_q,
            "kernel_kv": _kernel(kernel, stride_kv),
            "stride_kv": stride_kv,
            "relative": grid if version == 2 else None,
            "residual": version == 2,
        }
        dim, grid = out, triple_of(n // s for n, s in zip(grid, stride_q, strict=True))


def _kernel(kernel: Triple | None, strides: Triple) -> Triple | None:
    """Pooling kernel for these strides; None: no pooling."""
    kernel = triple_of(s + 1 if s > 1 else s for s in strides) if kernel is None else kernel
    return None if kernel == strides == (1, 1, 1) else kernel


_PAPERS = {1: "https://arxiv.org/abs/2104.11227", 2: "https://arxiv.org/abs/2112.01526"}

# Depth and stages of the published networks; L is the only one that starts wider.
_16 = {"depth": 16, "stages": (1, 3, 14)}
_24 = {"depth": 24, "stages": (2, 5, 21)}
_L = {"dim": 144, "depth": 48, "heads": 2, "stages": (2, 8, 44)}


def _variant(
    name: str,
    version: int,
    size: dict[str, Any],
    num_frames: int,
    stride: int,
    published: str,
    sources: tuple[str, ...],
    *,
    drop_path: float,
    pixels: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Variant:
    # SlowFast's protocol, except where `pixels` differs.
    clip = {"size": 224, "resize": (256,), "mean": (0.45,) * 3, "std": (0.225,) * 3} | (pixels or {})
    spec = Spec.of_video(
        name=name,
        num_frames=num_frames,
        stride=stride,
        paper=_PAPERS[version],
        sources=sources,
        published=f"K400 {published}",
        **clip,
    )
    made_for = {"num_frames": num_frames, "size": spec.video.size}
    return Variant(
        MViT, spec, {"version": version, **size, **kwargs, **made_for, "dropout": 0.5, "drop_path": drop_path}
    )


_312 = {"size": 312, "resize": (312,), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("mvit_v1_b_16x4", 1, _16, 16, 4, "78.4 / 93.5, 5×1 views (SlowFast)",
                 ("torchvision", "pytorchvideo", "slowfast"), drop_path=0.2),
        _variant("mvit_v1_b_32x3", 1, _16, 32, 3, "80.3 / 94.7, 5×1 views (pytorchvideo)",
                 ("pytorchvideo",), drop_path=0.3),
        # SlowFast's configuration MVIT_B_32x3_CONV: the paper's MViT-B-24.
        _variant("mvit_v1_b24_32x3", 1, _24, 32, 3, "80.4 / 94.8, 5×1 views (SlowFast)",
                 ("slowfast",), drop_path=0.3, kernel=None),
        _variant("mvit_v2_s", 2, _16, 16, 4, "81.0 / 94.6, 5×1 views (SlowFast)",
                 ("torchvision", "slowfast", "mmaction2"), drop_path=0.2),
        _variant("mvit_v2_b", 2, _24, 32, 3, "82.9 / 95.7, 5×1 views (SlowFast)",
                 ("slowfast", "mmaction2"), drop_path=0.3),
        _variant("mvit_v2_l", 2, _L, 40, 3, "86.1 / 97.0, 5×3 views (SlowFast)",
                 ("slowfast", "mmaction2"), drop_path=0.75, pixels=_312),
    )
} | {
    "mvit_tiny": Variant(
        MViT,
        tiny_spec("mvit_tiny", _PAPERS[2], size=32, resize=(36,)),
        {"version": 2, "dim": 48, "depth": 4, "stages": (2,), "kv_stride": 2, "num_frames": 8, "size": 32},
    ),
}  # fmt: skip
