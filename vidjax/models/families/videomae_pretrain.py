"""VideoMAE's pre-training: most of a video is hidden, and the network predicts the hidden pixels from the rest.

Tubes are hidden: the same places of the picture at all times, so that nothing can be copied from the previous frame.
Single tokens and whole frames, the paper's comparisons, can be hidden instead. The encoder processes only the visible
tokens, a tenth of them, which makes pre-training cheap; a light decoder processes those and a learned token in every
hidden place. Encoder and patch embedding have the paths of the classifier in `videomae.py`, which loads them with
`config.model.init_from`.

Source: Tong et al., "VideoMAE: masked autoencoders are data-efficient learners for self-supervised video pre-training"
(arXiv 2203.12602); layers, masks and targets are those of `modeling_pretrain.py`, `masking_generator.py` and
`engine_for_pretraining.py` in MCG-NJU/VideoMAE. transformers' `VideoMAEForPreTraining` differs in this: layer norms
have an epsilon of 1e-12 in the blocks and of 1e-5 before the decoder's head (here 1e-6 throughout, without effect on
predictions); the encoder's last norm exists only with `use_mean_pooling=False` (as in every published checkpoint), see
`encoder_norm`; the caller passes the masks. Its targets are the same for RGB; for other numbers of channels they are
the normalised input itself.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.families.videomae import CLIP, PAPER, SIZES, TINY_SPEC, Encoder, block_stack
from vidjax.models.registry import Variant
from vidjax.nn.blocks import Execution
from vidjax.nn.grids import Grid, triple_of
from vidjax.nn.init import normal_002, uniform, uniform_fan_in
from vidjax.nn.norm import LAYER_NORM_EPSILON
from vidjax.nn.patches import from_patches, to_patches
from vidjax.nn.vision_transformer import ClipSize, TransformerSize

# Unit of tokens hidden together, and the axes of the grid of tokens over which it is drawn.
MASKING = {"tube": (1, 2), "token": (0, 1, 2), "frame": (0,)}


def _xavier_uniform(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
    return uniform(key, shape, math.sqrt(6 / sum(shape))).astype(dtype)


@dataclass(frozen=True, kw_only=True)
class DecoderSize:
    """Size of the decoder.

    Attributes:
      decoder_dim: features of a token.
      decoder_depth: number of blocks. The constructors of the reference have 8, its published runs 4 (small, base) and
        12 (large, huge).
      decoder_heads: attention heads per block; divides `decoder_dim`.
    """

    decoder_dim: int
    decoder_depth: int = 4
    decoder_heads: int


@dataclass(frozen=True)
class Masking:
    """Choice of the hidden tokens.

    Attributes:
      mask_ratio: share of hidden tokens, rounded down to whole tubes, tokens or frames; the paper has 0.9, 0.75 for
        UCF-101.
      masking: unit hidden together: a "tube", the same place of the picture at all times; a "token", drawn for
        every place and time; a "frame" of tokens. The paper (table 1) found tubes best on real videos, where little
        moves; masked autoencoders of Feichtenhofer et al. (arXiv 2205.09113) hide tokens.

    Raises:
      ValueError: for an unknown `masking`.
    """

    mask_ratio: float = 0.9
    masking: str = "tube"

    def __post_init__(self) -> None:
        if self.masking not in MASKING:
            raise ValueError(f"masking = {self.masking!r}: must be one of {', '.join(MASKING)}")

    def units(self, grid: Grid) -> int:
        """Number of units (tubes, tokens or frames) in a `grid`."""
        return math.prod(grid[axis] for axis in MASKING[self.masking])

    def hidden_units(self, grid: Grid) -> int:
        """Number of hidden units in a `grid`.

        Raises:
          ValueError: if that is none or all of them.
        """
        units = self.units(grid)
        hidden = int(self.mask_ratio * units + 1e-9)
        if not 0 < hidden < units:
            raise ValueError(
                f"mask_ratio = {self.mask_ratio} hides {hidden} of {units} {self.masking}s; some must be hidden and "
                "some visible"
            )
        return hidden

    def draw(self, key: jax.Array, grid: Grid) -> jax.Array:
        """Draw the mask of one clip, bool `(N,)`, True where a token is hidden."""
        drawn = [size if axis in MASKING[self.masking] else 1 for axis, size in enumerate(grid)]
        order = jnp.argsort(jax.random.uniform(key, (self.units(grid),)))
        flags = jnp.zeros(self.units(grid), bool).at[order[: self.hidden_units(grid)]].set(True)
        return jnp.broadcast_to(flags.reshape(drawn), grid).reshape(-1)


class Decoder(nnx.Module):
    """Decoder: blocks over all tokens, then norm and head for the pixels of the last ones.

    Args:
      size: width, depth and heads.
      pixels: number of values to predict per token.
      execution: dtype, rematerialisation and scanning of the blocks.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(self, size: TransformerSize, pixels: int, execution: Execution, *, rngs: nnx.Rngs):
        self.execution = execution
        self.blocks = block_stack(size, 0.0, _xavier_uniform, execution, rngs)
        self.norm = nnx.LayerNorm(size.dim, epsilon=LAYER_NORM_EPSILON, dtype=execution.dtype, rngs=rngs)
        self.head = nnx.Linear(size.dim, pixels, kernel_init=_xavier_uniform, dtype=execution.dtype, rngs=rngs)

    def __call__(self, x: jax.Array, hidden: int) -> jax.Array:
        """Map tokens `(B, N, D)`, the hidden ones last, to float32 `(B, hidden, pixels)`."""
        x = self.execution.run(self.blocks, x)
        return self.head(self.norm(x[:, x.shape[1] - hidden :])).astype(jnp.float32)


class VideoMAEPretrain(Encoder, VideoNetwork):
    """Masked autoencoder of videos.

    Args:
      num_classes: unused; there is no classifier.
      dim, depth, heads: size of the encoder, as in the classifier.
      decoder_dim, decoder_depth, decoder_heads: size of the decoder. The constructors of the reference have 8 blocks,
        its published runs 4 (small, base) and 12 (large, huge).
      num_frames, size, tubelet, positions: clips, tokens and positions, as in the classifier.
      mask_ratio: share of hidden tokens, rounded down to whole tubes, tokens or frames; the paper has 0.9, 0.75 for
        UCF-101.
      masking: unit hidden together: a "tube", the same place of the picture at all times; a "token", drawn for
        every place and time; a "frame" of tokens. The paper (table 1) found tubes best on real videos, where little
        moves; masked autoencoders of Feichtenhofer et al. (arXiv 2205.09113) hide tokens.
      normalise_targets: whether to predict pixels less their tubelet's mean, divided by its standard deviation, per
        channel; otherwise pixels in 0…1.
      encoder_norm: whether a layer norm follows the encoder.
      drop_path: drop path probability of the encoder's last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      dtype: dtype of activations; parameters, norm statistics and softmax stay float32.
      remat: rematerialisation policy of each block, one of `REMAT`, see `nn/remat.py`.
      scan_blocks: whether to loop over blocks of equal structure instead of compiling each, see `nn/blocks.py`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if heads do not divide their dim or the tubelet the size, or if no token would be hidden or visible;
        for unknown positions or masking.
    """

    @by_field
    def __init__(
        self,
        num_classes: int = 0,
        *,
        transformer: TransformerSize,
        decoder: DecoderSize,
        clip: ClipSize = CLIP,
        tubelet: Grid = (2, 16, 16),
        positions: str = "index",
        masks: Masking,
        normalise_targets: bool = True,
        encoder_norm: bool = True,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        del num_classes
        super().__init__(
            transformer, clip, tubelet, positions, drop_path, execution, in_channels,
            embedding_init=uniform_fan_in, kernel_init=_xavier_uniform, rngs=rngs,
        )  # fmt: skip
        dim, dtype = transformer.dim, execution.dtype
        self.widths = Widths(dim, dim, {tubelet[1]: dim})
        self.masks, self.normalise_targets = masks, normalise_targets
        self.num_hidden(self.table_grid)
        self.norm = (
            nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs) if encoder_norm else nnx.data(None)
        )
        size = TransformerSize(decoder.decoder_dim, decoder.decoder_depth, decoder.decoder_heads)
        self.encoder_to_decoder = nnx.Linear(
            dim, size.dim, use_bias=False, kernel_init=uniform_fan_in, dtype=dtype, rngs=rngs
        )
        self.mask_token = nnx.Param(normal_002(rngs.params(), (1, 1, size.dim)))
        self.decoder = Decoder(size, in_channels * math.prod(tubelet), execution, rngs=rngs)

    def num_hidden(self, grid: Grid) -> int:
        """Number of hidden tokens in a `grid`.

        Raises:
          ValueError: if that is none or all of them.
        """
        return math.prod(grid) // self.masks.units(grid) * self.masks.hidden_units(grid)

    def draw_masks(self, keys: jax.Array, grid: Grid) -> jax.Array:
        """Draw masks, bool `(B, N)`, True where a token is hidden: whole tubes, tokens or frames, by `masking`.

        Args:
          keys: random keys `(B,)`, one per clip.
          grid: tokens along T, H and W.
        """
        return jax.vmap(lambda key: self.masks.draw(key, grid))(keys)

    def __call__(self, video: jax.Array, mask: jax.Array | None = None, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Predict the pixels of the hidden tokens, float32 `(B, hidden, t·h·w·C)`, in the order of the tokens.

        Args:
          video: `(B, T, H, W, C)` normalised float clips.
          mask: mask, bool `(B, N)`, True where a token is hidden, `num_hidden` of them in every clip; None: masks of
            `draw_masks` from the keys 0, 1, ….
          rngs: random streams; `dropout` is used for drop path in training mode.

        Raises:
          ValueError: if the tubelet does not divide the video, or the mask has another shape or number of tokens.
        """
        grid = self.patch_embed.grid(video)
        if mask is None:
            mask = self.draw_masks(jax.vmap(jax.random.key)(jnp.arange(video.shape[0])), grid)
        visible, hidden = self._split(mask, grid, len(video))
        x = self.encoder_to_decoder(self._encode_visible(video, grid, visible, rngs))
        places = self.places(grid, x)
        hidden_tokens = self.mask_token[...].astype(x.dtype) + places[hidden]
        x = jnp.concatenate([x + places[visible], hidden_tokens], axis=1)
        return self.decoder(x, hidden.shape[1])

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)` without masks: return the encoder's tokens, and their mean.

        Raises:
          ValueError: if the tubelet does not divide the video, naming the sizes.
        """
        x, grid = self.encoded(video, rngs)
        x = self._normed(x)
        return Features(x.mean(axis=1, dtype=jnp.float32), x, grid, self.patch_map(x, grid))

    def targets(self, pixels: jax.Array, mask: jax.Array) -> jax.Array:
        """Compute the targets of the prediction, float32 `(B, hidden, t·h·w·C)`, in the order of the tokens.

        Args:
          pixels: videos `(B, T, H, W, C)`, in 0…1.
          mask: mask, bool `(B, N)`, as for `__call__`.
        """
        tubelets = to_patches(pixels.astype(jnp.float32), self.patch_embed.tubelet)
        grid = triple_of(n // p for n, p in zip(pixels.shape[1:4], self.patch_embed.tubelet, strict=True))
        hidden = self._split(mask, grid, len(pixels))[1]
        hidden = jnp.take_along_axis(tubelets, hidden[..., None], axis=1)
        if not self.normalise_targets:
            return hidden
        centred, _, deviation = _statistics(hidden, pixels.shape[-1])
        return (centred / deviation).reshape(hidden.shape)

    def pictures(self, pixels: jax.Array, predicted: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Make videos to look at, `(masked, reconstructed)`, float32 `(B, T, H, W, C)` in 0…1.

        Hidden pixels are grey in the first and predicted in the second. A normalised prediction lacks its tubelet's
        mean and standard deviation: they are taken from the original, as in the reference's pictures.

        Args:
          pixels: videos `(B, T, H, W, C)`, in 0…1.
          predicted: outputs of the network.
          mask: mask, bool `(B, N)`.
        """
        tubelet = self.patch_embed.tubelet
        grid = triple_of(n // p for n, p in zip(pixels.shape[1:4], tubelet, strict=True))
        tubelets = to_patches(pixels.astype(jnp.float32), tubelet)
        hidden = self._split(mask, grid, len(pixels))[1]
        if self.normalise_targets:
            channels = pixels.shape[-1]
            _, mean, deviation = _statistics(jnp.take_along_axis(tubelets, hidden[..., None], axis=1), channels)
            predicted = (_by_channel(predicted, channels) * deviation + mean).reshape(predicted.shape)
        masked = jnp.where(mask[..., None], 0.5, tubelets)
        whole = tubelets.at[jnp.arange(len(pixels))[:, None], hidden].set(predicted)
        masked, reconstructed = (from_patches(jnp.clip(x, 0, 1), tubelet, grid) for x in (masked, whole))
        return masked, reconstructed

    def _split(self, mask: jax.Array, grid: Grid, batch: int) -> tuple[jax.Array, jax.Array]:
        """Indices of the visible and of the hidden tokens, int32 `(B, …)`, each in rising order."""
        count, tokens = self.num_hidden(grid), math.prod(grid)
        known = not isinstance(mask, jax.core.Tracer)
        if mask.shape != (batch, tokens) or (known and not (np.asarray(mask).sum(axis=1) == count).all()):
            raise ValueError(
                f"mask {mask.shape}: must be ({batch}, {tokens}) with {count} hidden tokens in every clip "
                f"(mask_ratio = {self.masks.mask_ratio})"
            )
        order = jnp.argsort(mask, axis=1, stable=True)
        return order[:, : tokens - count], order[:, tokens - count :]

    def _encode_visible(self, video: jax.Array, grid: Grid, visible: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        """Encode the tokens of the places `visible` `(B, n)`, which attend to no others: `(B, n, D)`."""
        patches = to_patches(video.astype(self.execution.dtype or video.dtype), self.patch_embed.tubelet)
        x = self.patch_embed.project(jnp.take_along_axis(patches, visible[..., None], axis=1))
        x = x + self.places(grid, x)[visible]
        return self._normed(self.execution.run(self.blocks, x, grid, rngs=rngs))

    def _normed(self, x: jax.Array) -> jax.Array:
        return x if self.norm is None else self.norm(x)


def _by_channel(tubelets: jax.Array, channels: int) -> jax.Array:
    return tubelets.reshape(*tubelets.shape[:-1], -1, channels)


def _statistics(tubelets: jax.Array, channels: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pixels less their mean `(B, n, p, C)`, mean and standard deviation `(B, n, 1, C)` of each tubelet's C channels.

    The variance is unbiased, and 1e-6 keeps plain tubelets finite, as in the reference. Differences to a tubelet's
    first pixel are used: a plain tubelet is then 0 throughout, where the rounding of a mean would be amplified.
    """
    values = _by_channel(tubelets, channels)
    first = values[..., :1, :]
    mean = (values - first).mean(axis=-2, keepdims=True)
    centred = values - first - mean
    deviation = jnp.sqrt(jnp.square(centred).sum(axis=-2, keepdims=True) / (values.shape[-2] - 1)) + 1e-6
    return centred, first + mean, deviation


def _variant(size: str, **kwargs: Any) -> Variant:
    spec = Spec.of_video(
        name=f"videomae_{size}_pretrain",
        num_frames=16,
        stride=4,
        size=224,
        resize=(256,),
        task="reconstruct",
        num_classes=0,
        paper=PAPER,
        sources=("videomae", "transformers"),
    )
    if size == "tiny":
        spec = dataclasses.replace(TINY_SPEC, name=spec.name, task=spec.task, num_classes=0)
    return Variant(VideoMAEPretrain, spec, {**SIZES[size], **kwargs})


VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("tiny", decoder_dim=64, decoder_depth=2, decoder_heads=4),
        _variant("small", decoder_dim=192, decoder_depth=4, decoder_heads=3),
        _variant("base", decoder_dim=384, decoder_depth=4, decoder_heads=6),
        _variant("large", decoder_dim=512, decoder_depth=12, decoder_heads=8),
        _variant("huge", decoder_dim=640, decoder_depth=12, decoder_heads=8),
    )
}
