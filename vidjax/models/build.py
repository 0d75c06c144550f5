"""Construction of the network that a config describes."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from vidjax import config as cfg
from vidjax.config.spec import resolve_spec
from vidjax.errors import UserError
from vidjax.inputs import DEVICE_FLOWS
from vidjax.models.base import VideoNetwork
from vidjax.models.exits import add_exits
from vidjax.models.flow_input import estimate_flow
from vidjax.models.low_rank import add_low_rank
from vidjax.models.registry import abstract_model, create_model, get_spec, get_variant, need_transformer
from vidjax.models.state import freeze

MakeHead = Callable[[VideoNetwork, nnx.Rngs], nnx.Module]


def build_model(
    config: cfg.Config, num_classes: int, *, dtype: Any, abstract: bool = False, head: MakeHead | None = None
) -> VideoNetwork:
    """Build the network that `config.model` describes, freshly initialised.

    Args:
      config: config of the run.
      num_classes: K, outputs of the network's own head; unused by networks whose outputs are words.
      dtype: dtype of activations; None: float32.
      abstract: whether to return shapes instead of arrays.
      head: function that makes a head to replace the network's own; None: keep its own.

    Raises:
      ConfigError: for settings that the network does not take, or parts to freeze that it does not have.
    """
    model = _build(config, num_classes, dtype=dtype, abstract=abstract)
    if head is not None:
        model.head = (
            nnx.eval_shape(lambda: head(model, nnx.Rngs(0))) if abstract else head(model, nnx.Rngs(config.seed))
        )
        model.eval()
    named = config.model
    if named.exits:
        try:
            spec = resolve_spec(get_spec(named.name, named.kwargs), config.data, named.input)
            add_exits(model, named.exits, num_classes, spec, seed=config.seed, abstract=abstract)
        except UserError as error:
            raise cfg.ConfigError(f"config.model.exits: {error}") from error
    if named.lora_rank:
        whole = named.lora_whole or _own_head(model, named.name, head)
        try:
            add_low_rank(
                model, named.lora_rank, named.lora_alpha or 2 * named.lora_rank, layers=named.lora_layers, whole=whole,
                seed=config.seed, abstract=abstract,
            )  # fmt: skip
        except UserError as error:
            raise cfg.ConfigError(f"config.model.lora_rank: {error}") from error
    if config.data.flow in DEVICE_FLOWS:
        estimate_flow(model, config.data.flow, dtype=dtype, abstract=abstract)
    if config.model.frozen:
        try:
            freeze(model, config.model.frozen)
        except UserError as error:
            raise cfg.ConfigError(f"config.model.frozen: {error}") from error
    return model


def _own_head(model: VideoNetwork, name: str, head: MakeHead | None) -> tuple[str, ...]:
    """The part that is new for a task and trained as a whole: not the decoder of a network made for words."""
    return () if model.head is None or (head is None and get_variant(name).words) else ("head",)


def _build(config: cfg.Config, num_classes: int, *, dtype: Any, abstract: bool) -> VideoNetwork:
    model = config.model
    kwargs = dict(model.kwargs)
    variant = get_variant(model.name)
    num_classes = variant.spec.num_classes if variant.words else num_classes
    for argument, sized in variant.sized.items():
        if sized and getattr(config.data.clip, argument):
            kwargs.setdefault(argument, getattr(config.data.clip, argument))
    if config.data.features.width:
        kwargs.setdefault("width", config.data.features.width)
    probe_options = _probe_options(model)
    if model.dropout >= 0:
        (probe_options if model.probe else kwargs)["dropout"] = model.dropout
    if model.drop_path >= 0:
        kwargs["drop_path"] = model.drop_path
    if model.remat:
        kwargs["remat"] = model.remat
    if model.scan_blocks:
        need_transformer(model.name, "model.scan_blocks")
        kwargs["scan_blocks"] = True
    if config.mesh.tokens:
        need_transformer(model.name, "mesh.tokens")

    entering = {"input": model.input, "flow_fields": config.data.flow_fields}
    arguments: dict[str, Any] = {"num_classes": num_classes, "dtype": dtype, **entering, **kwargs}
    if model.probe:
        arguments |= {"probe": model.probe, "probe_options": probe_options}
    try:
        return (
            abstract_model(model.name, **arguments)
            if abstract
            else create_model(model.name, seed=config.seed, **arguments)
        )
    except TypeError as error:
        raise cfg.ConfigError(
            f"config.model.name = {model.name!r} does not take all of {sorted(kwargs)}: {error}"
        ) from error
    except ValueError as error:
        if model.probe and not isinstance(error, UserError):
            raise cfg.ConfigError(f"config.model.probe = {model.probe!r} for {model.name}: {error}") from error
        if isinstance(error, UserError) or not kwargs:
            raise
        raise cfg.ConfigError(f"config.model.name = {model.name!r} with {kwargs}: {error}") from error


def _probe_options(model: cfg.ModelConfig) -> dict[str, Any]:
    if model.probe == "attentive":
        return {"blocks": model.probe_blocks, "heads": model.probe_heads}
    return {"norm": model.probe_norm, "layer": model.probe_layer} if model.probe else {}
