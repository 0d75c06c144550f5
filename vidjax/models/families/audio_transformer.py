"""AST: an image Transformer over overlapping patches of a spectrogram.

Source: Gong et al., AST: Audio Spectrogram Transformer (2104.01778), and YuanGongND/ast, `src/models/ast_models.py`, a
distilled DeiT with a class and a distillation token, whose mean is classified.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.errors import UserError
from vidjax.inputs import AudioInput
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, Widths
from vidjax.models.registry import Variant
from vidjax.models.sound import SoundNetwork, as_picture
from vidjax.nn.blocks import Execution, stack
from vidjax.nn.conv import Conv3D
from vidjax.nn.frame_blocks import Adapters, Block, Form
from vidjax.nn.init import normal_002
from vidjax.nn.maps import flat_map
from vidjax.nn.patches import TORCH_UNIFORM
from vidjax.nn.positions import MODES, Table
from vidjax.nn.vision_transformer import BASE, SMALL, TransformerSize

POSITIONS = Table((2, 0), "middle", first=(2,))


class AST(SoundNetwork):
    """Transformer over patches of a spectrogram, which overlap if the strides are smaller than the patch.

    The table of positions is made for `frames`. A sound of another length takes the middle of it, or, if it is longer,
    interpolated positions, as in the reference; a checkpoint for another length is fitted to the table in the same way.

    Args:
      num_classes: K, number of classes.
      transformer: width, depth and heads, passed as the fields of `TransformerSize`.
      frames: frames of the spectrograms that the table of positions is made for.
      mels: number of mel bands.
      patch: bands and frames of a patch.
      strides: frames and bands from one patch to the next.
      epsilon: epsilon of the norms; transformers has 1e-12, the reference 1e-6.
      head_epsilon: epsilon of the norm before the classifier; transformers has 1e-12, the reference 1e-5.
      dropout: dropout probability before the classifier.
      drop_path: drop path rate of the last block; rises linearly from 0 in the first.
      execution: dtype, rematerialisation and scanning of the blocks, passed as the fields of `Execution`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide `dim`, or a spectrogram is smaller than a patch.
    """

    positions: ClassVar[Mapping[str, Table]] = {"pos_embed": POSITIONS}

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize = BASE,
        frames: int = 1024,
        mels: int = 128,
        patch: int = 16,
        strides: tuple[int, int] = (10, 10),
        epsilon: float = 1e-12,
        head_epsilon: float = 1e-12,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        dim, dtype = transformer.dim, execution.dtype
        if min(frames, mels) < patch:
            raise ValueError(f"frames = {frames}, mels = {mels}: a patch of {patch}×{patch} needs as many of both")
        self.execution, self.frames, self.mels, self.patch = execution, frames, mels, patch
        self.strides, self.epsilon = tuple(strides), epsilon
        # The reference's pictures have bands as rows and frames as columns, and so its kernels.
        self.patch_embed = Conv3D(
            1, dim, (1, patch, patch), (1, strides[1], strides[0]), use_bias=True, kernel_init=TORCH_UNIFORM,
            dtype=dtype, rngs=rngs,
        )  # fmt: skip
        times, bands = ((size - patch) // stride + 1 for size, stride in zip((frames, mels), strides, strict=True))
        self.base_grid = (times, 1, bands)

        def tokens(count: int) -> nnx.Param:
            return nnx.Param(normal_002(rngs.params(), (1, count, dim)))

        self.cls_token, self.dist_token = tokens(1), tokens(1)
        self.pos_embed = tokens(2 + times * bands)
        form = Form(epsilon=epsilon)

        def block(_: int, rate: float) -> Block:
            return Block(dim, transformer.heads, form, Adapters(), drop_path=rate, dtype=dtype, rngs=rngs)

        self.blocks = stack(block, transformer.depth, drop_path)
        self.norm = nnx.LayerNorm(dim, epsilon=epsilon, rngs=rngs)
        self.fc_norm = nnx.LayerNorm(dim, epsilon=head_epsilon, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(dim, num_classes, kernel_init=normal_002, rngs=rngs)
        self.widths = Widths(dim, dim, {strides[1]: dim})

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised spectrograms (B, frames, mels) as features.

        Tokens are the class token, the distillation token and the patches by time, then band; `pooled` is the mean of
        the first two, normalised once more, as the classifier reads it.

        Raises:
          UserError: if the sound is shorter than a patch.
        """
        if video.shape[1] < self.patch:
            raise UserError(f"a sound of {video.shape[1]} frames is too short for patches of {self.patch}")
        x = self.patch_embed(as_picture(jnp.swapaxes(video, 1, 2)))
        batch, _, bands, times, dim = x.shape
        tokens = (
            jnp.broadcast_to(token[...].astype(x.dtype), (batch, 1, dim)) for token in (self.cls_token, self.dist_token)
        )
        x = jnp.concatenate([*tokens, flat_map(x)], axis=1) + self._places(times, bands).astype(x.dtype)
        grid = (times, 1, bands)
        x = self.norm(self.execution.run(self.blocks, x, grid, rngs=rngs).astype(jnp.float32))
        pooled = self.fc_norm(x[:, :2].mean(axis=1))
        places = jnp.transpose(x[:, 2:].reshape(batch, 1, bands, times, dim), (0, 3, 1, 2, 4))
        tokens = jnp.concatenate([x[:, :2], flat_map(places)], axis=1)
        return Features(pooled, tokens, grid, {self.strides[1]: places})

    def _places(self, times: int, bands: int) -> jax.Array:
        """Positions `(1, 2 + bands·times, D)` for a grid of patches."""
        assert self.base_grid is not None
        old_times, _, old_bands = self.base_grid
        table = self.pos_embed[...]
        if (times, bands) == (old_times, old_bands):
            return table
        columns, rows = (jnp.asarray(MODES[POSITIONS.mode](*sizes), jnp.float32)
                         for sizes in ((old_times, times), (old_bands, bands)))  # fmt: skip
        places = table[0, 2:].reshape(old_bands, old_times, -1)
        places = jnp.einsum("fa,tb,abd->ftd", rows, columns, places, precision="highest")
        return jnp.concatenate([table[:, :2], places.reshape(1, bands * times, -1)], axis=1)


_PAPER = "https://arxiv.org/abs/2104.01778"
_IMAGES = ("vit_timm", "vit_torchvision")
_OWN = ("transformers", "ast")


def _variant(
    name: str,
    published: str = "",
    *,
    size: TransformerSize = BASE,
    stride: int = 10,
    sources: tuple[str, ...] = (*_OWN, *_IMAGES),
) -> Variant:
    """AST for ten seconds of sound, trained on AudioSet."""
    spec = Spec(
        name, {"audio": AudioInput("ast", 10.24, frames=1024)}, num_classes=527, paper=_PAPER, sources=sources,
        published=published,
    )  # fmt: skip
    return Variant(AST, spec, {**dataclasses.asdict(size), "strides": (stride, stride)})


VARIANTS = {
    "ast_base": _variant("ast_base", "AudioSet mAP 0.459 (AST)"),
    "ast_base_12x12": _variant("ast_base_12x12", "AudioSet mAP 0.447 (AST)", stride=12),
    "ast_base_14x14": _variant("ast_base_14x14", "AudioSet mAP 0.443 (AST)", stride=14),
    "ast_base_16x16": _variant("ast_base_16x16", "AudioSet mAP 0.442 (AST)", stride=16),
    "ast_base_speech_commands": Variant(
        AST,
        Spec(
            "ast_base_speech_commands",
            {"audio": AudioInput("ast", 1.0, frames=128, mean=-6.845978, std=2 * 5.5654526)},
            num_classes=35,
            paper=_PAPER,
            sources=(*_OWN, *_IMAGES),
            published="Speech Commands v2 98.1 (AST)",
        ),
        {**dataclasses.asdict(BASE), "frames": 128},
    ),
    # Of the sizes that the reference's code has beside the base; no checkpoint was published.
    "ast_small": _variant("ast_small", size=SMALL, sources=("ast", "transformers", *_IMAGES)),
    "ast_tiny": Variant(
        AST,
        Spec("ast_tiny", {"audio": AudioInput("ast", 1.0, frames=96)}, num_classes=6, paper=_PAPER),
        {"dim": 48, "depth": 2, "heads": 3, "frames": 96, "strides": (16, 16)},
    ),
}
