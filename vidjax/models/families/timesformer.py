"""TimeSformer: a Vision Transformer over the patches of all frames, with attention divided between time and space.

In a block of the published networks, each patch attends to its place in all frames first, and then to its frame. The
other schemes of the paper are included; `nn/attention_patterns.py` describes their patterns and costs.

Source: Bertasius et al., "Is space-time attention all you need for video understanding?" (arXiv 2102.05095), and
facebookresearch/TimeSformer, `timesformer/models/vit.py`, with the same layers, epsilons and initial weights. That
code has divided, joint and space-only attention; sparse and axial follow the paper (section 3), with the same rules
for the class token and for the steps before the last.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.attention import SelfAttention
from vidjax.nn.attention_patterns import block_steps, pattern
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.droppath import DropPath
from vidjax.nn.grids import Grid, triple_of
from vidjax.nn.init import whole_normal_002
from vidjax.nn.maps import flat_map
from vidjax.nn.mlp import Mlp
from vidjax.nn.norm import LAYER_NORM_EPSILON
from vidjax.nn.positions import Table, nearest
from vidjax.nn.remat import layer_result
from vidjax.nn.vision_transformer import (
    BASE,
    TINY,
    ClipSize,
    TransformerSize,
    VisionTransformer,
    grid_tokens,
)

# The reference truncates its normal at ±2, a hundred standard deviations: never.
ZEROS = nnx.initializers.zeros_init()
CLIP = ClipSize(8)


class EarlierStep(nnx.Module):
    """Attention among patches only, before a block's last step; `fc` starts at 0, and with it the whole branch.

    A network initialised from an image model thus starts as that model, frame by frame.
    """

    def __init__(self, dim: int, heads: int, *, dtype: Any = None, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.attn = SelfAttention(dim, heads, kernel_init=whole_normal_002, dtype=dtype, rngs=rngs)
        self.fc = nnx.Linear(dim, dim, kernel_init=ZEROS, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, name: str, grid: Grid) -> jax.Array:
        """Map patches `(B, N, D)` to the increments to add to them, `(B, N, D)`."""
        return layer_result(self.fc(self.attn(self.norm(x), attend=pattern(name, grid))))


class Block(nnx.Module):
    """Pre-norm Transformer block with one attention step or several, then the MLP, each a residual branch.

    The class token takes part in the last step: as a member of every group, it takes the mean of their results.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        steps: tuple[str, ...],
        *,
        drop_path: float = 0.0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.steps = steps
        self.earlier = nnx.List([EarlierStep(dim, heads, dtype=dtype, rngs=rngs) for _ in steps[:-1]])
        self.norm1 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.attn = SelfAttention(dim, heads, kernel_init=whole_normal_002, dtype=dtype, rngs=rngs)
        self.norm2 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, 4 * dim, kernel_init=whole_normal_002, dtype=dtype, rngs=rngs)
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: jax.Array, grid: Grid, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map tokens `(B, 1 + N, D)`, the class token first, to the same shape."""
        for name, step in zip(self.steps, self.earlier, strict=False):
            x = x.at[:, 1:].add(self.drop_path(step(x[:, 1:], name, grid), rngs))
        attend = pattern(self.steps[-1], grid, prefix=1)
        x = x + self.drop_path(self.attn(self.norm1(x), attend=attend), rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs)


class TimeSformer(VisionTransformer, VideoNetwork):
    """Vision Transformer over `(B, T, H, W, C)` clips with a class token.

    Videos may have another length or size than `num_frames` and `size`, if `patch` divides them: every place and frame
    then takes the positions of the nearest one in the tables, as in the reference.

    Drop path drops a branch for a whole clip (with space-only attention: a frame). The reference draws for every frame,
    and in time attention for every place.

    Args:
      num_classes: K, number of classes.
      attention: scheme of attention: `"divided"` (time, then space), `"joint"`, `"space"` (none between frames; their
        class tokens are averaged at the end), `"sparse"`, `"axial"` or `"alternating"`; see `nn/attention_patterns.py`.
      dim: D, features of a token.
      depth: number of blocks.
      heads: attention heads; divides `dim`.
      num_frames: T, frames of the clips for which the table of times is made.
      size: height and width of the clips for which the table of places is made, pixels.
      patch: rows and columns of a token.
      dropout: dropout probability between the normalised class token and the classifier.
      drop_path: probability of dropping a residual branch in the last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      dtype: dtype of activations; parameters, norm statistics, softmax and classifier stay float32.
      remat: rematerialisation policy of each block, one of `REMAT`, see `nn/remat.py`.
      scan_blocks: whether to loop over blocks of equal structure instead of compiling each, see `nn/blocks.py`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide `dim` or the patch the size, or for an unknown `attention`.
    """

    positions: ClassVar[Mapping[str, Table]] = {
        "pos_embed": Table((1, 2), "nearest"),
        "time_embed": Table((0,), "nearest"),
    }

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        attention: str = "divided",
        transformer: TransformerSize = BASE,
        clip: ClipSize = CLIP,
        patch: int = 16,
        dropout: float = 0.0,
        drop_path: float = 0.1,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        dim = transformer.dim
        self.attention = attention
        self.widths = Widths(dim, dim, {patch: dim})
        super().__init__(dim, (1, patch, patch), execution, clip=clip, in_channels=in_channels, rngs=rngs)
        time, height, width = self.table_grid
        self.cls_token = nnx.Param(whole_normal_002(rngs.params(), (1, 1, dim)))
        self.pos_embed = nnx.Param(whole_normal_002(rngs.params(), (1, 1 + height * width, dim)))
        self.time_embed = nnx.data(None) if attention == "space" else nnx.Param(jnp.zeros((1, time, dim)))

        def block(index: int, rate: float) -> Block:
            steps = block_steps(attention, index)
            return Block(dim, transformer.heads, steps, drop_path=rate, dtype=execution.dtype, rngs=rngs)

        self.blocks = stack(block, transformer.depth, drop_path)
        self.norm = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(dim, num_classes, kernel_init=whole_normal_002, rngs=rngs)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: return the normalised tokens, float32, and the normalised
        class token.

        The tokens are the class token, then the places of all frames. With space-only attention every frame has a class
        token; these precede the places, and their mean is normalised.

        Raises:
          ValueError: if the patch does not divide the video, naming the sizes.
        """
        batch, frames = video.shape[:2]
        if self.attention == "space":
            # Every frame is a clip of its own.
            video = video.reshape(-1, 1, *video.shape[2:])
        x, grid = self.encoded(video, rngs)
        pooled = self.norm(x[:, 0].reshape(batch, -1, x.shape[2]).mean(axis=1, dtype=jnp.float32))
        tokens = self.norm(x.astype(jnp.float32))
        places = grid_tokens(tokens, grid).reshape(batch, frames, *grid[1:], x.shape[2])
        tokens = jnp.concatenate([tokens[:, 0].reshape(batch, -1, x.shape[2]), flat_map(places)], axis=1)
        return Features(pooled, tokens, triple_of(places.shape[1:4]), {self.patch_embed.tubelet[1]: places})

    def placed(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Add positions to the patches `(B, N, D)` of `grid`, and prepend the class token."""
        first, patches = self._positions(grid)
        first = jnp.broadcast_to(first.astype(x.dtype), (x.shape[0], 1, x.shape[2]))
        return jnp.concatenate([first, x + patches.astype(x.dtype)], axis=1)

    def _positions(self, grid: Grid) -> tuple[jax.Array, jax.Array]:
        """Class token with its position, `(1, 1, D)`, and the patches' positions, `(1, N, D)`."""
        (t, h, w), (_, base_h, base_w) = grid, self.table_grid
        table = self.pos_embed[...]
        places = table[:, 1:].reshape(1, 1, base_h, base_w, -1)
        if (h, w) != (base_h, base_w):
            places = places[:, :, nearest(base_h, h)][:, :, :, nearest(base_w, w)]
        if self.time_embed is not None:
            frames = self.time_embed[...]
            if t != frames.shape[1]:
                frames = frames[:, nearest(frames.shape[1], t)]
            places = places + frames[:, :, None, None]
        return self.cls_token[...] + table[:, :1], places.reshape(1, t * h * w, -1)


_FORMATS = ("timesformer", "transformers", "mmaction2")
_IMAGES = ("vit_timm", "vit_torchvision")


def _variant(
    name: str,
    attention: str,
    published: str,
    *,
    num_frames: int = 8,
    stride: int = 32,
    size: int = 224,
    mean: float = 0.45,
    std: float = 0.225,
    sources: tuple[str, ...] = _FORMATS + _IMAGES,
) -> Variant:
    # The published protocol: one clip, short side and crop of one size, three crops.
    spec = Spec.of_video(
        name=name,
        num_frames=num_frames,
        stride=stride,
        size=size,
        resize=(size,),
        mean=(mean,) * 3,
        std=(std,) * 3,
        paper="https://arxiv.org/abs/2102.05095",
        sources=sources,
        published=f"K400 {published}",
    )
    return Variant(TimeSformer, spec, {"attention": attention, "num_frames": num_frames, "size": size})


VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("timesformer_base_divided", "divided", "77.9 / 93.2, 1×3 views (TimeSformer)"),
        _variant(
            "timesformer_base_divided_hr", "divided", "79.6 / 94.0, 1×3 views (TimeSformer)",
            num_frames=16, stride=16, size=448,
        ),
        _variant(
            "timesformer_base_divided_large", "divided", "80.6 / 94.7, 1×3 views (TimeSformer)",
            num_frames=96, stride=4,
        ),
        # The only published checkpoints of these two are mmaction2's, with its normalisation.
        _variant(
            "timesformer_base_joint", "joint", "76.95 / 93.28, 1×3 views (mmaction2)", mean=0.5, std=0.5,
        ),
        # An image ViT in timm's names is the same network: it is read as `timesformer`.
        _variant(
            "timesformer_base_space", "space", "76.93 / 92.88, 1×3 views (mmaction2)", mean=0.5, std=0.5,
            sources=(*_FORMATS, "vit_torchvision"),
        ),
        # No checkpoint of these was published.
        _variant("timesformer_base_sparse", "sparse", "75.9, 1×3 views (the paper's table 1)", sources=_IMAGES),
        _variant("timesformer_base_axial", "axial", "73.5, 1×3 views (the paper's table 1)", sources=_IMAGES),
    )
} | {
    "timesformer_tiny": Variant(
        TimeSformer,
        tiny_spec("timesformer_tiny", "https://arxiv.org/abs/2102.05095", size=32, resize=(36,)),
        {**dataclasses.asdict(TINY), "num_frames": 8, "size": 32, "patch": 8, "drop_path": 0.0},
    ),
}  # fmt: skip
