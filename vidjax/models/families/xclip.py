"""X-CLIP: CLIP whose frames exchange messages, with texts that look at the video beside them.

The vector of a text depends on the video, so vectors of videos alone cannot be searched by a text: compare videos and
texts with `similarity`, or give the network classes in words.

Paper: Ni et al., "Expanding language-image pretrained models for general video recognition" (2208.02816). Reference
code: microsoft/VideoX `X-CLIP`, transformers `models/x_clip`.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.inputs import VideoInput
from vidjax.models.arguments import by_field
from vidjax.models.base import Features
from vidjax.models.families.clip import ClipNetwork, clip_variant
from vidjax.models.families.frame_vit import CLIP
from vidjax.models.registry import Variant, tiny_spec
from vidjax.models.text_transformer import TextSize
from vidjax.models.text_video import unit
from vidjax.nn.blocks import Execution
from vidjax.nn.cross_frame import CrossFrameBlock, FrameIntegration, VideoPrompts
from vidjax.nn.frame_blocks import Block, Form
from vidjax.nn.init import normal_002
from vidjax.nn.positions import Table
from vidjax.nn.vision_transformer import BASE, LARGE, TransformerSize


class XClip(ClipNetwork):
    """CLIP with messages between frames, a Transformer over the frames' vectors, and texts that look at the video.

    Args:
      num_classes: not used: the network has no classifier.
      transformer: width, depth and heads of the image network, passed as the fields of `TransformerSize`.
      form: form of the image network, passed as the fields of `Form`; its activation and epsilon are all others', too.
      text: size of the text network, passed as the fields of `TextSize`.
      embed: E, length of the vectors.
      num_frames: T, frames of a clip.
      size: height and width of the pictures that the table of places is made for, pixels.
      integration_heads: attention heads over the frames' vectors; divides `embed`.
      prompt_depth: number of layers in which a text looks at the video.
      prompt_heads: attention heads in these; divides `embed`.
      drop_path: drop path rate of the image network's last block; rises linearly from 0 in the first.
      biased: whether similarities have a bias, for the sigmoid loss of pairs.
      in_channels: C, channels of the clips.
      execution: dtype, rematerialisation and scanning of the blocks, passed as the fields of `Execution`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide the widths, or the patch the size.
    """

    texts_vary: ClassVar[bool] = True
    block_type: ClassVar[type[Block]] = CrossFrameBlock
    positions: ClassVar[Mapping[str, Table]] = {
        "pos_embed": Table((1, 2), "cubic"),
        "integration.pos_embed": Table((0,), "linear"),
    }

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize = BASE,
        form: Form,
        text: TextSize,
        embed: int = 512,
        num_frames: int = 8,
        size: int = 224,
        integration_heads: int = 8,
        prompt_depth: int = 2,
        prompt_heads: int = 8,
        drop_path: float = 0.0,
        biased: bool = False,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        options = {**vars(transformer), **vars(form), **vars(text), **vars(execution)}
        super().__init__(
            num_classes, embed=embed, size=size, drop_path=drop_path, biased=biased, in_channels=in_channels,
            rngs=rngs, **options,
        )  # fmt: skip
        self.base_grid = (num_frames, *self.table_grid[1:])
        dtype = execution.dtype
        plain = dataclasses.replace(form, layer_scale=False)
        self.integration = FrameIntegration(embed, num_frames, integration_heads, plain, dtype=dtype, rngs=rngs)
        self.prompt_norm = nnx.LayerNorm(transformer.dim, epsilon=form.epsilon, rngs=rngs)
        self.prompt_proj = nnx.Linear(transformer.dim, embed, use_bias=False, kernel_init=normal_002, rngs=rngs)
        self.prompts = VideoPrompts(embed, prompt_heads, prompt_depth, form, dtype=dtype, rngs=rngs)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: `pooled` has length 1, tokens are the patches of all frames,
        normalised as texts look at them.

        Raises:
          ValueError: if the patch does not divide the frames, or the tables are for another size or length.
        """
        x, grid = self.encoded(video, rngs)
        frames, places = grid[0], grid[1] * grid[2]
        vectors = self.proj(self.norm(x[:, 0]).astype(jnp.float32)).reshape(-1, frames, self.widths.pooled)
        tokens = self.prompt_norm(x[:, x.shape[1] - places :]).reshape(-1, frames * places, x.shape[-1])
        return Features(unit(self.integration(vectors)), tokens, grid, self.patch_map(tokens, grid))

    def encode_text(self, numbers: jax.Array) -> jax.Array:
        """Vectors of texts that have seen no video, of any length, float32 `(N, E)`; see `text_vectors`.

        They are not comparable with a video's: `compare` and `texts_beside` let them see it.
        """
        return self.text_vectors(numbers)

    def class_vectors(self, texts: jax.Array) -> jax.Array:
        """Vectors of the texts of classes `(K, M, E)` as they are: their mean is taken beside each video."""
        return texts

    def texts_beside(self, features: Features, texts: jax.Array) -> jax.Array:
        """Vectors of texts beside each video, of length 1, float32 `(B, N, E)`.

        Args:
          features: result of `encode` for B videos.
          texts: result of `encode_text` for N texts, `(N, E)`.
        """
        assert features.tokens is not None and features.grid is not None
        tokens = features.tokens.astype(jnp.float32)
        places = tokens.reshape(tokens.shape[0], features.grid[0], -1, tokens.shape[-1]).mean(axis=1)
        return unit(texts.astype(jnp.float32)[None] + self.prompts(texts, self.prompt_proj(places)))

    def compare(self, features: Features, texts: jax.Array) -> jax.Array:
        """Cosines of videos and texts beside them, float32 `(B, N)`.

        Args:
          features: result of `encode` for B videos.
          texts: result of `encode_text` for N texts, `(N, E)`, or M texts of each of N classes, `(N, M, E)`, whose
            vectors beside the video are averaged.
        """
        beside = self.texts_beside(features, texts.reshape(-1, texts.shape[-1]))
        if texts.ndim == 3:
            beside = unit(beside.reshape(-1, *texts.shape).mean(axis=2))
        return jnp.einsum("be,bne->bn", features.pooled, beside)


_PAPER = "https://arxiv.org/abs/2208.02816"


def _published(
    name: str, size: TransformerSize, patch: int, frames: int = 8, side: int = 224, published: str = ""
) -> Variant:
    large = {"text_dim": 768, "text_heads": 12, "embed": 768, "integration_heads": 12, "prompt_heads": 12}
    wide = large if size is LARGE else {}
    video = VideoInput(frames, stride=8, size=side, resize=(round(side * 256 / 224),))
    kwargs = {**vars(size), **CLIP, "patch": patch, "num_frames": frames, "size": side, **wide}
    return clip_variant(name, XClip, kwargs, video, published=published, sources=("xclip",), paper=_PAPER)


_TINY = {
    **CLIP, "dim": 48, "depth": 2, "heads": 3, "patch": 16, "size": 64, "num_frames": 8, "vocabulary": 512,
    "text_length": 32, "text_dim": 32, "text_depth": 2, "text_heads": 2, "embed": 32, "integration_heads": 2,
    "prompt_heads": 2,
}  # fmt: skip

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _published("xclip_b32", BASE, 32, published="K400 80.4, 4×3 views (X-CLIP)"),
        _published("xclip_b32_16f", BASE, 32, 16),
        _published("xclip_b16", BASE, 16, published="K400 83.8, 4×3 views (X-CLIP)"),
        _published("xclip_b16_16f", BASE, 16, 16),
        _published(
            "xclip_b16_32f", BASE, 16, 32, published="zero-shot HMDB51 44.6, UCF101 72.0, K600 65.2, 32 frames (X-CLIP)"
        ),
        _published("xclip_l14", LARGE, 14, published="K400 87.1, 4×3 views (X-CLIP)"),
        _published("xclip_l14_336_16f", LARGE, 14, 16, 336),
        clip_variant("xclip_tiny", XClip, _TINY, tiny_spec("xclip_tiny", _PAPER).video, paper=_PAPER),
    )
}
