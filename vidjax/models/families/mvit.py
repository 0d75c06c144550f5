"""MViT: a Transformer whose tokens grow fewer and wider from stage to stage, by pooling attention.

A class token is classified. Version 1 adds learned positions to the first tokens; version 2 knows relative positions
only, adds the pooled queries to each attention's result, and widens in the attention instead of the MLP.

Sources: Fan et al., "Multiscale vision transformers" (arXiv 2104.11227); Li et al., "MViTv2: improved multiscale vision
transformers for classification and detection" (arXiv 2112.01526); the code of both in facebookresearch/SlowFast, to
which pytorchvideo's, torchvision's and mmaction2's networks are equal.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.models.base import VideoNetwork
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.blocks import run_blocks
from vidjax.nn.conv import Conv3D
from vidjax.nn.droppath import DropPath
from vidjax.nn.init import normal_002
from vidjax.nn.mlp import Mlp
from vidjax.nn.pooling import max_pool3d
from vidjax.nn.pooling_attention import EPSILON, PoolingAttention, Triple
from vidjax.nn.positions import Table
from vidjax.nn.remat import check_remat, layer_result

PATCH_STRIDE = (2, 4, 4)


class Block(nnx.Module):
    """Pre-norm block: pooling attention and MLP, each a residual branch behind stochastic depth.

    Where the attention pools the queries, the other branch takes maxima over the grid; where the width changes, it is
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
        self.norm1 = nnx.LayerNorm(dim, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.attn = PoolingAttention(dim, inner, heads, stride_q=stride_q, dtype=dtype, rngs=rngs, **attention)
        self.norm2 = nnx.LayerNorm(inner, epsilon=EPSILON, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(inner, 4 * inner, out, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.proj = nnx.Linear(dim, out, kernel_init=normal_002, dtype=dtype, rngs=rngs) if dim != out else None
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: jax.Array, grid: Triple, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`(B, 1 + T·H·W, dim)` tokens of `grid` → `(B, 1 + T'·H'·W', out)`, tokens of `self.attn.grid(grid)`."""
        y = self.norm1(x)
        attended = self.attn(y, grid)
        if self.proj is not None and self.widen_in_attention:
            x = layer_result(self.proj(y))
        x = self._pooled(x, grid) + self.drop_path(attended, rngs)
        y = self.norm2(x)
        if self.proj is not None and not self.widen_in_attention:
            x = layer_result(self.proj(y))
        return x + self.drop_path(self.mlp(y, rngs), rngs)

    def _pooled(self, x: jax.Array, grid: Triple) -> jax.Array:
        if self.stride_q == (1, 1, 1):
            return x
        batch, _, dim = x.shape
        window = tuple(s + 1 if s > 1 else s for s in self.stride_q)
        y = max_pool3d(x[:, 1:].reshape(batch, *grid, dim), window, self.stride_q, tuple(w // 2 for w in window))
        return jnp.concatenate([x[:, :1], y.reshape(batch, -1, dim)], axis=1)


class MViT(VideoNetwork):
    """MViT classifier, version 1 or 2.

    Videos of another length or size than `num_frames` and `size` are taken as they come. Positions are then
    interpolated linearly, as in the reference: version 1's learned ones along T (linear) and H, W (bilinear), version
    2's tables of relative positions along each axis (`relative_rows`).

    Args:
      num_classes: K.
      version: 1 or 2.
      dim: features of the first stage; each further one has twice as many, and twice as many heads.
      depth: number of blocks.
      heads: attention heads of the first stage.
      stages: the blocks with which a new stage begins: their queries are pooled with stride (1, 2, 2).
      kernel: pooling kernel (kt, kh, kw) of queries, keys and values; None: stride + 1 where the stride is more than
        1, and no pooling where nothing is strided.
      kv_stride: stride along H and W with which the first stage pools keys and values; halved with each stage.
      num_frames: T that the positions are made for.
      size: height and width that the positions are made for, pixels.
      dropout: probability, between the class token and the classifier.
      drop_path: probability of leaving out a residual branch in the last block; rises linearly from 0 in the first.
      dtype: what activations are computed in; parameters, norm statistics, softmax and classifier stay float32.
      remat: what a block keeps for the backward pass: one of `REMAT`, see `nn/remat.py`.
      scan_blocks: loop over blocks that are alike instead of compiling each, see `nn/blocks.py`.
      rngs: `params` draws the initial weights.

    Raises:
      ValueError: for an unknown version, or if the heads do not divide the features.
    """

    # As SlowFast's loader fits them (`utils/checkpoint.py`): it is cubic for places, its forward pass is not.
    positions: ClassVar[dict[str, Table]] = {
        "spatial_positions": Table((1, 2), "cubic"),
        "temporal_positions": Table((0,), "linear"),
        **{f"blocks.*.attn.relative_{axis}": Table((), "linear") for axis in "thw"},
    }

    def __init__(
        self,
        num_classes: int,
        *,
        version: int,
        dim: int = 96,
        depth: int,
        heads: int = 1,
        stages: Sequence[int],
        kernel: Triple | None = (3, 3, 3),
        kv_stride: int = 8,
        num_frames: int = 16,
        size: int = 224,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        dtype: Any = None,
        remat: str = "",
        scan_blocks: bool = False,
        rngs: nnx.Rngs,
    ):
        if version not in (1, 2):
            raise ValueError(f"version = {version!r}: must be 1 or 2")
        self.remat, self.scan_blocks = check_remat(remat, attention=True), scan_blocks
        # Kernels start as SlowFast's do, the convolutions' included; biases at 0, as in torchvision.
        self.patch_embed = Conv3D(
            3, dim, (3, 7, 7), PATCH_STRIDE, (1, 3, 3), use_bias=True, kernel_init=normal_002, dtype=dtype, rngs=rngs
        )
        grid = tuple(n // s for n, s in zip((num_frames, size, size), PATCH_STRIDE, strict=True))
        self.base_grid = grid

        def table(*shape: int) -> nnx.Param:
            return nnx.Param(normal_002(rngs.params(), shape, jnp.float32))

        self.class_token = table(dim)
        self.spatial_positions = table(grid[1] * grid[2], dim) if version == 1 else nnx.data(None)
        self.temporal_positions = table(grid[0], dim) if version == 1 else nnx.data(None)
        self.class_position = table(dim) if version == 1 else nnx.data(None)

        blocks = []
        for index, rate in enumerate(np.linspace(0, drop_path, depth).tolist()):
            if index in stages:
                heads, kv_stride = 2 * heads, max(kv_stride // 2, 1)
            stride_q = (1, 2, 2) if index in stages else (1, 1, 1)
            stride_kv = (1, kv_stride, kv_stride)
            # The first version widens in the MLP, so the block before a stage makes its width.
            out = 2 * dim if index + (version == 1) in stages else dim
            blocks.append(
                Block(
                    dim,
                    out,
                    heads,
                    widen_in_attention=version == 2,
                    kernel_q=_kernel(kernel, stride_q) if version == 2 or index in stages else None,
                    stride_q=stride_q,
                    kernel_kv=_kernel(kernel, stride_kv),
                    stride_kv=stride_kv,
                    relative=grid if version == 2 else None,
                    residual=version == 2,
                    drop_path=rate,
                    dtype=dtype,
                    rngs=rngs,
                )
            )
            dim, grid = out, tuple(n // s for n, s in zip(grid, stride_q, strict=True))
        self.blocks = nnx.List(blocks)
        self.norm = nnx.LayerNorm(dim, epsilon=EPSILON, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(dim, num_classes, kernel_init=normal_002, rngs=rngs)

    def tokens(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`(B, T, H, W, 3)` normalised float clips → `(B, 1 + N, D)` float32, normalised: class token, then the grid's.

        Raises:
          ClipError: for integer pixels and other shapes.
        """
        return self.norm(self._encoded(video, rngs).astype(jnp.float32))

    def features(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`(B, T, H, W, 3)` normalised float clips → `(B, D)` float32, the normalised class token.

        Raises:
          ClipError: for integer pixels and other shapes.
        """
        return self.norm(self._encoded(video, rngs)[:, 0].astype(jnp.float32))

    def _encoded(self, video: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        """`(B, T, H, W, 3)` → `(B, 1 + N, D)`, the last block's tokens."""
        x = self.patch_embed(video)
        batch, *grid, dim = x.shape
        grid = tuple(grid)
        first = self.class_token[...]
        if self.spatial_positions is not None:
            first = first + self.class_position[...]
            x = x + self._positions(grid).astype(x.dtype)[None]
        first = jnp.broadcast_to(first.astype(x.dtype)[None, None], (batch, 1, dim))
        x = jnp.concatenate([first, x.reshape(batch, -1, dim)], axis=1)
        # Blocks that pool their queries change the grid; those between them see the same one.
        for pools, blocks in groupby(self.blocks, key=lambda block: block.stride_q != (1, 1, 1)):
            for part in ([block] for block in blocks) if pools else [list(blocks)]:
                x = run_blocks(part, x, grid, rngs=rngs, remat=self.remat, scan=self.scan_blocks)
                grid = part[-1].attn.grid(grid)
        return x

    def __call__(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`(B, T, H, W, 3)` normalised float clips → logits `(B, K)` float32.

        Args:
          video: the clips.
          rngs: stream `dropout`, for dropout and drop path in training mode.
        """
        return self.head(self.dropout(self.features(video, rngs), rngs=rngs))

    def _positions(self, grid: Triple) -> jax.Array:
        """`(T, H, W, dim)`: a learned vector per frame plus one per place in the frame."""
        time, space = self.temporal_positions[...], self.spatial_positions[...]
        space = space.reshape(*self.base_grid[1:], -1)
        if grid != self.base_grid:
            time = jax.image.resize(time, (grid[0], time.shape[-1]), "linear", antialias=False)
            space = jax.image.resize(space, (*grid[1:], space.shape[-1]), "linear", antialias=False)
        return time[:, None, None] + space[None]


def _kernel(kernel: Triple | None, strides: Triple) -> Triple | None:
    """The pooling kernel for these strides; None where nothing is pooled."""
    kernel = tuple(s + 1 if s > 1 else s for s in strides) if kernel is None else kernel
    return None if kernel == strides == (1, 1, 1) else kernel


_V1, _V2 = "https://arxiv.org/abs/2104.11227", "https://arxiv.org/abs/2112.01526"


def _variant(
    name: str,
    *,
    num_frames: int,
    stride: int,
    sources: tuple[str, ...],
    published: str,
    size: int = 224,
    resize: int = 256,
    mean: tuple[float, ...] = (0.45,) * 3,
    std: tuple[float, ...] = (0.225,) * 3,
    **kwargs: Any,
) -> Variant:
    spec = Spec.of_video(
        name=name,
        num_frames=num_frames,
        stride=stride,
        size=size,
        resize=(resize,),
        mean=mean,
        std=std,
        paper=_V1 if kwargs["version"] == 1 else _V2,
        sources=sources,
        published=published,
    )
    return Variant(MViT, spec, {**kwargs, "num_frames": num_frames, "size": size, "dropout": 0.5})


VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant(
            "mvit_v1_b_16x4",
            num_frames=16,
            stride=4,
            sources=("torchvision", "pytorchvideo", "slowfast"),
            published="K400 78.4 / 93.5, 5×1 views (SlowFast)",
            version=1,
            depth=16,
            stages=(1, 3, 14),
            drop_path=0.2,
        ),
        _variant(
            "mvit_v1_b_32x3",
            num_frames=32,
            stride=3,
            sources=("pytorchvideo",),
            published="K400 80.3 / 94.7, 5×1 views (pytorchvideo)",
            version=1,
            depth=16,
            stages=(1, 3, 14),
            drop_path=0.3,
        ),
        # What SlowFast's configuration MVIT_B_32x3_CONV builds: the paper's MViT-B-24.
        _variant(
            "mvit_v1_b24_32x3",
            num_frames=32,
            stride=3,
            sources=("slowfast",),
            published="K400 80.4 / 94.8, 5×1 views (SlowFast)",
            version=1,
            depth=24,
            stages=(2, 5, 21),
            kernel=None,
            drop_path=0.3,
        ),
        _variant(
            "mvit_v2_s",
            num_frames=16,
            stride=4,
            sources=("torchvision", "slowfast", "mmaction2"),
            published="K400 81.0 / 94.6, 5×1 views (SlowFast)",
            version=2,
            depth=16,
            stages=(1, 3, 14),
            drop_path=0.2,
        ),
        _variant(
            "mvit_v2_b",
            num_frames=32,
            stride=3,
            sources=("slowfast", "mmaction2"),
            published="K400 82.9 / 95.7, 5×1 views (SlowFast)",
            version=2,
            depth=24,
            stages=(2, 5, 21),
            drop_path=0.3,
        ),
        _variant(
            "mvit_v2_l",
            num_frames=40,
            stride=3,
            size=312,
            resize=312,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            sources=("slowfast", "mmaction2"),
            published="K400 86.1 / 97.0, 5×3 views (SlowFast)",
            version=2,
            dim=144,
            depth=48,
            heads=2,
            stages=(2, 8, 44),
            drop_path=0.75,
        ),
    )
} | {
    "mvit_tiny": Variant(
        MViT,
        tiny_spec("mvit_tiny", _V2, size=32, resize=(36,)),
        {"version": 2, "dim": 48, "depth": 4, "stages": (2,), "kv_stride": 2, "num_frames": 8, "size": 32},
    ),
}  # fmt: skip
