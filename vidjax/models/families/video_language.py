"""Language models that see videos: SmolVLM2 and VideoLLaMA 3.

Frames pass an image network (SigLIP) one by one; neighbouring tokens are joined, projected to the width of words, and
stand in the text in place of as many placeholders. What stands around them is the prompt, see `vidjax.models.prompts`.

- smolvlm2_*: squares of pixels, 16 or 9 tokens side by side as one. Marafioti et al., SmolVLM (arXiv 2504.05299).
- videollama3_*: frames of any size, the mean of 4 tokens as one; tokens of places that did not change since the frame
  before are left out. Zhang et al., VideoLLaMA 3 (arXiv 2501.13106).

Reference code: transformers, `models/{smolvlm,video_llama_3}`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import PromptInput
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.families.frame_vit import HALF, SIGLIP, FrameTransformer
from vidjax.models.registry import Variant, tiny_spec
from vidjax.models.text_head import LanguageHead
from vidjax.nn.blocks import Execution
from vidjax.nn.init import normal_002
from vidjax.nn.mlp import Mlp
from vidjax.nn.positions import Table
from vidjax.nn.text_decoder import TextForm
from vidjax.nn.vision_transformer import BASE, TransformerSize

SMOL, LLAMA3 = "https://arxiv.org/abs/2504.05299", "https://arxiv.org/abs/2501.13106"
_SEEING = {**SIGLIP, "pooled": "mean"}
# Change of a place's pixels, mean of normalised values times 255, up to which its token is left out.
_UNCHANGED = 0.1


def blocks_of(x: jax.Array, grid: tuple[int, int], side: int) -> jax.Array:
    """Tokens of frames `(B, N, D)` by square blocks, `(B, N / side², side², D)`, both row by row.

    Args:
      x: tokens, row by row.
      grid: tokens along height and width, multiples of `side`.
      side: tokens along a side of a block.
    """
    rows, columns = (n // side for n in grid)
    return rearrange(x, "b (h r w c) d -> b (h w) (r c) d", h=rows, w=columns, r=side, c=side)


class SmolVLM(VideoNetwork):
    """SigLIP over square frames, blocks of tokens as one, and a language model.

    Args:
      num_classes: V, number of different words.
      transformer: width, depth and heads of the image network, passed as the fields of `TransformerSize`.
      patch: rows and columns of a token of the picture.
      mlp_features: features inside the image network's MLPs; 0: four times its width.
      size: height and width of a frame, pixels; what does not fill a patch at the right and below is not seen.
      shuffle: rows and columns of tokens that are joined.
      form: size and form of the language model, passed as the fields of `TextForm`.
      placeholder: number of the word that stands for a token of the video.
      dropout: dropout probability of the embedded words.
      drop_path: drop path rate of the image network's last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      execution: dtype, rematerialisation and scanning of the blocks, passed as the fields of `Execution`; the language
        model's are not scanned.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if heads do not divide their width, or `shuffle` the tokens of a side.
    """

    positions: ClassVar[Mapping[str, Table]] = {"vision.pos_embed": Table((1, 2), "nearest", (0,))}

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize = BASE,
        patch: int = 16,
        mlp_features: int = 0,
        num_frames: int = 64,
        size: int = 512,
        shuffle: int = 4,
        form: TextForm,
        placeholder: int = 49190,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        side = size // patch
        if side % shuffle:
            raise ValueError(f"shuffle = {shuffle} does not divide the {side} tokens of a side of {size} pixels")
        options = {**_SEEING, **dataclasses.asdict(transformer), **dataclasses.asdict(execution)}
        self.vision = FrameTransformer(
            1, patch=patch, mlp_features=mlp_features, num_frames=num_frames, size=side * patch, drop_path=drop_path,
            in_channels=in_channels, rngs=rngs, **options,
        )  # fmt: skip
        self.vision.head = nnx.data(None)
        self.base_grid, self.channels = self.vision.base_grid, in_channels
        self.patch, self.shuffle = patch, shuffle
        dtype = execution.dtype
        self.projector = nnx.Linear(
            transformer.dim * shuffle**2, form.text_dim, use_bias=False, kernel_init=normal_002, dtype=dtype, rngs=rngs
        )
        self.dropout = nnx.Dropout(dropout)
        self.head = LanguageHead(num_classes, form, placeholder, dtype=dtype, remat=execution.remat, rngs=rngs)
        self.widths = Widths(form.text_dim, form.text_dim)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: tokens as wide as words, and their mean."""
        side_h, side_w = (n // self.patch * self.patch for n in video.shape[2:4])
        x, (frames, rows, columns) = self.vision.encoded(video[:, :, :side_h, :side_w], rngs)
        x = blocks_of(self.vision.norm(x), (rows, columns), self.shuffle)
        x = x.reshape(*x.shape[:2], -1)
        x = self.projector(x)
        x = x.reshape(-1, frames * x.shape[1], x.shape[2])
        grid = (frames, rows // self.shuffle, columns // self.shuffle)
        return Features(x.mean(axis=1, dtype=jnp.float32), x, grid)


class VideoLlama3(VideoNetwork):
    """SigLIP with rotary places over frames of any size, means of 2 × 2 tokens, and a language model.

    Args:
      num_classes: V, number of different words.
      transformer: width, depth and heads of the image network, passed as the fields of `TransformerSize`.
      patch: rows and columns of a token of the picture.
      mlp_features: features inside the image network's MLPs; 0: four times its width.
      merge: rows and columns of tokens whose mean is one.
      form: size and form of the language model, passed as the fields of `TextForm`.
      placeholder: number of the word that stands for a token of the video.
      dropout: dropout probability of the embedded words.
      drop_path: drop path rate of the image network's last block; rises linearly from 0 in the first.
      in_channels: C, channels of the clips.
      execution: dtype, rematerialisation and scanning of the blocks, passed as the fields of `Execution`; the language
        model's are not scanned.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if heads do not divide their width.
    """

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize = BASE,
        patch: int = 14,
        mlp_features: int = 0,
        merge: int = 2,
        form: TextForm,
        placeholder: int = 151656,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        options = {**_SEEING, **dataclasses.asdict(transformer), **dataclasses.asdict(execution)}
        self.vision = FrameTransformer(
            1, patch=patch, mlp_features=mlp_features, size=patch, rotary=True, rotary_base=1e4, drop_path=drop_path,
            in_channels=in_channels, rngs=rngs, **options,
        )  # fmt: skip
        self.vision.head = nnx.data(None)
        self.channels, self.patch, self.merge = in_channels, patch, merge
        dim, dtype = form.text_dim, execution.dtype
        self.projector = Mlp(transformer.dim, dim, dim, kernel_init=normal_002, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = LanguageHead(
            num_classes, form, placeholder, prunes=True, dtype=dtype, remat=execution.remat, rngs=rngs
        )
        self.widths = Widths(dim, dim)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: tokens as wide as words, and their mean.

        Tokens that `changed` leaves out come after all others, each in its order.

        Raises:
          ValueError: if the sides are no multiples of the tokens' blocks.
        """
        side = self.patch * self.merge
        if any(n % side for n in video.shape[2:4]):
            raise ValueError(f"frames of {video.shape[2]}×{video.shape[3]} pixels: sides must be multiples of {side}")
        x, (frames, rows, columns) = self.vision.encoded(video, rngs)
        x = self.projector(blocks_of(self.vision.norm(x), (rows, columns), self.merge).mean(axis=2))
        x = x.reshape(-1, frames * x.shape[1], x.shape[2])
        keep = self.changed(video).reshape(x.shape[0], -1)
        order = jnp.argsort(~keep, axis=1, stable=True)
        x = jnp.take_along_axis(x, order[..., None], axis=1)
        return Features(x.mean(axis=1, dtype=jnp.float32), x)

    def changed(self, video: jax.Array) -> jax.Array:
        """Whether a place changed since the frame before, so that its token is read: bool `(B, T, h, w)`.

        All places of the first frame have; of each other frame the first is read if none has.

        Args:
          video: normalised float clips, `(B, T, H, W, C)`.
        """
        side = self.patch * self.merge
        x = jnp.abs(jnp.diff(video.astype(jnp.float32), axis=1, prepend=jnp.inf))
        x = rearrange(x, "b t (h r) (w c) d -> b t h w (r c d)", r=side, c=side).mean(axis=-1)
        keep = 255 * x > _UNCHANGED
        none = ~keep.any(axis=(2, 3))
        return keep.at[:, :, 0, 0].set(keep[:, :, 0, 0] | none)


_SO400M = {**dataclasses.asdict(TransformerSize(1152, 27, 16)), "patch": 14, "mlp_features": 4304}


def _text(dim: int, depth: int, heads: int, groups: int, hidden: int, **others: Any) -> dict[str, Any]:
    sizes = {"text_dim": dim, "text_depth": depth, "text_heads": heads, "text_groups": groups, "text_hidden": hidden}
    return sizes | others


def _variant(build: Any, spec: Spec, length: int, dialogue: str, **kwargs: Any) -> Variant:
    text = PromptInput(length, spec.num_classes, "llm", dialogue=dialogue)
    return Variant(build, dataclasses.replace(spec, inputs={**spec.inputs, "text": text}), kwargs, words=True)


def _smol(name: str, size: int, **kwargs: Any) -> Variant:
    spec = Spec.of_video(
        name=name, num_frames=64, fps=1.0, size=size, resize=(size, size), paper=SMOL, sources=("smolvlm2",),
        task="caption", num_classes=49280, **HALF,
    )  # fmt: skip
    return _variant(SmolVLM, spec, 8192, "smolvlm2", size=size, **kwargs)


def _llama3(name: str, vocabulary: int, **kwargs: Any) -> Variant:
    spec = Spec.of_video(
        name=name, num_frames=32, fps=1.0, size=336, resize=(336,), paper=LLAMA3,
        sources=("videollama3", "videollama3_original"),
        task="caption", num_classes=vocabulary, **HALF,
    )  # fmt: skip
    return _variant(
        VideoLlama3, spec, 16384, "videollama3", **_SO400M, text_theta=1e6, text_epsilon=1e-6, text_bias=True, **kwargs
    )


_TINY_TEXT = _text(48, 2, 6, 2, 80)
_TINY = {"dim": 48, "depth": 2, "heads": 3, "patch": 16, "placeholder": 255, **_TINY_TEXT}

VARIANTS = {
    "smolvlm2_256m": _smol("smolvlm2_256m", 512, **_text(576, 30, 9, 3, 1536)),
    "smolvlm2_500m": _smol("smolvlm2_500m", 512, **_text(960, 32, 15, 5, 2560)),
    "smolvlm2_2_2b": _smol(
        "smolvlm2_2_2b", 384, shuffle=3, **_SO400M, **_text(2048, 24, 32, 32, 8192, text_theta=130000.0)
    ),
    "videollama3_2b": _llama3("videollama3_2b", 151936, tied=True, **_text(1536, 28, 12, 2, 8960)),
    "videollama3_7b": _llama3("videollama3_7b", 152064, **_text(3584, 28, 28, 4, 18944)),
    "smolvlm2_tiny": _variant(
        SmolVLM, tiny_spec("smolvlm2_tiny", SMOL, task="caption", num_classes=256), 512, "smolvlm2",
        size=64, shuffle=2, **_TINY,
    ),
    "videollama3_tiny": _variant(
        VideoLlama3, tiny_spec("videollama3_tiny", LLAMA3, task="caption", num_classes=256), 512, "videollama3",
        **{**_TINY, "text_bias": True, "tied": True},
    ),
}  # fmt: skip
