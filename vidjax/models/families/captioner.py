"""Captioners: networks of other families with the decoder of GIT instead of their own head.

The decoder reads the network's tokens, one for each place of its last map or grid.

Paper of the decoder: Wang et al., GIT (arXiv 2205.14100).
"""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

from flax import nnx

from vidjax.inputs import PromptInput
from vidjax.models.arguments import by_field
from vidjax.models.base import VideoNetwork
from vidjax.models.families import resnet3d, videomae
from vidjax.models.families.git import PAPER
from vidjax.models.registry import Variant
from vidjax.models.text_head import CaptionHead
from vidjax.nn.caption_decoder import DecoderSize


@cache
def with_words(build: Callable[..., VideoNetwork]) -> Callable[..., VideoNetwork]:
    """Constructor of captioners from the class of a network with tokens, or a function that builds one.

    It takes the arguments of these and the fields of `vidjax.nn.caption_decoder.DecoderSize`.
    """

    @by_field
    def make(num_classes: int, *, decoder: DecoderSize, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> build:  # type: ignore[valid-type]
        network = build(1, dtype=dtype, rngs=rngs, **kwargs)
        width = network.width_of("tokens", CaptionHead.__name__)
        network.head = CaptionHead(width, num_classes, decoder, dtype=dtype, rngs=rngs)
        return network

    vars(make).update(positions=getattr(build, "positions", {}), hands_on=True)
    return make


_ZOO = resnet3d.VARIANTS | videomae.VARIANTS


def _variant(name: str, backbone: str, words: int, length: int, **kwargs: Any) -> Variant:
    """Captioner of a named network, for `words` different tokens and texts of up to `length`."""
    base = _ZOO[backbone]
    text = PromptInput(length, words, "clip")
    spec = dataclasses.replace(
        base.spec, name=name, task="caption", num_classes=words, published="", sources=(), paper=PAPER,
        inputs={**base.spec.inputs, "text": text},
    )  # fmt: skip
    return dataclasses.replace(
        base, build=with_words(base.build), spec=spec, kwargs={**base.kwargs, **kwargs}, words=True
    )


_SMALL = {"text_length": 64, "decoder_dim": 96, "decoder_depth": 2, "decoder_heads": 4}

VARIANTS = {
    "r2plus1d_18_caption": _variant("r2plus1d_18_caption", "r2plus1d_18", 8192, 40, text_length=128),
    "r2plus1d_caption_tiny": _variant("r2plus1d_caption_tiny", "r2plus1d_tiny", 256, 32, **_SMALL),
    "videomae_caption_tiny": _variant("videomae_caption_tiny", "videomae_tiny", 256, 32, **_SMALL),
}
