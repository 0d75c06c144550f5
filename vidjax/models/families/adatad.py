"""AdaTAD: VideoMAE with adapters over whole long clips, and ActionFormer on its features, trained end to end.

A clip of hundreds of frames is cut into chunks of 16, which the frozen encoder sees one by one, as a batch. Its
adapters are trained and see the chunks' tokens as one sequence in time. Tokens are averaged over the picture, resized
to a vector for each frame or every few frames, and go to ActionFormer with attention to all places.

On THUMOS14 a clip is a window of the video, on ActivityNet (`adatad_anet_*`) 768 frames spread over the whole video, in
which segments of any class are found; the classes are those of the video by another network.

Source: Liu et al., "End-to-end temporal action detection with 1B parameters across 1000 frames" (arXiv 2311.17241), and
sming256/OpenTAD, `opentad/models/backbones/vit_adapter.py` and `configs/adatad`. Its detector differs from
ActionFormer's own in norms outside of the blocks: another epsilon, and what follows them is masked. What the encoder
makes of frames that repeat the last one of a short video is not masked.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import by_field
from vidjax.models.base import named
from vidjax.models.families.actionformer import ActionFormer
from vidjax.models.families.videomae import SIZES, Block
from vidjax.models.pyramid import DOUBLING, TINY_RANGES, PyramidFeatures, Range, SegmentTraining
from vidjax.models.registry import Variant
from vidjax.nn.adapters import TemporalAdapter
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.clips import ClipError, need_clips
from vidjax.nn.grids import Grid
from vidjax.nn.masked_conv import NormRule
from vidjax.nn.positions import MODES, Table, sinusoid_positions
from vidjax.nn.vision_transformer import ClipSize, TransformerSize, VisionTransformer

PAPER = "https://arxiv.org/abs/2311.17241"
CHUNK = ClipSize(16)
# The source divides by a running number per process, with 100 and 200 at first and one and four clips.
THUMOS = SegmentTraining(positives=100.0)
# Parts of a block that do not change; adapters are trained.
_FROZEN = ("norm1.", "attn.", "norm2.", "mlp.")


class AdaptedBlock(nnx.Module):
    """VideoMAE's block, whose tokens then pass an adapter, if it has one, that sees all chunks of a clip."""

    def __init__(
        self, dim: int, heads: int, mlp: int | None, *, adapted: bool, drop_path: float, dtype: Any, rngs: nnx.Rngs
    ):
        self.block = Block(dim, heads, mlp=mlp, drop_path=drop_path, dtype=dtype, rngs=rngs)
        self.adapter = nnx.data(TemporalAdapter(dim, dim // 4, dtype=dtype, rngs=rngs) if adapted else None)

    def __call__(self, x: jax.Array, grid: Grid, chunks: int, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map the chunks' tokens `(B·chunks, N, D)`, each of the `grid`, to the same shape."""
        x = self.block(x, grid, rngs)
        return x if self.adapter is None else self.adapter(x, grid, chunks)


class AdaptedEncoder(VisionTransformer):
    """VideoMAE's trunk with adapters, over chunks of a clip.

    Args:
      size: width, depth and heads.
      mlp: features between the layers of a block's MLP; None: four times the width.
      unadapted: number of blocks, the first ones, without adapter.
      chunk: frames of a chunk, and the size of pictures for which the positions are made; those of other pictures are
        resized by a cubic rule.
      tubelet: frames, rows and columns of a token.
      drop_path: probability of dropping a residual branch in the last block; rises linearly from 0 in the first.
      execution: dtype, rematerialisation and scanning of the blocks.
      in_channels: C, channels of the frames.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        size: TransformerSize,
        chunk: ClipSize,
        tubelet: Grid,
        drop_path: float,
        execution: Execution,
        in_channels: int,
        *,
        mlp: int | None = None,
        unadapted: int = 0,
        rngs: nnx.Rngs,
    ):
        super().__init__(size.dim, tubelet, execution, clip=chunk, in_channels=in_channels, rngs=rngs)
        block = partial(AdaptedBlock, size.dim, size.heads, mlp, dtype=execution.dtype, rngs=rngs)
        self.blocks = stack(lambda i, rate: block(adapted=i >= unadapted, drop_path=rate), size.depth, drop_path)
        self.frames = chunk.num_frames

    def __call__(self, video: jax.Array, steps: int, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map clips `(B, T, H, W, C)`, T a multiple of a chunk, to vectors `(B, steps, D)`.

        As in the source, rows below and columns to the right that do not fill a tubelet are not seen.
        """
        _, down, across = self.patch_embed.tubelet
        batch, frames, height, width, channels = video.shape
        height, width, chunks = height // down * down, width // across * across, frames // self.frames
        video = video[:, :, :height, :width].reshape(batch * chunks, self.frames, height, width, channels)
        grid = self.patch_embed.grid(video)
        x = self.patch_embed(video)
        x = self.execution.run(self.blocks, x + self._places(grid, x)[None], grid, chunks, rngs=rngs)
        x = x.reshape(batch, chunks * grid[0], grid[1] * grid[2], -1).mean(axis=2, dtype=jnp.float32)
        return jnp.einsum("st,btd->bsd", jnp.asarray(MODES["linear"](x.shape[1], steps), x.dtype), x)

    def _places(self, grid: Grid, like: jax.Array) -> jax.Array:
        base, dim = self.table_grid, like.shape[-1]
        table = np.asarray(sinusoid_positions(base, dim, base))
        if grid != base:
            table = Table((0, 1, 2), "cubic").fit(table, (int(np.prod(grid)), dim), base, grid)
        return jnp.asarray(table, like.dtype)


class AdaTAD(ActionFormer):
    """VideoMAE with adapters, then ActionFormer; only adapters and detector are trained.

    Args:
      num_classes: K, number of classes.
      dim, depth, heads: size of the encoder.
      mlp: features between the layers of an MLP of the encoder; None: four times `dim`.
      unadapted: number of the encoder's blocks, the first ones, without adapter.
      reduction: frames per place of the first level, a divisor of the frames of clips.
      num_frames: frames of a chunk.
      size: height and width of the pictures that the positions are made for, pixels.
      tubelet: frames, rows and columns of a token.
      detector_dim: channels of the detector.
      detector_heads: attention heads of the detector.
      depths: convolutions and blocks of the detector, see `ActionFormer`.
      positions: length of the detector's table of absolute positions, in places; 0: none.
      ranges: distances per level, see `Pyramid`.
      drop_path: probability of dropping a branch: in the encoder's last block, and in all of the detector.
      matching, radius, label_smoothing, offset_weight, overlap_power, positives: options of training, see
        `SegmentTraining`.
      in_channels: C, channels of the frames.
      dtype: dtype of activations; None: float32. Parameters are float32.
      remat: rematerialisation policy of each block of the encoder, one of `REMAT`; the source recomputes all.
      scan_blocks: whether to loop over the encoder's blocks instead of compiling each.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the tubelet does not divide a chunk, or `ranges` are not one per level.
    """

    rule: ClassVar[NormRule] = NormRule(epsilon=1e-6, hides=True)

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize,
        mlp: int | None = None,
        unadapted: int = 0,
        reduction: int = 1,
        chunk: ClipSize = CHUNK,
        tubelet: Grid = (2, 16, 16),
        detector_dim: int = 512,
        detector_heads: int = 4,
        depths: tuple[int, int, int] = (2, 2, 5),
        positions: int = 0,
        ranges: Sequence[Range] = DOUBLING,
        drop_path: float = 0.1,
        training: SegmentTraining = THUMOS,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            num_classes, width=transformer.dim, dim=detector_dim, heads=detector_heads, depths=depths, windows=0,
            positions=positions, ranges=ranges, drop_path=drop_path, dtype=execution.dtype, rngs=rngs, **vars(training),
        )  # fmt: skip
        self.channels, self.reduction = in_channels, reduction
        self.encoder = AdaptedEncoder(
            transformer, chunk, tubelet, drop_path, execution, in_channels, mlp=mlp, unadapted=unadapted, rngs=rngs
        )
        blocks = [f"encoder.blocks.{i}.block.{part}" for i in range(transformer.depth) for part in _FROZEN]
        self.frozen = ("encoder.patch_embed.", *blocks)

    def taken(self, inputs: Any) -> Mapping[str, jax.Array]:
        """Select the clips and the mask of their frames, and check them.

        Args:
          inputs: clips `(B, T, H, W, C)`, or a mapping with them as "video" and, if they are padded, a mask of their
            frames, bool `(B, T)`, as "mask". T is a multiple of a chunk and of the frames per place of the last level.

        Raises:
          ClipError: for other shapes and lengths, and for integers.
        """
        if isinstance(inputs, Mapping) and "features" in inputs:  # selected before
            return inputs
        video = named(inputs, "video", type(self).__name__)
        need_clips(video, self.channels)
        step = int(np.lcm(self.encoder.frames, self.reduction * 2 ** (len(self.ranges) - 1)))
        if video.shape[1] % step:
            raise ClipError(
                f"video {video.shape}: give a multiple of {step} frames, whole chunks and places of all levels"
            )
        mask = inputs.get("mask") if isinstance(inputs, Mapping) else None
        mask = jnp.ones(video.shape[:2], bool) if mask is None else mask
        if mask.shape != video.shape[:2]:
            raise ClipError(f"mask {mask.shape}: expected {video.shape[:2]}, a value for each frame of the clips")
        return {"features": video, "mask": mask.astype(bool)}

    def pyramid(self, x: jax.Array, mask: jax.Array, rngs: nnx.Rngs | None) -> tuple[list[jax.Array], list[jax.Array]]:
        """Map clips `(B, T, H, W, C)` and the mask of their frames to levels `(B, T_l, C)` and their masks."""
        places = mask.reshape(len(mask), -1, self.reduction).all(axis=-1)
        return super().pyramid(self.encoder(x, places.shape[1], rngs), places, rngs)

    def encode(self, video: Any, rngs: nnx.Rngs | None = None) -> PyramidFeatures:
        """Compute the levels of clips `(B, T, H, W, C)`, see `taken`; pooled is the mean of the first level."""
        return super().encode(video, rngs)


def _variant(
    name: str,
    published: str,
    network: Mapping[str, Any],
    *,
    frames: int = 768,
    stride: int = 1,
    picture: int = 160,
    classes: int = 20,
) -> Variant:
    spec = Spec.of_video(
        name=name,
        num_frames=frames,
        stride=stride,
        size=picture,
        resize=(picture,),
        task="localise",
        num_classes=classes,
        paper=PAPER,
        sources=() if name.endswith("_tiny") else ("opentad", "videomae", "mmaction2"),
        published=published,
    )
    return Variant(AdaTAD, spec, dict(network))


def _thumos(name: str, size: str, mean: str, *, reduction: int = 1, unadapted: int = 0, picture: int = 160) -> Variant:
    """Windows of 768 places, each of which stands for four frames of the video."""
    return _variant(
        f"adatad_{name}",
        f"THUMOS14 mAP {mean}, 0.3:0.7 (OpenTAD)",
        {**SIZES[size], "reduction": reduction, "unadapted": unadapted},
        frames=768 * reduction,
        stride=4 // reduction,
        picture=picture,
    )


_ANET = {
    "reduction": 4, "positions": 192, "label_smoothing": 0.1, "positives": 200 / 4,
    "detector_dim": 256, "offset_weight": 2.0,
}  # fmt: skip


def _anet(name: str, size: str, mean: str, *, picture: int = 160, classes: int = 1, **changes: Any) -> Variant:
    """768 frames of the whole video, four per place; one class, whatever acts, unless the network knows them."""
    return _variant(
        f"adatad_anet_{name}",
        f"ActivityNet 1.3 mAP {mean}, 0.5:0.95{', classes by CUHK' if classes == 1 else ''} (OpenTAD)",
        {**SIZES[size], **_ANET, **changes},
        picture=picture,
        classes=classes,
    )


_TINY = {
    "dim": 16, "depth": 2, "heads": 2, "num_frames": 8, "size": 16, "tubelet": (2, 8, 8), "detector_dim": 16,
    "detector_heads": 2, "depths": (1, 1, 3), "ranges": TINY_RANGES, "positives": 10.0,
}  # fmt: skip
_OWN_CLASSES = {"classes": 200, "detector_dim": 512, "offset_weight": 1.0}

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _thumos("videomae_small", "small", "69.03"),
        _thumos("videomae_base", "base", "71.14"),
        _thumos("videomae_large", "large", "73.51"),
        _thumos("videomae_huge", "huge", "74.95"),
        _thumos("videomaev2_giant", "giant", "75.06"),
        _thumos("videomaev2_giant_224", "giant", "77.07", reduction=2, unadapted=20, picture=224),
        _anet("videomae_small", "small", "37.81"),
        _anet("videomae_base", "base", "38.35"),
        _anet("videomae_large", "large", "39.21"),
        _anet("videomae_huge", "huge", "39.31"),
        _anet("videomaev2_giant", "giant", "39.77"),
        _anet("videomaev2_giant_224", "giant", "39.86", unadapted=20, picture=224),
        _anet("videomae_large_224", "large", "39.15", picture=224, **_OWN_CLASSES),
        _variant("adatad_tiny", "", _TINY, frames=64, picture=16),
    )
}
