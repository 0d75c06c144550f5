"""ViViT: a Vision Transformer over tubelets, with four factorisations of space-time attention.

In model 1, every token attends to every other. Model 2 (`fe`) encodes each frame of tubelets by itself, and then their
sequence; model 3 (`fsa`) attends over space and then over time in each block; model 4 (`fdp`) uses half of the heads
for each of the two.

Source: Arnab et al., "ViViT: a video vision Transformer" (arXiv 2103.15691), and google-research/scenic,
`projects/vivit/model.py` and its configs, with the same layers, epsilons and initial weights; transformers has the
same model 1. In model 3 the order is the paper's, space first (scenic's default is time first). The paper starts all
weights of the layer in time at 0; here only its last projection starts so, as otherwise no gradient would reach it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.attention import SelfAttention
from vidjax.nn.attention_patterns import pattern
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.droppath import DropPath
from vidjax.nn.grids import Grid, triple_of
from vidjax.nn.init import whole_normal_002
from vidjax.nn.mlp import Mlp
from vidjax.nn.norm import LAYER_NORM_EPSILON
from vidjax.nn.positions import Table, aligned
from vidjax.nn.vision_transformer import (
    BASE,
    LARGE,
    TINY,
    ClipSize,
    TransformerSize,
    VisionTransformer,
    grid_tokens,
)

# Xavier's uniform limits for square matrices; queries, keys and values are three of these side by side.
XAVIER_SQUARE = nnx.initializers.variance_scaling(1.0, "fan_in", "uniform")
XAVIER = nnx.initializers.xavier_uniform()
LECUN = nnx.initializers.lecun_normal()
ZEROS = nnx.initializers.zeros_init()
CLIP = ClipSize(32)


def central_frame(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Initialise a kernel `(t, h, w, C, D)` that reads only the middle frame of a tubelet, frame ⌊t/2⌋."""
    middle = jnp.arange(shape[0]) == shape[0] // 2
    return LECUN(key, shape, dtype) * middle.astype(dtype)[:, None, None, None, None]


def same_frames(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Initialise a kernel `(t, h, w, C, D)` that treats all frames of a tubelet alike."""
    return jnp.broadcast_to(LECUN(key, shape, dtype)[:1], shape)


# name: initialiser of the kernel, and rule by which an image network's kernel is inflated.
EMBEDDINGS = {"central": (central_frame, "central"), "average": (same_frames, "average"), "uniform": (LECUN, "")}


class Block(nnx.Module):
    """Pre-norm Transformer block; `fsa` has a second attention layer, over time, between the first and the MLP."""

    def __init__(self, dim: int, heads: int, kind: str, *, drop_path: float = 0.0, dtype: Any = None, rngs: nnx.Rngs):
        self.kind = kind
        norm = {"epsilon": LAYER_NORM_EPSILON, "dtype": dtype, "rngs": rngs}
        attention = {"kernel_init": XAVIER_SQUARE, "dtype": dtype, "rngs": rngs}
        self.norm1 = nnx.LayerNorm(dim, **norm)
        self.attn = SelfAttention(dim, heads, **attention)
        self.temporal_norm = self.temporal_attn = nnx.data(None)
        if kind == "fsa":
            self.temporal_norm = nnx.LayerNorm(dim, **norm)
            self.temporal_attn = SelfAttention(dim, heads, **attention)
            self.temporal_attn.proj.kernel[...] = jnp.zeros((dim, dim))
        self.norm2 = nnx.LayerNorm(dim, **norm)
        # The tanh approximation of the GELU, Flax's default.
        self.mlp = Mlp(dim, 4 * dim, activation=nnx.gelu, kernel_init=XAVIER, dtype=dtype, rngs=rngs)
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: jax.Array, grid: Grid, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map `(B, N, D)` to the same shape; class tokens may precede the grid's tokens in `joint` blocks."""
        name = {"joint": "joint", "fsa": "space", "fdp": "factorised"}[self.kind]
        prefix = x.shape[1] - int(np.prod(grid))
        x = x + self.drop_path(self.attn(self.norm1(x), attend=pattern(name, grid, prefix)), rngs)
        if self.temporal_norm is not None and self.temporal_attn is not None:
            attend = pattern("time", grid, prefix)
            x = x + self.drop_path(self.temporal_attn(self.temporal_norm(x), attend=attend), rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs)


class _Classifier(VisionTransformer, VideoNetwork):
    """Common base of the four models: the embedding of tubelets, and the classifier on `features`.

    Attributes besides the trunk's: `inflation`, rule by which an image network's kernel is inflated; `dropout`; `head`.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        clip: ClipSize,
        tubelet: Grid,
        embedding: str,
        dropout: float,
        in_channels: int,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        if embedding not in EMBEDDINGS:
            raise ValueError(f"embedding = {embedding!r}: must be one of {', '.join(map(repr, EMBEDDINGS))}")
        kernel_init, self.inflation = EMBEDDINGS[embedding]
        self.widths = Widths(dim, dim, {tubelet[1]: dim})
        self.sampled = embedding == "uniform"
        self.tubelet = triple_of(tubelet)
        kernel = (1, *self.tubelet[1:]) if self.sampled else self.tubelet
        super().__init__(dim, kernel, execution, clip=clip, in_channels=in_channels, kernel_init=kernel_init, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(dim, num_classes, kernel_init=ZEROS, rngs=rngs)

    def sample(self, video: jax.Array) -> jax.Array:
        """Sample evenly spread frames, one per tubelet, if `embedding="uniform"`; else return the video itself.

        Raises:
          ValueError: if the length is no multiple of the tubelet's.
        """
        step, frames = self.tubelet[0], video.shape[1]
        if not self.sampled or step == 1:
            return video
        if frames % step:
            raise ValueError(f"video of {frames} frames: choose num_frames as a multiple of {step}")
        count = frames // step
        return video[:, np.round(np.arange(1, count + 1) * frames / (count + 1)).astype(int)]

    def block_stack(self, size: TransformerSize, kind: str, drop_path: float, rngs: nnx.Rngs) -> nnx.List:
        """Make `size.depth` blocks of a kind: "joint", "fsa" or "fdp"."""

        def block(_: int, rate: float) -> Block:
            return Block(size.dim, size.heads, kind, drop_path=rate, dtype=self.execution.dtype, rngs=rngs)

        return stack(block, size.depth, drop_path)


class ViViT(_Classifier):
    """Models 1, 3 and 4: one sequence of all tokens.

    Videos may have another length or size than `num_frames` and `size`, if the tubelet divides them: the positions are
    then interpolated linearly along T, H and W with aligned ends (scenic's rule for images).

    Args:
      num_classes: K, number of classes.
      attention: scheme of attention: `"joint"` (model 1, with a class token), `"fsa"` (3) or `"fdp"` (4), which average
        all tokens.
      dim: D, features of a token.
      depth: number of blocks.
      heads: attention heads; divides `dim`.
      num_frames: T, frames of the clips for which the position table is made.
      size: height and width of the clips for which the position table is made, pixels.
      tubelet: frames, rows and columns of a token.
      embedding: kind of tokens. `"central"`: tubelets, with a kernel that starts on the middle frame; `"average"`:
        tubelets, with a kernel that starts equal on all frames; image networks' kernels are inflated likewise.
        `"uniform"`: patches of one frame per tubelet.
      dropout: dropout probability before the classifier.
      drop_path: probability of dropping a residual branch in the last block; rises linearly from 0 in the first.
      dtype: dtype of activations; parameters, norm statistics, softmax and classifier stay float32.
      remat: rematerialisation policy of each block, one of `REMAT`, see `nn/remat.py`.
      scan_blocks: whether to loop over blocks of equal structure instead of compiling each, see `nn/blocks.py`.
      in_channels: C, channels of the clips.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide `dim` or the tubelet the video, or for an unknown option.
    """

    positions: ClassVar[Mapping[str, Table]] = {"pos_embed": Table((0, 1, 2), "aligned")}

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize,
        attention: str = "joint",
        clip: ClipSize = CLIP,
        tubelet: Grid = (2, 16, 16),
        embedding: str = "central",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        if attention not in ("joint", "fsa", "fdp"):
            raise ValueError(f"attention = {attention!r}: must be one of 'joint', 'fsa', 'fdp'")
        dim = transformer.dim
        super().__init__(num_classes, dim, clip, tubelet, embedding, dropout, in_channels, execution, rngs)
        self.cls_token = nnx.Param(jnp.zeros((1, 1, dim))) if attention == "joint" else nnx.data(None)
        tokens = int(np.prod(self.table_grid)) + (attention == "joint")
        self.pos_embed = nnx.Param(whole_normal_002(rngs.params(), (1, tokens, dim)))
        self.blocks = self.block_stack(transformer, attention, drop_path, rngs)
        self.norm = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, rngs=rngs)

    def placed(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Add positions to tokens `(B, N, D)` of `grid`; model 1 also prepends the class token."""
        return with_positions(x, self.cls_token, self.pos_embed[...], self.table_grid, grid)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: return the normalised tokens, float32, and the class token
        or their mean.

        Model 1's tokens begin with the class token.

        Raises:
          ValueError: if the tubelet does not divide the video, naming the sizes.
        """
        x, grid = self.encoded(video, rngs)
        tokens = self.norm(x.astype(jnp.float32))
        pooled = tokens.mean(axis=1) if self.cls_token is None else self.norm(x[:, 0].astype(jnp.float32))
        return Features(pooled, tokens, grid, self.patch_map(tokens, grid))


class FactorisedEncoder(_Classifier):
    """Model 2: an encoder of single frames of tubelets, then an encoder over time of one token per frame.

    Arguments and rules as for `ViViT`, and:

    Args:
      temporal_depth: number of blocks over time.
    """

    positions: ClassVar[Mapping[str, Table]] = {
        "pos_embed": Table((1, 2), "aligned"),
        "temporal_pos_embed": Table((0,), "aligned"),
    }

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize,
        temporal_depth: int,
        clip: ClipSize = CLIP,
        tubelet: Grid = (2, 16, 16),
        embedding: str = "central",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        dim = transformer.dim
        super().__init__(num_classes, dim, clip, tubelet, embedding, dropout, in_channels, execution, rngs)
        time, height, width = self.table_grid
        self.cls_token = nnx.Param(jnp.zeros((1, 1, dim)))
        self.pos_embed = nnx.Param(whole_normal_002(rngs.params(), (1, 1 + height * width, dim)))
        self.blocks = self.block_stack(transformer, "joint", drop_path, rngs)
        self.norm = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, rngs=rngs)
        self.temporal_cls_token = nnx.Param(jnp.zeros((1, 1, dim)))
        self.temporal_pos_embed = nnx.Param(whole_normal_002(rngs.params(), (1, 1 + time, dim)))
        over_time = dataclasses.replace(transformer, depth=temporal_depth)
        self.temporal_blocks = self.block_stack(over_time, "joint", drop_path, rngs)
        self.temporal_norm = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, rngs=rngs)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: return the normalised tokens over time, float32, and their
        class token.

        The tokens, `(B, 1 + T', D)`, are the class token over time and then one for each frame of tubelets. The map is
        of the tokens in space, normalised, before the encoder over time.

        Raises:
          ValueError: if the tubelet does not divide the video, naming the sizes.
        """
        places, x = self._encoded(video, rngs)
        time = x.shape[1] - 1
        pooled = self.temporal_norm(x[:, 0].astype(jnp.float32))
        tokens = self.temporal_norm(x.astype(jnp.float32))
        return Features(pooled, tokens, (time, 1, 1), {self.tubelet[1]: places})

    def placed(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Add positions to tokens `(B·T', N, D)` of single frames, and prepend the class token."""
        return with_positions(x, self.cls_token, self.pos_embed[...], (1, *self.table_grid[1:]), grid)

    def _encoded(self, video: jax.Array, rngs: nnx.Rngs | None) -> tuple[jax.Array, jax.Array]:
        """Map `(B, T, H, W, C)` to tokens of places `(B, T', h, w, D)`, and those over time `(B, 1 + T', D)`."""
        video = self.sample(video)
        t, h, w = self.patch_embed.grid(video)
        x = self.patch_embed(video)
        x = self.placed(x.reshape(-1, h * w, x.shape[2]), (1, h, w))
        x = self.execution.run(self.blocks, x, (1, h, w), rngs=rngs)
        places = grid_tokens(self.norm(x), (1, h, w)).reshape(-1, t, h, w, x.shape[2])
        x = self.norm(x[:, 0])
        x = x.reshape(-1, t, x.shape[1]).astype(self.execution.dtype or x.dtype)
        base = (self.table_grid[0], 1, 1)
        x = with_positions(x, self.temporal_cls_token, self.temporal_pos_embed[...], base, (t, 1, 1))
        return places, self.execution.run(self.temporal_blocks, x, (t, 1, 1), rngs=rngs)


def with_positions(x: jax.Array, token: nnx.Param | None, table: jax.Array, base: Grid, grid: Grid) -> jax.Array:
    """Prepend the class token, if any, to `(B, N, D)`, and add positions."""
    prefix = 0 if token is None else 1
    if grid != base:
        places = table[:, prefix:].reshape(*base, -1)
        for axis, (old, new) in enumerate(zip(base, grid, strict=True)):
            if old != new:
                places = jnp.moveaxis(jnp.tensordot(aligned(old, new), places, axes=(1, axis)), 0, axis)
        table = jnp.concatenate([table[:, :prefix], places.reshape(1, -1, table.shape[-1])], axis=1)
    if token is not None:
        first = jnp.broadcast_to(token[...].astype(x.dtype), (x.shape[0], 1, x.shape[2]))
        x = jnp.concatenate([first, x], axis=1)
    return x + table.astype(x.dtype)


_BASE, _LARGE = dataclasses.asdict(BASE), dataclasses.asdict(LARGE)
# Small networks for learning and tests.
_TINY = {**dataclasses.asdict(TINY), "num_frames": 8, "size": 32, "tubelet": (2, 8, 8)}
_IMAGES = ("vit_timm", "vit_torchvision")


def _variant(
    name: str, build: type[_Classifier], published: str, sources: tuple[str, ...] = _IMAGES, **kwargs
) -> Variant:
    spec = Spec.of_video(
        name=name,
        num_frames=32,
        stride=2,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        paper="https://arxiv.org/abs/2103.15691",
        sources=sources,
        published=published,
    )
    return Variant(build, spec, kwargs)


VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("vivit_base_16x2", ViViT, "K400 79.9, 4×3 views (Scenic)", ("transformers", *_IMAGES), **_BASE),
        _variant("vivit_base_16x2_fe", FactorisedEncoder, "K400 78.4, 4×3 views (Scenic)", **_BASE, temporal_depth=4),
        _variant(
            "vivit_large_16x2_fe", FactorisedEncoder, "K400 80.3, 4×3 views (Scenic)", **_LARGE, temporal_depth=24
        ),
        _variant("vivit_base_16x2_fsa", ViViT, "K400 77.4 (the paper's table 2)", **_BASE, attention="fsa"),
        _variant("vivit_large_16x2_fsa", ViViT, "", **_LARGE, attention="fsa"),
        _variant("vivit_base_16x2_fdp", ViViT, "K400 76.3 (the paper's table 2)", **_BASE, attention="fdp"),
        _variant("vivit_large_16x2_fdp", ViViT, "", **_LARGE, attention="fdp"),
    )
} | {
    name: Variant(build, tiny_spec(name, "https://arxiv.org/abs/2103.15691", size=32, resize=(36,)), _TINY | kwargs)
    for name, build, kwargs in (
        ("vivit_tiny", ViViT, {}),
        ("vivit_fe_tiny", FactorisedEncoder, {"depth": 3, "temporal_depth": 2}),
        ("vivit_fsa_tiny", ViViT, {"attention": "fsa"}),
        ("vivit_fdp_tiny", ViViT, {"attention": "fdp"}),
    )
}  # fmt: skip
