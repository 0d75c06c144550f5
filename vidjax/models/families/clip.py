"""CLIP over the frames of a video: an image and a text Transformer, and the mean of the frames' vectors (CLIP4Clip).

Papers: Radford et al. (2103.00020); Luo et al., CLIP4Clip (2104.08860), its pooling without parameters. Reference code:
openai/CLIP `clip/model.py`, mlfoundations/open_clip, transformers `models/clip`, ArrowLuo/CLIP4Clip.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import Input, TextInput, VideoInput
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.families.frame_vit import CLIP, CLIP_PIXELS, FrameTransformer
from vidjax.models.registry import Variant, tiny_spec
from vidjax.models.text_transformer import TextSize, TextTransformer
from vidjax.models.text_video import TextVideoNetwork, unit
from vidjax.nn.blocks import Execution
from vidjax.nn.frame_blocks import ACTIVATIONS, Form
from vidjax.nn.init import normal_002
from vidjax.nn.vision_transformer import BASE, LARGE, TransformerSize


class ClipNetwork(TextVideoNetwork, FrameTransformer):
    """Image Transformer over the frames of a clip and a Transformer over texts, with vectors in one space.

    A video's vector is the mean of its frames' vectors of length 1, made of length 1 again.

    Args:
      num_classes: not used: the network has no classifier.
      transformer: width, depth and heads of the image network, passed as the fields of `TransformerSize`.
      form: form of the image network, passed as the fields of `Form`; its activation and epsilon are the text's, too.
      text: size of the text network, passed as the fields of `TextSize`.
      embed: E, length of the vectors.
      size: height and width of the pictures that the table of places is made for, pixels.
      drop_path: drop path rate of the image network's last block; rises linearly from 0 in the first.
      biased: whether similarities have a bias, for the sigmoid loss of pairs.
      in_channels: C, channels of the clips.
      execution: dtype, rematerialisation and scanning of the blocks, passed as the fields of `Execution`.
      rngs: random streams; `params` draws the initial weights.

    Raises:
      ValueError: if the heads do not divide the widths, or the patch the size.
    """

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        transformer: TransformerSize = BASE,
        form: Form,
        text: TextSize,
        embed: int = 512,
        size: int = 224,
        drop_path: float = 0.0,
        biased: bool = False,
        in_channels: int = 3,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        del num_classes
        image = {**vars(transformer), **vars(form), **vars(execution)}
        super().__init__(1, **image, size=size, drop_path=drop_path, in_channels=in_channels, rngs=rngs)
        self.head = nnx.data(None)
        self.proj = nnx.Linear(transformer.dim, embed, use_bias=False, kernel_init=normal_002, rngs=rngs)
        self.text = TextTransformer(
            text,
            embed,
            activation=ACTIVATIONS[form.activation],
            epsilon=form.epsilon,
            execution=dataclasses.replace(execution, remat="" if execution.remat == "attention" else execution.remat),
            rngs=rngs,
        )
        self.make_temperature(biased)
        self.widths = Widths(embed, transformer.dim, {form.patch: transformer.dim})
        self.conventions = (("activation", form.activation),)

    def text_vectors(self, numbers: jax.Array) -> jax.Array:
        """Vectors of texts of any length, float32 `(N, E)`; see `TextVideoNetwork.text_vectors`."""
        return self.text(numbers)

    def frame_vectors(self, video: jax.Array) -> jax.Array:
        """Vectors of the frames of clips `(B, T, H, W, C)`, of any length, float32 `(B, T, E)`."""
        return self._encoded(video, None)[0]

    def _encoded(self, video: jax.Array, rngs: nnx.Rngs | None) -> tuple[jax.Array, jax.Array, tuple[int, int, int]]:
        """Vectors of the frames, `(B, T, E)`, normalised patches of all, `(B, N, D)`, and their grid."""
        x, grid = self.encoded(video, rngs)
        normed, patches = self.norm(x), grid[1] * grid[2]
        vectors = self.proj(normed[:, 0].astype(jnp.float32)).reshape(-1, grid[0], self.widths.pooled)
        return vectors, normed[:, normed.shape[1] - patches :].reshape(-1, grid[0] * patches, x.shape[-1]), grid

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: `pooled` has length 1, tokens are the normalised patches.

        Raises:
          ValueError: if the patch does not divide the frames, or the tables are for another size.
        """
        vectors, tokens, grid = self._encoded(video, rngs)
        return Features(unit(unit(vectors).mean(axis=1)), tokens, grid, self.patch_map(tokens, grid))


_PAPER = "https://arxiv.org/abs/2103.00020"
_SOURCES = ("clip", "clip_openai", "open_clip")
_MSRVTT = "MSR-VTT 1k-A text to video R@1 43.1, trained on 9k, 12 frames (mmaction2)"


def clip_variant(
    name: str,
    build: Callable[..., VideoNetwork],
    kwargs: Mapping[str, Any],
    video: VideoInput,
    *,
    rules: str = "clip",
    **facts: Any,
) -> Variant:
    """Named network of videos and texts, whose texts are as its arguments say.

    Args:
      name: name of the network.
      build: class of the network.
      kwargs: its arguments, among them fields of `TextSize`.
      video: its videos.
      rules: rules of its tokenizer, a key of `vidjax.text.RULES`.
      **facts: further fields of `Spec`.
    """

    def inputs(kwargs: Mapping[str, Any]) -> dict[str, Input]:
        size = {"vocabulary": TextSize.vocabulary, "text_length": TextSize.text_length} | dict(kwargs)
        return {"video": video, "text": TextInput(size["text_length"], size["vocabulary"], rules)}

    spec = Spec(name, inputs(kwargs), task="retrieve", num_classes=0, **facts)
    return Variant(build, spec, dict(kwargs), inputs_of=inputs)


def _published(name: str, size: TransformerSize, patch: int, side: int = 224, published: str = "") -> Variant:
    wide = {"text_dim": 768, "text_heads": 12, "embed": 768} if size is LARGE else {}
    video = VideoInput(12, fps=1.0, size=side, resize=(side,), **CLIP_PIXELS)
    kwargs = {**vars(size), **CLIP, "patch": patch, "size": side, **wide}
    return clip_variant(name, ClipNetwork, kwargs, video, published=published, sources=_SOURCES, paper=_PAPER)


_TEXT = {"vocabulary": 512, "text_length": 32, "text_dim": 32, "text_depth": 2, "text_heads": 2, "embed": 32}
_TINY = {**CLIP, "dim": 48, "depth": 2, "heads": 3, "patch": 16, "size": 64, **_TEXT}

VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _published("clip_b32", BASE, 32, published=_MSRVTT),
        _published("clip_b16", BASE, 16),
        _published("clip_l14", LARGE, 14),
        _published("clip_l14_336", LARGE, 14, 336),
        clip_variant("clip_tiny", ClipNetwork, _TINY, tiny_spec("clip_tiny", _PAPER).video, paper=_PAPER),
    )
}
