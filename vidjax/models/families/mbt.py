"""MBT: two Vision Transformers, of pictures and of sound, that exchange what they know through a few tokens.

Both are a ViT, over tubelets of the clip and over patches of the spectrogram. From the fusion layer on, each also
attends to the bottleneck tokens; each block gives its own version of these, and the next layer gets the mean. A clip
without sound has no second version: its pictures are encoded by themselves, with bottleneck tokens of their own.

Source: Nagrani et al., "Attention Bottlenecks for Multimodal Fusion" (arXiv 2107.00135), and google-research/scenic,
`projects/mbt/model.py`, with the same layers, epsilons and initial weights. Not here: fusion without bottlenecks and
encoders that share their weights.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import AudioInput
from vidjax.models.arguments import by_field
from vidjax.models.audio_visual import seen_and_heard, where_heard
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.families.vivit import CLIP, LECUN, ZEROS, Block, with_positions
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.clips import ClipError
from vidjax.nn.grids import Grid
from vidjax.nn.init import whole_normal_002
from vidjax.nn.norm import LAYER_NORM_EPSILON
from vidjax.nn.patches import TubeletEmbedding
from vidjax.nn.positions import Table
from vidjax.nn.vision_transformer import BASE, TINY, ClipSize, TransformerSize, VisionTransformer

CHANNELS = 3  # a spectrogram is seen as a picture of three equal colours


@dataclass(frozen=True)
class Fusion:
    """Exchange between the two Transformers.

    Attributes:
      fusion_layer: first block, counted from 0, that attends to the bottleneck tokens.
      bottlenecks: number of bottleneck tokens. Scenic has one more with class tokens than its config says.
      classifier: vector that is classified: "token", the mean of the two class tokens, or "gap", the mean of all tokens
        of both.

    Raises:
      ValueError: for another classifier, or no bottleneck tokens.
    """

    fusion_layer: int = 8
    bottlenecks: int = 4
    classifier: str = "gap"

    def __post_init__(self) -> None:
        if self.classifier not in ("token", "gap"):
            raise ValueError(f"classifier = {self.classifier!r}: must be 'token' or 'gap'")
        if self.bottlenecks < 1:
            raise ValueError(f"bottlenecks = {self.bottlenecks}: must be 1 or more")


@dataclass(frozen=True)
class SoundSize:
    """Size of the spectrograms that the table of positions is made for.

    Attributes:
      sound_frames: N, number of frames.
      bands: M, number of bands.
      patch: frames and bands of a token.
    """

    sound_frames: int = 800
    bands: int = 128
    patch: int = 16


class MBT(VisionTransformer, VideoNetwork):
    """Multimodal bottleneck Transformer. It takes clips as "video", spectrograms (B, N, M) as "audio", and "heard".

    Clips and spectrograms may have other sizes than those of the tables, if tubelets and patches divide them: positions
    are then interpolated linearly with aligned ends. Frames of sound after the last whole patch are left out.

    Args:
      num_classes: K, number of classes.
      transformer: width, depth and heads of both Transformers, passed as the fields of `TransformerSize`.
      fusion: exchange between them, passed as the fields of `Fusion`.
      clip: size of the clips for which the table of positions is made, passed as the fields of `ClipSize`.
      sound: size of the spectrograms for which theirs is made, passed as the fields of `SoundSize`.
      tubelet: frames, rows and columns of a token.
      dropout: dropout probability before the classifier.
      drop_path: probability of dropping a residual branch in the last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      execution: options `dtype`, `remat` and `scan_blocks`, see `vidjax.nn.blocks.Execution`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if `heads` does not divide `dim` or the tubelet the clip, or for an unknown option.
    """

    positions: ClassVar[Mapping[str, Table]] = {"pos_embed": Table((0, 1, 2), "aligned")}

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize,
        fusion: Fusion,
        clip: ClipSize = CLIP,
        sound: SoundSize,
        tubelet: Grid = (2, 16, 16),
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        dim, dtype = transformer.dim, execution.dtype
        super().__init__(dim, tubelet, execution, clip=clip, in_channels=in_channels, kernel_init=LECUN, rngs=rngs)
        patch = (1, sound.patch, sound.patch)
        self.audio_embed = TubeletEmbedding(CHANNELS, dim, patch, kernel_init=LECUN, dtype=dtype, rngs=rngs)
        self.audio_grid = (1, sound.sound_frames // sound.patch, sound.bands // sound.patch)
        token = fusion.classifier == "token"
        self.cls_token = nnx.Param(jnp.zeros((1, 1, dim))) if token else nnx.data(None)
        self.audio_cls_token = nnx.Param(jnp.zeros((1, 1, dim))) if token else nnx.data(None)
        self.pos_embed, self.audio_pos_embed = (
            nnx.Param(whole_normal_002(rngs.params(), (1, int(np.prod(grid)) + token, dim)))
            for grid in (self.table_grid, self.audio_grid)
        )
        self.bottleneck = nnx.Param(whole_normal_002(rngs.params(), (1, fusion.bottlenecks, dim)))

        def block(_: int, rate: float) -> Block:
            return Block(dim, transformer.heads, "joint", drop_path=rate, dtype=dtype, rngs=rngs)

        self.blocks = stack(block, transformer.depth, drop_path)
        self.audio_blocks = stack(block, transformer.depth, drop_path)
        self.norm = nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(dim, num_classes, kernel_init=ZEROS, rngs=rngs)
        self.fusion_layer = fusion.fusion_layer
        self.widths = Widths(dim, dim, {self.patch_embed.tubelet[1]: dim})

    def taken(self, inputs: Any) -> Mapping[str, jax.Array]:
        """Select clips and spectrograms, see `vidjax.models.audio_visual.seen_and_heard`."""
        return seen_and_heard(inputs, self.channels, type(self).__name__)

    def encode(self, video: Mapping[str, jax.Array], rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised clips and spectrograms: return the normalised tokens, float32, and the classified vector.

        The tokens are those of the sound, which are 0 if nothing was heard, then those of the clip; each begins with
        its class token, if there is one. The map is of the clip.

        Args:
          video: "video" (B, T, H, W, C), "audio" (B, N, M) and, unless all have sound, "heard", bool (B,).
          rngs: random streams; `dropout` is used by drop path in training mode.

        Raises:
          ClipError: for a spectrogram that is smaller than a patch, or whose bands the patches do not divide.
          ValueError: if the tubelet does not divide the clip, naming the sizes.
        """
        picture = jnp.repeat(video["audio"][..., None], CHANNELS, axis=-1)
        return self.encode_picture(video["video"], picture, video["heard"], rngs)

    def encode_picture(
        self, video: jax.Array, audio: jax.Array, heard: jax.Array, rngs: nnx.Rngs | None = None
    ) -> Features:
        """Encode clips and spectrograms (B, N, M, 3) whose colours may differ, as `encode` does."""
        size, (frames, bands) = self.audio_embed.tubelet[1], audio.shape[1:3]
        if frames < size or bands % size:
            raise ClipError(
                f"a spectrogram of {frames} frames and {bands} bands does not divide into patches of {size}×{size}: "
                f"expected at least {size} frames, and a multiple of {size} bands"
            )
        sound = audio[:, None, : frames - frames % size]
        grid, audio_grid = self.patch_embed.grid(video), self.audio_embed.grid(sound)
        seen = with_positions(self.patch_embed(video), self.cls_token, self.pos_embed[...], self.table_grid, grid)
        sound = with_positions(
            self.audio_embed(sound), self.audio_cls_token, self.audio_pos_embed[...], self.audio_grid, audio_grid
        )
        seen, sound = self._fused(seen, sound, heard, grid, audio_grid, rngs)
        seen, sound = (self.norm(x.astype(jnp.float32)) for x in (seen, sound))
        tokens = jnp.concatenate([where_heard(heard, sound), seen], axis=1)
        if self.cls_token is not None:
            pooled = where_heard(heard, (seen[:, 0] + sound[:, 0]) / 2, seen[:, 0])
        else:
            pooled = where_heard(heard, tokens.mean(axis=1), seen.mean(axis=1))
        return Features(pooled, tokens, grid, self.patch_map(tokens, grid))

    def _fused(
        self,
        seen: jax.Array,
        sound: jax.Array,
        heard: jax.Array,
        grid: Grid,
        audio_grid: Grid,
        rngs: nnx.Rngs | None,
    ) -> tuple[jax.Array, jax.Array]:
        """Run both stacks of blocks: tokens of the clip and of the sound."""
        run, first = self.execution.run, self.fusion_layer
        seen = run(self.blocks[:first], seen, grid, rngs=rngs)
        sound = run(self.audio_blocks[:first], sound, audio_grid, rngs=rngs)
        shared = jnp.repeat(self.bottleneck[...].astype(seen.dtype), seen.shape[0], axis=0)
        for index in range(first, len(self.blocks)):
            one = slice(index, index + 1)
            with_seen = run(self.blocks[one], jnp.concatenate([seen, shared], axis=1), grid, rngs=rngs)
            with_sound = run(self.audio_blocks[one], jnp.concatenate([sound, shared], axis=1), audio_grid, rngs=rngs)
            seen, of_seen = jnp.split(with_seen, [seen.shape[1]], axis=1)
            sound, of_sound = jnp.split(with_sound, [sound.shape[1]], axis=1)
            shared = where_heard(heard, (of_seen + of_sound) / 2, of_seen)
        return seen, sound


SOUND = AudioInput("mbt", seconds=8.0)
_PAPER = "https://arxiv.org/abs/2107.00135"


def _with_sound(spec: Spec, sound: AudioInput) -> Spec:
    return dataclasses.replace(spec, inputs={**spec.inputs, "audio": sound})


def _variant(name: str, published: str, **kwargs: Any) -> Variant:
    spec = Spec.of_video(
        name=name, num_frames=32, stride=2, mean=(0.5,) * 3, std=(0.5,) * 3, num_classes=527, paper=_PAPER,
        sources=("scenic",), published=published,
    )  # fmt: skip
    return Variant(MBT, _with_sound(spec, SOUND), {**dataclasses.asdict(BASE), **kwargs})


VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("mbt_base_16x2", "AudioSet-mini 43.9 mAP, 4 clips (Scenic)", classifier="gap", bottlenecks=4),
        _variant("mbt_base_16x2_token", "", classifier="token", bottlenecks=5),
    )
} | {
    name: Variant(
        MBT,
        _with_sound(tiny_spec(name, _PAPER, size=32, resize=(36,)), AudioInput("mbt", seconds=1.6)),
        {
            **dataclasses.asdict(TINY), "num_frames": 8, "size": 32, "tubelet": (2, 8, 8), "sound_frames": 160,
            "fusion_layer": 2, "classifier": classifier,
        },
    )
    for name, classifier in (("mbt_tiny", "gap"), ("mbt_token_tiny", "token"))
}  # fmt: skip
