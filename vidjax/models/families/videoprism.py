"""VideoPrism: an encoder of frames, then of each place's frames in time; and its form beside a text Transformer (LvT).

- videoprism_*: the encoder, with a pooling by attention and a classifier, which are not published and start anew.
- videoprism_lvt_*: two more blocks over all tokens, a wider pooling, and a text Transformer, with vectors in one space.

Pixels are in 0…1, without mean and deviation.

Paper: Zhao et al., "VideoPrism: a foundational visual encoder for video understanding" (2402.13217). Reference code:
google-deepmind/videoprism `encoders.py`, `layers.py`; transformers `models/videoprism`, whose text positions differ.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import VideoInput
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.families.clip import clip_variant
from vidjax.models.registry import Variant, tiny_spec
from vidjax.models.text_transformer import ClassTokenTexts, TextSize
from vidjax.models.text_video import TextVideoNetwork, unit
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.capped_blocks import CappedBlock, QueryAttention
from vidjax.nn.grids import Grid
from vidjax.nn.init import normal_001
from vidjax.nn.norm import OffsetLayerNorm
from vidjax.nn.positions import Table
from vidjax.nn.vision_transformer import BASE, LARGE, ClipSize, TransformerSize, VisionTransformer

LECUN = nnx.initializers.lecun_normal()
_CLIP = ClipSize(16, 288)
_TEMPERATURE = 0.01  # of the repository's demonstration


class VideoPrism(VisionTransformer, VideoNetwork):
    """Factorised encoder, a pooling of all tokens by attention, and a classifier.

    Args:
      num_classes: K, number of classes.
      transformer: width, depth and heads of the blocks within frames, passed as the fields of `TransformerSize`.
      clip: clips that the tables of positions are made for, passed as the fields of `ClipSize`.
      temporal_depth: number of blocks over time.
      patch: rows and columns of a token.
      pool_features: features of the pooling, over all heads; 0: those of a token.
      dropout: dropout probability before the classifier.
      drop_path: drop path rate of the last block within frames; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      execution: dtype, rematerialisation and scanning of the blocks, passed as the fields of `Execution`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide the widths, or the patch the size.
    """

    positions: ClassVar[Mapping[str, Table]] = {
        "pos_embed": Table((1, 2), "antialiased"),
        "time_embed": Table((0,), "antialiased"),
    }

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize,
        clip: ClipSize = _CLIP,
        temporal_depth: int = 4,
        patch: int = 18,
        pool_features: int = 0,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        dim, heads, dtype = transformer.dim, transformer.heads, execution.dtype
        super().__init__(
            dim, (1, patch, patch), execution, clip=clip, in_channels=in_channels, kernel_init=LECUN, rngs=rngs
        )
        frames, rows, columns = self.table_grid
        self.pos_embed = nnx.Param(LECUN(rngs.params(), (rows * columns, dim))[None])
        self.time_embed = nnx.Param(LECUN(rngs.params(), (frames, dim))[None])

        def block(_: int, rate: float) -> CappedBlock:
            return CappedBlock(dim, heads, drop_path=rate, dtype=dtype, rngs=rngs)

        self.blocks = stack(block, transformer.depth, drop_path)
        self.norm = OffsetLayerNorm(dim)
        self.temporal_blocks = stack(block, temporal_depth, 0.0)
        self.temporal_norm = OffsetLayerNorm(dim)
        self.pool = QueryAttention(dim, heads, pool_features or dim, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(dim, num_classes, kernel_init=normal_001, rngs=rngs)
        self.widths = Widths(dim, dim, {patch: dim})

    def placed(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Patches of a clip `(B, T·H·W, D)` as tokens of its frames `(B·T, H·W, D)`, with positions.

        Raises:
          ValueError: if the tables are for another grid; names both.
        """
        if self.table_grid != grid:
            made, given = ("×".join(map(str, sides)) for sides in (self.table_grid, grid))
            raise ValueError(
                f"the positions are for {made} tokens, not {given}: build the network with num_frames and size"
            )
        return x.reshape(-1, grid[1] * grid[2], x.shape[-1]) + self.pos_embed[...].astype(x.dtype)

    def tokens_of(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> tuple[jax.Array, Grid]:
        """Normalised tokens of clips `(B, T, H, W, C)` after the blocks over time, `(B, N, D)`, and their grid."""
        x, grid = self.encoded(video, rngs)
        frames, places, dim = grid[0], grid[1] * grid[2], x.shape[-1]
        x = self.norm(x).reshape(-1, frames, places, dim).swapaxes(1, 2).reshape(-1, frames, dim)
        x = (x + self.time_embed[...]).astype(self.execution.dtype or jnp.float32)
        x = self.temporal_norm(self.execution.run(self.temporal_blocks, x, (frames, 1, 1), rngs=rngs))
        return x.reshape(-1, places, frames, dim).swapaxes(1, 2).reshape(-1, frames * places, dim), grid

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode float clips `(B, T, H, W, C)` of values in 0…1: `pooled` is the normalised answer of the pooling.

        Raises:
          ValueError: if the patch does not divide the frames, or the tables are for clips of another length or size.
        """
        tokens, grid = self.tokens_of(video, rngs)
        return Features(self.pool(tokens), tokens, grid, self.patch_map(tokens, grid))


class VideoPrismLvt(TextVideoNetwork, VideoPrism):
    """VideoPrism with further blocks over all tokens, and a text Transformer, with vectors in one space.

    Args:
      num_classes: not used: the network has no classifier.
      transformer: width, depth and heads of the blocks within frames, passed as the fields of `TransformerSize`; its
        width is also that of the vectors.
      clip: clips that the tables of positions are made for, passed as the fields of `ClipSize`.
      text: size of the text network, passed as the fields of `TextSize`; its width is that of `transformer`.
      temporal_depth: number of blocks over time.
      auxiliary_depth: number of blocks over all tokens.
      patch: rows and columns of a token.
      drop_path: drop path rate of the last block within frames; rises linearly from 0 in the first.
      biased: whether similarities have a bias, for the sigmoid loss of pairs.
      in_channels: C, channels of the clips.
      execution: dtype, rematerialisation and scanning of the blocks, passed as the fields of `Execution`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the texts have another width, or the heads do not divide the widths, or the patch the size.
    """

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize,
        clip: ClipSize = _CLIP,
        text: TextSize,
        temporal_depth: int = 4,
        auxiliary_depth: int = 2,
        patch: int = 18,
        drop_path: float = 0.0,
        biased: bool = False,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        del num_classes
        dim = transformer.dim
        if text.text_dim != dim:
            raise ValueError(f"text_dim = {text.text_dim}: must be dim = {dim}, as nothing is projected")
        options = {**vars(transformer), **vars(clip), **vars(execution)}
        super().__init__(
            1, temporal_depth=temporal_depth, patch=patch, pool_features=4 * dim, drop_path=drop_path,
            in_channels=in_channels, rngs=rngs, **options,
        )  # fmt: skip
        self.head = nnx.data(None)

        def block(_: int, rate: float) -> CappedBlock:
            return CappedBlock(dim, transformer.heads, drop_path=rate, dtype=execution.dtype, rngs=rngs)

        self.auxiliary_blocks = stack(block, auxiliary_depth, 0.0)
        kept = dataclasses.replace(execution, remat="" if execution.remat == "attention" else execution.remat)
        self.text = ClassTokenTexts(text, execution=kept, rngs=rngs)
        self.make_temperature(biased, _TEMPERATURE)

    def text_vectors(self, numbers: jax.Array) -> jax.Array:
        """Vectors of texts of any length, float32 `(N, E)`; see `TextVideoNetwork.text_vectors`."""
        return self.text(numbers)

    def encoded_video(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> tuple[jax.Array, jax.Array, Grid]:
        """Vectors of clips `(B, T, H, W, C)`, of any length, float32 `(B, E)`, the encoder's tokens and their grid."""
        tokens, grid = self.tokens_of(video, rngs)
        x = tokens.astype(self.execution.dtype or jnp.float32)
        return self.pool(self.execution.run(self.auxiliary_blocks, x, grid, rngs=rngs)), tokens, grid

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode float clips `(B, T, H, W, C)` of values in 0…1: `pooled` has length 1, tokens are the encoder's.

        Raises:
          ValueError: if the patch does not divide the frames, or the tables are for clips of another length or size.
        """
        vectors, tokens, grid = self.encoded_video(video, rngs)
        return Features(unit(vectors), tokens, grid, self.patch_map(tokens, grid))


_PAPER = "https://arxiv.org/abs/2402.13217"
_SOURCES = ("videoprism", "videoprism_transformers")
_PIXELS: dict[str, Any] = {"size": 288, "resize": (288, 288), "mean": (0.0,) * 3, "std": (1.0,) * 3}


def _encoder(name: str, size: TransformerSize, frames: int, published: str) -> Variant:
    facts = {"paper": _PAPER, "sources": _SOURCES, "published": published}
    spec = Spec.of_video(name=name, num_frames=frames, stride=4, **_PIXELS, **facts)
    return Variant(VideoPrism, spec, {**vars(size), "num_frames": frames, "size": 288})


def _lvt(name: str, size: TransformerSize, frames: int, published: str) -> Variant:
    text = {"vocabulary": 32000, "text_length": 64, "text_dim": size.dim, "text_depth": 12, "text_heads": size.heads}
    kwargs = {**vars(size), "num_frames": frames, "size": 288, **text}
    video = VideoInput(frames, fps=1.0, **_PIXELS)
    facts = {"paper": _PAPER, "sources": _SOURCES, "published": published}
    return clip_variant(name, VideoPrismLvt, kwargs, video, rules="videoprism", **facts)


_TINY = {"dim": 48, "depth": 2, "heads": 3, "patch": 16, "num_frames": 8, "size": 64, "temporal_depth": 2}
_TEXT = {"vocabulary": 512, "text_length": 32, "text_dim": 48, "text_depth": 2, "text_heads": 3, "auxiliary_depth": 1}

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _encoder("videoprism_base", BASE, 16, "frozen, K400 82.9, SSv2 62.2 (VideoPrism)"),
        _encoder("videoprism_large", LARGE, 8, "frozen, K400 85.0, SSv2 64.6 (VideoPrism)"),
        _lvt("videoprism_lvt_base", BASE, 16, "zero-shot K400 69.2, MSR-VTT 1k-A text to video R@1 50.1 (VideoPrism)"),
        _lvt("videoprism_lvt_large", LARGE, 8, "zero-shot K400 72.4, MSR-VTT 1k-A text to video R@1 50.1 (VideoPrism)"),
        Variant(VideoPrism, tiny_spec("videoprism_tiny", _PAPER), _TINY),
        clip_variant(
            "videoprism_lvt_tiny", VideoPrismLvt, {**_TINY, **_TEXT}, tiny_spec("videoprism_lvt_tiny", _PAPER).video,
            rules="videoprism", paper=_PAPER,
        ),
    )
}  # fmt: skip
