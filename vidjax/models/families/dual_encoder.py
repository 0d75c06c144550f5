"""Any named network of clips beside a text Transformer, with vectors in one space.

`--config.model.name=dual_encoder --config.model.kwargs.video=mvit_v2_s`: size and rate of the clips are those of the
network. Of the text network only the structure is CLIP's (Radford et al., 2103.00020): it is trained with the other.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.errors import UserError
from vidjax.inputs import Input, TextInput, VideoInput
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork
from vidjax.models.families.resnet3d import VARIANTS as RESNET3D
from vidjax.models.registry import Variant, construct, get_spec
from vidjax.models.text_transformer import TextSize, TextTransformer
from vidjax.models.text_video import TextVideoNetwork, unit
from vidjax.nn.blocks import Execution
from vidjax.nn.init import normal_002

DEFAULT = TextSize(vocabulary=8192, text_length=64, text_dim=256, text_depth=4, text_heads=4)


class DualEncoder(TextVideoNetwork):
    """Network of clips and a text Transformer, each projected to vectors of length 1.

    Args:
      video: network of clips, whose classifier is left out.
      text: text network.
      embed: E, length of the vectors.
      dropout: probability of dropping a feature of a clip before the projection, in training mode.
      biased: whether similarities have a bias, for the sigmoid loss of pairs.
      rngs: random streams; `params` draws the initial weights.
    """

    def __init__(
        self,
        video: VideoNetwork,
        text: TextTransformer,
        embed: int,
        *,
        dropout: float = 0.0,
        biased: bool = False,
        rngs: nnx.Rngs,
    ):
        video.head = nnx.data(None)
        self.video, self.text = video, text
        self.proj = nnx.Linear(video.widths.pooled, embed, use_bias=False, kernel_init=normal_002, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.data(None)
        self.channels = video.channels
        self.widths = dataclasses.replace(video.widths, pooled=embed, windows=False)
        self.make_temperature(biased)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised float clips `(B, T, H, W, C)`: features of the network of clips, `pooled` of length 1."""
        features = self.video.encode(video, rngs=rngs)
        pooled = unit(self.proj(self.dropout(features.pooled.astype(jnp.float32), rngs=rngs)))
        return dataclasses.replace(features, pooled=pooled, windows=None)

    def text_vectors(self, numbers: jax.Array) -> jax.Array:
        """Vectors of texts of any length, float32 `(N, E)`; see `TextVideoNetwork.text_vectors`."""
        return self.text(numbers)


@by_field
def dual_encoder(
    num_classes: int,
    *,
    video: str,
    text: TextSize = DEFAULT,
    embed: int = 256,
    video_options: Mapping[str, Any] | None = None,
    in_channels: int = 3,
    dropout: float = 0.0,
    biased: bool = False,
    remat: str = "",
    dtype: Any = None,
    rngs: nnx.Rngs,
) -> DualEncoder:
    """Build the network of a named one.

    Args:
      num_classes: not used: the network has no classifier.
      video: name of the network of clips.
      text: size of the text network, passed as the fields of `TextSize`.
      embed: E, length of the vectors.
      video_options: further arguments of the network of clips; None: none.
      in_channels: C, channels of the clips.
      dropout: probability of dropping a feature of a clip before the projection, in training mode.
      biased: whether similarities have a bias, for the sigmoid loss of pairs.
      remat: rematerialisation policy of the network of clips, one of `REMAT`, see `vidjax/nn/remat.py`.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      UserError: for a network that takes other inputs than a video.
      UnknownModelError: if no model has the name.
      ArgumentError: for an argument that the network does not take.
    """
    del num_classes
    _video_of({"video": video})
    shared = {"remat": remat} if remat else {}
    sees = construct(video, 1, shared | dict(video_options or {}), {"in_channels": in_channels}, dtype=dtype, rngs=rngs)
    reads = TextTransformer(text, embed, execution=Execution(dtype), rngs=rngs)
    return DualEncoder(sees, reads, embed, dropout=dropout, biased=biased, rngs=rngs)


def _video_of(kwargs: Mapping[str, Any]) -> VideoInput:
    """Video of the network of clips.

    Raises:
      UserError: if it takes another input.
    """
    spec = get_spec(kwargs["video"])
    if list(spec.inputs) != ["video"]:
        raise UserError(
            f"video = {kwargs['video']!r}: takes {', '.join(spec.inputs)}; give a network of clips alone, such as "
            "r2plus1d_18"
        )
    return spec.video


def _inputs(kwargs: Mapping[str, Any]) -> dict[str, Input]:
    """Inputs of a network with these arguments."""
    size = vars(DEFAULT) | dict(kwargs)
    return {"video": _video_of(kwargs), "text": TextInput(size["text_length"], size["vocabulary"], "clip")}


def _variant(name: str, video: Variant, **kwargs: Any) -> Variant:
    arguments = {"video": video.spec.name, **kwargs}
    size = vars(DEFAULT) | kwargs
    inputs = {"video": video.spec.video, "text": TextInput(size["text_length"], size["vocabulary"], "clip")}
    spec = Spec(name, inputs, task="retrieve", num_classes=0, paper="https://arxiv.org/abs/2103.00020")
    return Variant(dual_encoder, spec, arguments, inputs_of=_inputs)


_TINY = {"vocabulary": 256, "text_length": 32, "text_dim": 64, "text_depth": 2, "text_heads": 2, "embed": 64}
VARIANTS = {
    "dual_encoder": _variant("dual_encoder", RESNET3D["r2plus1d_18"]),
    "dual_encoder_tiny": _variant("dual_encoder_tiny", RESNET3D["r2plus1d_tiny"], **_TINY),
}
