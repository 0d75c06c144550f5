"""Named models: `create_model("r2plus1d_18", num_classes=400)`.

Each family's file ends in a table `VARIANTS: name → Variant`; this module only collects them.
"""

import dataclasses
import difflib
import fnmatch
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
from flax import nnx

from vidjax.config import ConfigError, Spec
from vidjax.config.choices import INPUTS
from vidjax.config.spec import with_input
from vidjax.errors import UserError
from vidjax.inputs import FlowFields, Input, VideoInput
from vidjax.models.arguments import arguments_of, check_arguments
from vidjax.models.base import Head, VideoNetwork
from vidjax.models.probe import Probe

# Files with a `VARIANTS` table.
FAMILIES = (
    "actionformer",
    "adatad",
    "audio_resnet",
    "audio_transformer",
    "audio_visual",
    "avslowfast",
    "bmn",
    "c3d",
    "captioner",
    "clip",
    "csn",
    "detection",
    "dual_encoder",
    "efficientnet",
    "feature_linear",
    "frame_networks",
    "frame_vit",
    "git",
    "inception",
    "internvideo2",
    "localise_linear",
    "mbt",
    "mvit",
    "panns",
    "raft",
    "recurrent",
    "resnet3d",
    "s3d",
    "shift",
    "slow",
    "slowfast",
    "swin",
    "temporalmaxer",
    "timesformer",
    "tridet",
    "two_stream",
    "vggish",
    "video_language",
    "videomae",
    "videomae_pretrain",
    "videoprism",
    "vivit",
    "vjepa2",
    "x3d",
    "xclip",
)


class UnknownModelError(UserError):
    """Error: no model has this name."""


@dataclass(frozen=True)
class Variant:
    """Named model: the class (or function) that builds it, its arguments, and the specification of its input.

    `build(num_classes=…, in_channels=…, rngs=…, dtype=…, **kwargs)` returns a `vidjax.models.base.VideoNetwork`, whose
    docstring is the contract. A network that is trained for another task than classification has no head and ignores
    `num_classes`; its `__call__(video, mask=None, rngs=None)` returns the pixels that the mask hides, see
    `vidjax.models.families.videomae_pretrain`.

    If a class has learned tables of `positions` and a clip's length and size are configured, the tables are made for
    these (arguments `num_frames` and `size`), and a checkpoint's tables are fitted to them.

    With `fixed_length` the network has weights for each frame of a clip: its argument `num_frames` must be the clip's
    length, and is set to the configured one, if any. With `fixed_size` the same holds for its argument `size`.

    If the inputs depend on the arguments, such as the names of networks inside, `inputs_of` maps these to them.

    With `words` the outputs are the words of a text, not classes of a data set, and their number is the spec's.
    """

    build: Callable[..., VideoNetwork]
    spec: Spec
    kwargs: dict[str, Any] = field(default_factory=dict)
    fixed_length: bool = False
    fixed_size: bool = False
    inputs_of: Callable[[Mapping[str, Any]], Mapping[str, Input]] | None = None
    words: bool = False

    @property
    def sized(self) -> dict[str, bool]:
        """Whether the arguments `num_frames` and `size` must be those of the clips."""
        tables = bool(getattr(self.build, "positions", {}))  # functions that build networks declare none
        needed = {"num_frames": tables or self.fixed_length, "size": tables or self.fixed_size}
        taken = arguments_of(self.build)  # tables of places alone are for clips of any length
        return {argument: need and argument in taken for argument, need in needed.items()}


def tiny_spec(name: str, paper: str, **changes: Any) -> Spec:
    """Specification of the small networks for learning and tests, `*_tiny`: 8 frames, every 2nd, of 64², 6 classes."""
    settings: dict[str, Any] = {
        "num_frames": 8, "stride": 2, "size": 64, "resize": (72,), "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25),
        "num_classes": 6,
    } | changes  # fmt: skip
    return Spec.of_video(name=name, paper=paper, **settings)


@cache
def _variants() -> dict[str, Variant]:
    found: dict[str, Variant] = {}
    for family in FAMILIES:
        for name, variant in importlib.import_module(f"vidjax.models.families.{family}").VARIANTS.items():
            if name in found or name != variant.spec.name:
                raise ValueError(
                    f"models/families/{family}.py: variant {name!r} is defined twice or its spec has another name"
                )
            found[name] = variant
    return found


def get_variant(name: str) -> Variant:
    """Return the table entry of a named model.

    Raises:
      UnknownModelError: if no model has that name; the message names similar ones.
    """
    known = _variants()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise UnknownModelError(f"there is no model {name!r}.{hint} vidjax.list_models() lists all {len(known)}.")
    return known[name]


def get_spec(name: str, kwargs: Mapping[str, Any] | None = None) -> Spec:
    """Specification of a named model: clip length, stride, size, normalisation, paper, checkpoint sources.

    Args:
      name: name of the model, one of `list_models()`.
      kwargs: arguments of its constructor that differ from those of the named model; None: none.

    Raises:
      UnknownModelError: if no model has that name; the message names similar ones.
    """
    variant = get_variant(name)
    if variant.inputs_of is None or not kwargs:
        return variant.spec
    return dataclasses.replace(variant.spec, inputs=variant.inputs_of({**variant.kwargs, **kwargs}))


def family_of(name: str) -> tuple[int, str]:
    """Index of a model's family in `FAMILIES`, and the family's name; sort key of tables.

    Raises:
      UnknownModelError: if no model has that name; the message names similar ones.
    """
    get_variant(name)
    modules = (importlib.import_module(f"vidjax.models.families.{family}") for family in FAMILIES)
    place = next(place for place, module in enumerate(modules) if name in module.VARIANTS)
    return place, FAMILIES[place]


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell-style pattern such as `"*r50*"`, sorted."""
    return sorted(fnmatch.filter(_variants(), pattern))


def need_transformer(name: str, setting: str) -> None:
    """Check that a model has Transformer blocks (`nn/blocks.py`), which `config.SETTING = True` needs.

    Raises:
      ConfigError: if it has none; the message names the families that do.
      UnknownModelError: if no model has that name; the message names similar ones.
    """

    def has_blocks(name: str) -> bool:
        return "scan_blocks" in arguments_of(get_variant(name).build)

    if not has_blocks(name):
        families = sorted({other.split("_")[0] for other in list_models() if has_blocks(other)})
        raise ConfigError(
            f"config.{setting} = True: {name} has no Transformer blocks; leave it False, or choose a model of "
            f"{', '.join(families)}"
        )


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    seed: int = 0,
    dtype: Any = None,
    input: str = "rgb",
    flow_fields: int = 0,
    probe: str = "",
    probe_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> VideoNetwork:
    """Create a freshly initialised model, in evaluation mode.

    Args:
      name: name of a model, one of `list_models()`.
      num_classes: K, outputs of the classifier; None: as many as the published checkpoint has; 0: no classifier, and
        `model(video)` equals `model.features(video)`.
      seed: seed of the initial weights.
      dtype: dtype of activations (such as `jnp.bfloat16`); parameters stay float32. None: float32.
      input: kind of input: "rgb" or "diff", the same layers; "rgb+diff": first layers for twice the channels; "flow" or
        "rgb+flow": for the 2·L channels of flow, alone or after the colours. A network made for flow has it anyway.
      flow_fields: L, fields of flow per frame; 0: as many as the network is made for, or 1.
      probe: kind of classifier on the frozen features, in place of the model's own: "linear" or "attentive", see
        `vidjax.models.probe.Probe`.
      probe_options: further arguments of `Probe`, such as `{"blocks": 4}`.
      **kwargs: further arguments of the family's constructor, such as `dropout=0.5` or `remat="full"`.

    Returns:
      A module: `model(video)` maps normalised float clips `(B, T, H, W, C)` to logits `(B, K)`, and
      `model.features(video)` to `(B, D)`. `model.train()` switches dropout and batch statistics on; calls in that mode
      take `rngs=nnx.Rngs(dropout=…)`.

    Raises:
      UnknownModelError: if no model has that name; the message names similar ones.
      ArgumentError: for an argument that the family does not take; the message names those that it takes.
      ValueError: for an unknown `input`, or a probe that the model cannot have.
    """
    return _build(name, num_classes, nnx.Rngs(seed), dtype, (input, flow_fields), probe, probe_options, kwargs)


def abstract_model(
    name: str,
    *,
    num_classes: int | None = None,
    dtype: Any = None,
    input: str = "rgb",
    flow_fields: int = 0,
    probe: str = "",
    probe_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> VideoNetwork:
    """Create a model with abstract arrays (shape and dtype only), without memory or compilation.

    Raises:
      UnknownModelError, ArgumentError, ValueError: as for `create_model`.
    """
    entering = (input, flow_fields)
    return nnx.eval_shape(lambda: _build(name, num_classes, OneKey(), dtype, entering, probe, probe_options, kwargs))


def construct(
    name: str, num_classes: int, kwargs: Mapping[str, Any], channels: Mapping[str, int], *, dtype: Any, rngs: Any
) -> VideoNetwork:
    """Construct a named network with its own classifier, by itself or as a part of another one.

    Args:
      name: name of the model.
      num_classes: K, number of classes, at least 1.
      kwargs: arguments of its constructor that differ from those of the named model.
      channels: argument `in_channels` of a network of clips; empty for others.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      UnknownModelError: if no model has that name; the message names similar ones.
      ArgumentError: for an argument that the family does not take; the message names those that it takes.
    """
    variant = get_variant(name)
    check_arguments(name, variant.build, kwargs)
    return variant.build(num_classes=num_classes, dtype=dtype, rngs=rngs, **{**variant.kwargs, **channels, **kwargs})


class OneKey:
    """Random streams for abstract models, with the same key every time.

    Flax's streams count their draws, and counting inside a trace takes time that grows with the square of the number of
    parameters: 13 s for the largest model.
    """

    def __init__(self):
        key = jax.random.key(0)
        self.params = lambda: key


def _channels(spec: Spec, input: str, flow_fields: int) -> dict[str, int]:
    """Argument `in_channels` of a network with a video input; empty for others."""
    if not any(isinstance(value, VideoInput) for value in spec.inputs.values()):
        if input != "rgb" or flow_fields:
            raise UserError(f"input = {input!r}, flow_fields = {flow_fields}: {spec.name} takes no video")
        return {}
    return {"in_channels": with_input(spec, input, FlowFields("", flow_fields, 0)).video.channels}


def _build(
    name: str,
    num_classes: int | None,
    rngs: Any,
    dtype: Any,
    entering: tuple[str, int],
    probe: str,
    probe_options: Mapping[str, Any] | None,
    kwargs: dict[str, Any],
) -> VideoNetwork:
    variant = get_variant(name)
    num_classes = variant.spec.num_classes if num_classes is None else num_classes
    if num_classes < 0:
        raise UserError(f"num_classes = {num_classes}: give the number of classes, or 0 for features only")
    # Without classes, build with one, so that all other weights are as for any number, and remove the head below.
    outputs = num_classes or 1
    if entering[0] not in INPUTS:
        raise ValueError(f"input = {entering[0]!r}: must be one of {', '.join(INPUTS)}")
    channels = _channels(variant.spec, *entering)
    model = construct(name, outputs, kwargs, channels, dtype=dtype, rngs=rngs)
    if probe:
        if model.head is None:
            raise ValueError(f"probe = {probe!r}: {name} has no classifier; use the model that is fine-tuned from it")
        if isinstance(model.head, Head) and model.head.reads:
            raise ValueError(f"probe = {probe!r}: {name} classifies {', '.join(model.head.reads)}, not whole clips")
        options = dict(probe_options or {})
        if options.get("layer"):
            spec = get_spec(name, kwargs)
            seen = with_input(spec, entering[0], FlowFields("", entering[1], 0)) if channels else spec
            options["example"] = {n: jax.ShapeDtypeStruct((1, *i.shape), "float32") for n, i in seen.inputs.items()}
        model = Probe(model, outputs, kind=probe, dtype=dtype, rngs=rngs, **options)
    elif probe_options:
        raise ValueError(f"probe_options = {dict(probe_options)}: apply only to a probe")
    if not num_classes:
        model.head = nnx.data(None)
    model.eval()
    return model
