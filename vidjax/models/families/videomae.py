"""VideoMAE's classifier: a joint space-time Vision Transformer over tubelets.

Every token attends to every other in space and time. Positions are a fixed sinusoid over the token index; the mean of
all tokens is normalised and classified.

Source: Tong et al., "VideoMAE: masked autoencoders are data-efficient learners for self-supervised video pre-training"
(arXiv 2203.12602); the layers, their names and epsilons are those of `modeling_finetune.py` in MCG-NJU/VideoMAE.
VideoMAE V2 (Wang et al., arXiv 2303.16727; OpenGVLab/VideoMAEv2) has the same layers; its giant has patches of 14
pixels, 16 heads, and MLPs 48/11 as wide as its tokens.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant
from vidjax.nn.attention import SelfAttention
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.droppath import DropPath
from vidjax.nn.grids import Grid
from vidjax.nn.init import whole_normal_002
from vidjax.nn.mlp import Mlp
from vidjax.nn.norm import LAYER_NORM_EPSILON
from vidjax.nn.patches import TORCH_UNIFORM
from vidjax.nn.positions import fixed_positions
from vidjax.nn.vision_transformer import (
    BASE,
    HUGE,
    LARGE,
    SMALL,
    TINY,
    ClipSize,
    TransformerSize,
    VisionTransformer,
)

PAPER = "https://arxiv.org/abs/2203.12602"
PAPER_V2 = "https://arxiv.org/abs/2303.16727"
IMAGES = ("vit_timm", "vit_torchvision")
CLIP = ClipSize(16)


class Block(nnx.Module):
    """Pre-norm Transformer block: attention and MLP, each a residual branch with stochastic depth.

    All layer norms of the network have the same epsilon; transformers has 1e-12 in the blocks and 1e-5 at the end,
    without effect on the logits. The reference truncates its normal at ±2, a hundred standard deviations: never.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        mlp: int | None = None,
        drop_path: float = 0.0,
        kernel_init: nnx.Initializer = whole_normal_002,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.norm1 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.attn = SelfAttention(dim, heads, qkv_bias="qv", kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.norm2 = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)
        self.mlp = Mlp(dim, mlp or 4 * dim, kernel_init=kernel_init, dtype=dtype, rngs=rngs)
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: jax.Array, grid: Grid | None = None, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map tokens `(B, N, D)` of any places to the same shape; each attends to all, wherever in the `grid`."""
        x = x + self.drop_path(self.attn(self.norm1(x)), rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs)


class Encoder(VisionTransformer):
    """Trunk of the classifier and of the pre-training network: fixed positions, then blocks.

    Args:
      transformer: width, depth and heads.
      clip: size of the clips for which the positions are made.
      tubelet: frames, rows and columns of a token.
      positions: kind of positions, "index" or "axes", see `fixed_positions`.
      drop_path: probability of dropping a residual branch in the last block; rises linearly from 0 in the first.
      execution: dtype, rematerialisation and scanning of the blocks.
      in_channels: C, channels of the clips.
      mlp: features between the layers of a block's MLP; None: four times the width.
      position_mode: interpolation of the positions to clips of another size, see `fixed_positions`.
      embedding_init: initialiser of the embedding's kernel.
      kernel_init: initialiser of the blocks' kernels.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide the width or the tubelet the clip; for unknown positions.
    """

    position_kind: str | None

    def __init__(
        self,
        transformer: TransformerSize,
        clip: ClipSize,
        tubelet: Grid,
        positions: str,
        drop_path: float,
        execution: Execution,
        in_channels: int,
        *,
        mlp: int | None = None,
        position_mode: str = "linear",
        embedding_init: nnx.Initializer = TORCH_UNIFORM,
        kernel_init: nnx.Initializer = whole_normal_002,
        rngs: nnx.Rngs,
    ):
        fixed_positions(positions, position_mode)
        self.position_kind = positions
        self.position_mode = position_mode
        super().__init__(
            transformer.dim,
            tubelet,
            execution,
            clip=clip,
            in_channels=in_channels,
            kernel_init=embedding_init,
            rngs=rngs,
        )
        self.blocks = block_stack(transformer, drop_path, kernel_init, execution, rngs, mlp=mlp)

    def placed(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Add the sinusoid of their places to tokens `(B, N, D)` of `grid`."""
        return x + self.places(grid, x)[None]

    def places(self, grid: Grid, like: jax.Array) -> jax.Array:
        """Positions `(N, D)` of a `grid`, with the width and dtype of the tokens `like`."""
        assert self.position_kind is not None  # as built
        return jnp.asarray(
            fixed_positions(self.position_kind, self.position_mode)(grid, like.shape[-1], self.table_grid), like.dtype
        )


def block_stack(
    size: TransformerSize,
    drop_path: float,
    kernel_init: nnx.Initializer,
    execution: Execution,
    rngs: nnx.Rngs,
    mlp: int | None = None,
) -> nnx.List:
    """Make VideoMAE's blocks, of an encoder or of a decoder."""
    options = {"mlp": mlp, "kernel_init": kernel_init, "dtype": execution.dtype, "rngs": rngs}
    block = partial(Block, size.dim, size.heads, **options)
    return stack(lambda _, rate: block(drop_path=rate), size.depth, drop_path)


class VideoMAE(Encoder, VideoNetwork):
    """Joint space-time ViT classifier.

    Videos may have another length or size than `num_frames` and `size`, if the tubelet divides them: the positions are
    then interpolated from the grid of `num_frames` and `size` (`nn/positions.py`). A network that is trained from
    scratch at another size is best built with that size.

    Args:
      num_classes: K, number of classes.
      dim: D, features of a token.
      depth: number of blocks.
      heads: attention heads per block; divides `dim`.
      mlp: features between the layers of a block's MLP; None: four times `dim`.
      num_frames: T, frames of the clips for which the position table is made.
      size: height and width of the clips for which the position table is made, pixels.
      tubelet: frames, rows and columns of a token.
      positions: kind of positions: "index", the reference's sinusoid over the flat index of a token; "axes", one for
        time, row and column each, with which small networks learn faster, see `axis_positions`.
      position_mode: interpolation of "index" to clips of another size: "linear", or "cubic" as in mmaction2.
      normalised_tokens: whether the last norm is of every token, and the classifier reads their mean (mmaction2 with
        `use_mean_pooling=False`); if not, the norm is of the mean.
      dropout: dropout probability between the normalised mean and the classifier.
      drop_path: probability of dropping a residual branch in the last block; rises linearly from 0 in the first.
      head_init_scale: factor of the initial standard deviation 0.02 of the classifier's kernel; small, so that an
        untrained head sends no large gradients to a pre-trained encoder; the fine-tuning script's `init_scale`.
      in_channels: C, channels of the clips.
      dtype: dtype of activations; parameters, norm statistics, softmax and classifier stay float32.
      remat: rematerialisation policy of each block, one of `REMAT`, see `nn/remat.py`.
      scan_blocks: whether to loop over blocks of equal structure instead of compiling each, see `nn/blocks.py`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide `dim` or the tubelet the size; for unknown positions.
    """

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize,
        mlp: int | None = None,
        clip: ClipSize = CLIP,
        tubelet: Grid = (2, 16, 16),
        positions: str = "index",
        position_mode: str = "linear",
        normalised_tokens: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        head_init_scale: float = 0.001,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            transformer, clip, tubelet, positions, drop_path, execution, in_channels,
            mlp=mlp, position_mode=position_mode, rngs=rngs,
        )  # fmt: skip
        dim = transformer.dim
        self.widths = Widths(dim, dim, {tubelet[1]: dim})
        self.normalised_tokens = normalised_tokens
        self.fc_norm = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        head_init = nnx.initializers.normal(0.02 * head_init_scale)
        self.head = nnx.Linear(dim, num_classes, kernel_init=head_init, rngs=rngs)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: return the last block's tokens, and the normalised mean of
        them; or the normalised tokens, and the mean of them.

        Raises:
          ValueError: if the tubelet does not divide the video, naming the sizes.
        """
        x, grid = self.encoded(video, rngs)
        if self.normalised_tokens:
            x = self.fc_norm(x)
            pooled = x.mean(axis=1, dtype=jnp.float32)
        else:
            pooled = self.fc_norm(x.mean(axis=1, dtype=jnp.float32))
        return Features(pooled, x, grid, self.patch_map(x, grid))


def _variant(
    name: str, sources: tuple[str, ...], published: str, *, num_classes: int = 400, paper: str = PAPER, **kwargs: Any
) -> Variant:
    # The published Kinetics protocol: 16 frames, every 4th, short side 224 (run_class_finetuning.py's
    # short_side_size), ImageNet statistics, 5 clips × 3 crops.
    spec = Spec.of_video(
        name=name,
        num_frames=16,
        stride=4,
        size=224,
        resize=(224,),
        num_classes=num_classes,
        paper=paper,
        sources=sources,
        published=published,
    )
    return Variant(VideoMAE, spec, kwargs)


# Arguments by size, for classifiers and pre-training networks. The tiny one is for experiments on a CPU: 4×4×4 tokens
# of a clip of 8 frames of 32².
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {**dataclasses.asdict(TINY), "num_frames": 8, "size": 32, "tubelet": (2, 8, 8)},
    "small": dataclasses.asdict(SMALL),
    "base": dataclasses.asdict(BASE),
    "large": dataclasses.asdict(LARGE),
    "huge": dataclasses.asdict(HUGE),
    "giant": {"dim": 1408, "depth": 40, "heads": 16, "mlp": 6144, "tubelet": (2, 14, 14)},
}
TINY_SPEC = Spec.of_video("videomae_tiny", num_frames=8, stride=2, size=32, resize=(32,), num_classes=6, paper=PAPER)
_ALL = ("videomae", "transformers", "mmaction2", *IMAGES)
_HUGE = ("videomae", "transformers")  # no image ViT of this size has patches of 16 pixels
_V2 = ("videomae", "mmaction2")  # the second as converted by OpenTAD


def _variant_v2(name: str, size: str, published: str, num_classes: int = 400) -> Variant:
    published = f"{published}, 5×3 views (VideoMAEv2)"
    return _variant(name, _V2, published, num_classes=num_classes, paper=PAPER_V2, **SIZES[size])


VARIANTS = {
    variant.spec.name: variant
    for variant in (
        Variant(VideoMAE, TINY_SPEC, SIZES["tiny"]),
        _variant("videomae_small", _ALL, "K400 79.0 / 93.8, 5×3 views (VideoMAE)", **SIZES["small"]),
        _variant("videomae_base", _ALL, "K400 81.5 / 95.1, 5×3 views (VideoMAE)", **SIZES["base"]),
        _variant("videomae_large", _ALL, "K400 85.2 / 96.8, 5×3 views (VideoMAE)", **SIZES["large"]),
        _variant("videomae_huge", _HUGE, "K400 86.6 / 97.1, 5×3 views (VideoMAE)", **SIZES["huge"]),
        # Taught by the giant; the others are fine-tuned, that of Kinetics-400 after Kinetics-710.
        _variant_v2("videomaev2_small_k710", "small", "K710 77.6", 710),
        _variant_v2("videomaev2_base_k710", "base", "K710 81.5", 710),
        _variant_v2("videomaev2_giant_k710", "giant", "K710 83.8 / 96.4", 710),
        _variant_v2("videomaev2_giant", "giant", "K400 88.4 / 98.0"),
    )
}
