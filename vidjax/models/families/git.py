"""GIT: captions of videos and answers to questions, by a decoder that reads all patches of a few frames.

Frames pass CLIP's image network one by one; their tokens, with a learned vector for each frame added, are the beginning
of the text. A question is the first part of the text, whose continuation is the answer.

Source: Wang et al., "GIT: a generative image-to-text Transformer for vision and language" (arXiv 2205.14100); the
weights and details are those of transformers, `models/git/modeling_git.py`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import PromptInput
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.families.frame_vit import CLIP, CLIP_PIXELS, FrameTransformer
from vidjax.models.registry import Variant, tiny_spec
from vidjax.models.text_head import CaptionHead
from vidjax.nn.blocks import Execution
from vidjax.nn.caption_decoder import DecoderSize
from vidjax.nn.init import normal_002
from vidjax.nn.positions import Table
from vidjax.nn.vision_transformer import BASE, LARGE, TransformerSize

PAPER = "https://arxiv.org/abs/2205.14100"
WORDS = 30522  # BERT's vocabulary


class Git(VideoNetwork):
    """CLIP's image network over frames, and a decoder of their tokens and of words.

    Args:
      num_classes: V, number of different words.
      transformer: width, depth and heads of the image network, passed as the fields of `TransformerSize`.
      patch: rows and columns of a token of the picture.
      decoder: size of the decoder, passed as the fields of `DecoderSize`.
      num_frames: most frames of a clip, each of which has a learned vector.
      size: height and width of the pictures, pixels.
      dropout: dropout probability in the decoder.
      drop_path: drop path rate of the image network's last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      execution: dtype, rematerialisation and scanning of the image network's blocks, passed as the fields of
        `Execution`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide the width, or the patch the size.
    """

    positions: ClassVar[Mapping[str, Table]] = {"vision.pos_embed": Table((1, 2), "cubic")}

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize = BASE,
        patch: int = 16,
        decoder: DecoderSize,
        num_frames: int = 6,
        size: int = 224,
        dropout: float = 0.1,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        options = {**CLIP, **dataclasses.asdict(transformer), **dataclasses.asdict(execution)}
        self.vision = FrameTransformer(
            1, patch=patch, size=size, drop_path=drop_path, in_channels=in_channels, rngs=rngs, **options
        )
        self.vision.head = nnx.data(None)
        self.base_grid, self.channels = self.vision.base_grid, in_channels
        dim = transformer.dim
        self.frame_embed = nnx.List([nnx.Param(normal_002(rngs.params(), (1, 1, dim))) for _ in range(num_frames)])
        self.dropout = nnx.Dropout(dropout)
        self.head = CaptionHead(dim, num_classes, decoder, dtype=execution.dtype, rngs=rngs)
        self.widths = Widths(dim, dim)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: tokens are those of all frames, a class token before each
        frame's patches, and their mean is the pooled vector.

        Raises:
          ValueError: if the clip has more frames than the network has vectors for; it names both.
        """
        frames = video.shape[1]
        if frames > len(self.frame_embed):
            raise ValueError(f"{frames} frames: the network has learned vectors for {len(self.frame_embed)}")
        x, _ = self.vision.encoded(video, rngs)
        x = self.vision.norm(x)
        x = x.reshape(-1, frames, *x.shape[1:])
        times = jnp.concatenate([vector[...] for vector in list(self.frame_embed)[:frames]]).astype(x.dtype)
        x = (x + times[None]).reshape(x.shape[0], -1, x.shape[-1])
        return Features(x.mean(axis=1, dtype=jnp.float32), x)


def _variant(spec: Spec, length: int, **kwargs: Any) -> Variant:
    text = PromptInput(length, spec.num_classes, "bert")
    return Variant(Git, dataclasses.replace(spec, inputs={**spec.inputs, "text": text}), kwargs, words=True)


def _published(name: str, size: TransformerSize, **kwargs: Any) -> Variant:
    spec = Spec.of_video(
        name=name, num_frames=6, stride=4, size=224, resize=(224,), paper=PAPER, sources=("git",),
        task="caption", num_classes=WORDS, **CLIP_PIXELS,
    )  # fmt: skip
    return _variant(spec, 40, **dataclasses.asdict(size), **kwargs)


_TINY: dict[str, Any] = {
    "dim": 48, "depth": 2, "heads": 3, "patch": 16, "num_frames": 8, "size": 64, "text_length": 64, "decoder_dim": 48,
    "decoder_depth": 2, "decoder_heads": 3, "dropout": 0.0,
}  # fmt: skip

VARIANTS = {
    "git_base": _published("git_base", BASE),
    "git_large": _published("git_large", LARGE, patch=14),
    "git_tiny": _variant(tiny_spec("git_tiny", PAPER, task="caption", num_classes=64), 16, **_TINY),
}
