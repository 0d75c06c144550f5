"""Any named network of clips beside any named network of sound, see `vidjax.models.audio_visual`.

`--config.model.name=audio_visual --config.model.kwargs.pictures=tsm_r50 --config.model.kwargs.sound=ast_base
--config.model.kwargs.fusion=gated`: sizes and rates of both inputs are those of the two networks.
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from vidjax.config import Spec
from vidjax.errors import UserError
from vidjax.inputs import AudioInput, Input, VideoInput
from vidjax.models.arguments import by_field
from vidjax.models.audio_visual import AudioVisual, SoundFusion
from vidjax.models.families.panns import VARIANTS as PANNS
from vidjax.models.families.resnet3d import VARIANTS as RESNET3D
from vidjax.models.families.slow import VARIANTS as SLOW
from vidjax.models.registry import Variant, construct, get_spec

DEFAULTS = SoundFusion()


@by_field
def audio_visual(
    num_classes: int,
    *,
    pictures: str,
    sound: str,
    options: SoundFusion = DEFAULTS,
    pictures_options: Mapping[str, Any] | None = None,
    sound_options: Mapping[str, Any] | None = None,
    in_channels: int = 3,
    dropout: float = 0.5,
    remat: str = "",
    dtype: Any = None,
    rngs: nnx.Rngs,
) -> AudioVisual:
    """Build a network of two named ones.

    Args:
      num_classes: K, number of classes.
      pictures: name of the network of clips.
      sound: name of the network of sound.
      options: kind of fusion, passed as the fields of `vidjax.models.audio_visual.SoundFusion`.
      pictures_options: further arguments of the network of clips; None: none.
      sound_options: further arguments of the network of sound; None: none.
      in_channels: C, channels of the clips.
      dropout: probability of dropping a feature before the classifier, in training mode.
      remat: rematerialisation policy of the network of clips, one of `REMAT`, see `vidjax/nn/remat.py`.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      UserError: for networks that take other inputs, and an unknown kind of fusion.
      UnknownModelError: if no model has one of the names.
      ArgumentError: for an argument that a network does not take.
    """
    _inputs({"pictures": pictures, "sound": sound})
    shared = {"remat": remat} if remat else {}
    layers = {"dtype": dtype, "rngs": rngs}
    sees = construct(pictures, 1, shared | dict(pictures_options or {}), {"in_channels": in_channels}, **layers)
    hears = construct(sound, 1, dict(sound_options or {}), {}, **layers)
    return AudioVisual(sees, hears, num_classes, options=options, dropout=dropout, rngs=rngs)


def _inputs(kwargs: Mapping[str, Any]) -> dict[str, Input]:
    """Inputs of a network with these arguments: those of the two networks.

    Raises:
      UserError: if one of them takes another input.
    """
    found: dict[str, Input] = {}
    for argument, name, kind, like in (
        ("pictures", "video", VideoInput, "tsm_r50"),
        ("sound", "audio", AudioInput, "ast_base"),
    ):
        inputs = get_spec(kwargs[argument]).inputs
        if list(inputs) != [name] or not isinstance(inputs[name], kind):
            raise UserError(
                f"{argument} = {kwargs[argument]!r}: takes {', '.join(inputs)}; give a network of {name} alone, such "
                f"as {like}"
            )
        found[name] = inputs[name]
    return found


def _variant(name: str, pictures: Variant, sound: Variant, **kwargs: Any) -> Variant:
    """Named network of two others."""
    arguments = {"pictures": pictures.spec.name, "sound": sound.spec.name, **kwargs}
    paper = _PAPERS[kwargs.get("fusion", "concat")]
    spec = Spec(name, {**pictures.spec.inputs, **sound.spec.inputs}, num_classes=pictures.spec.num_classes, paper=paper)
    return Variant(audio_visual, spec, arguments, inputs_of=_inputs)


# Arandjelović & Zisserman, Look, Listen and Learn; Arevalo et al., Gated Multimodal Units.
_PAPERS = {"concat": "https://arxiv.org/abs/1705.08168", "gated": "https://arxiv.org/abs/1702.01992"}
_TINY = {"dropout": 0.0, "drop_pathway": 0.2}
VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("audio_visual", SLOW["slow_r50"], PANNS["panns_cnn14_16k"]),
        _variant("audio_visual_gated", SLOW["slow_r50"], PANNS["panns_cnn14_16k"], fusion="gated"),
        _variant("audio_visual_tiny", RESNET3D["r2plus1d_tiny"], PANNS["panns_tiny"], hidden=64, **_TINY),
        _variant("audio_visual_gated_tiny", RESNET3D["r2plus1d_tiny"], PANNS["panns_tiny"], fusion="gated", **_TINY),
    )
}
