"""Initial weights of a run, from a vidjax checkpoint or a file of another framework."""

import logging

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Config, ConfigError, Spec
from vidjax.config.spec import other_flow
from vidjax.inputs import DEVICE_FLOWS, VideoInput
from vidjax.models.exits import PREFIX as PREFIX_OF_EXITS
from vidjax.models.exits import without_exits
from vidjax.models.flow_input import PREFIX, without_flow_network
from vidjax.models.inputs import fit_channels
from vidjax.models.low_rank import without_low_rank
from vidjax.models.probe import Probe, plain_head
from vidjax.models.registry import get_spec
from vidjax.models.state import Arrays, assign, split
from vidjax.models.streams import Streams
from vidjax.training import checkpoints as ckpt
from vidjax.weights import load_into
from vidjax.weights.flow_networks import load_flow_network
from vidjax.weights.hf_config import describe
from vidjax.weights.inflate import inflate
from vidjax.weights.load import grouped, warn_of_pixels
from vidjax.weights.low_rank import load_adapter
from vidjax.weights.positions import position_fit
from vidjax.weights.read import CheckpointError
from vidjax.weights.streams import by_stream, example, spec_of

# Newly initialised parts of a classifier that starts from a network pre-trained without labels.
_NEW = ("head.", "fc_norm.")

logger = logging.getLogger("vidjax")


def start(model: nnx.Module, config: Config, spec: Spec) -> None:
    """Give a new run's network the weights that its config names; a warning is logged where frozen parts stay random.

    Args:
      model: the network, as `build_model` made it.
      config: config of the run.
      spec: spec of its clips.

    Raises:
      CheckpointError, CheckpointFolderError, ConfigError: as `start_from` and `load_flow` do.
    """
    named = config.model
    if named.init_from:
        with without_flow_network(model), without_low_rank(model):
            start_from(model, named.init_from, named.name, named.inflation, spec)
    elif named.probe:
        logger.warning("config.model.init_from is empty: the probe's frozen network has random weights")
    elif named.lora_rank:
        logger.warning("config.model.init_from is empty: the frozen network beside the low-rank pairs is random")
    if named.lora_from:
        load_adapter(model, named.lora_from, name=named.name)
    if config.data.flow in DEVICE_FLOWS:
        load_flow(model, config.data.flow, config.data.flow_weights)


def start_from(model: nnx.Module, checkpoint: str, name: str, inflation: str = "", spec: Spec | None = None) -> None:
    """Set `model`'s arrays from a vidjax checkpoint folder or a file of another framework, except for a head of
    another size, which stays new.

    From a network pre-trained without labels, a classifier takes the encoder; its head, and a norm before the head,
    stay new, and the log names the arrays left out.

    Kernels of a vidjax network for images or frames are inflated if this one has a temporal extent there: see
    `vidjax.weights.inflate`.

    A probe takes its backbone from a network's checkpoint, or everything from a probe's. A network takes the backbone
    of a probe's checkpoint, and a linear probe as its classifier.

    Early exits are taken from a checkpoint of a run that has the same; otherwise they stay new.

    A network of several streams takes a checkpoint for each, or for some of them; streams without one start anew.

    Args:
      model: model built by `create_model(name, …)`.
      checkpoint: checkpoint file or folder; for a network of several streams also `rgb=PATH,flow=PATH`.
      name: name of the model.
      inflation: rule of inflation, see the config; empty: the rule of the model or the source's table, and "average"
        for a vidjax network.
      spec: spec of the training clips; a warning is logged if the checkpoint's network is known to expect pixels
        normalised differently. None: no check.

    Raises:
      CheckpointError, CheckpointFolderError: if anything but the head does not fit; names all of it.
      ConfigError: if an inflation is given but the checkpoint has nothing to inflate, or if the two networks use
        different kinds of positions.
    """
    if isinstance(model, Streams) and (paths := by_stream(checkpoint, model)):
        for stream, path in paths.items():
            with model.alone(stream) as network:
                own = None if spec is None else spec_of(spec, model, stream)
                start_from(network, path, dict(model.names)[stream], inflation, own)
        return
    if not ckpt.is_checkpoint(checkpoint):
        try:
            network = model.backbone if isinstance(model, Probe) else model
            with without_exits(network):
                load_into(network, checkpoint, name=name, inflation=inflation, video=spec.any_video if spec else None)
        except ValueError as error:
            if isinstance(error, CheckpointError) or not inflation:
                raise
            raise ConfigError(f"config.model.inflation: {error}; leave it empty") from None
        if spec is not None:
            warn_of_pixels(checkpoint, describe(checkpoint).clip, spec, "this run")
        return
    source, meta, _ = ckpt.load_model(checkpoint)
    if spec is not None:
        if different := other_flow(meta.spec, spec):
            logger.warning("%s: %s", checkpoint, different)
        for name_of, value in meta.spec.inputs.items():
            if isinstance(value, VideoInput) and isinstance(spec.inputs.get(name_of), VideoInput):
                warn_of_pixels(checkpoint, {"mean": value.mean, "std": value.std}, spec, "this run")
    if isinstance(model, Streams) and not isinstance(source, Streams):
        raise ConfigError(
            f"config.model.init_from = {checkpoint!r}: holds {meta.config.model.name}, not {name} with all its "
            f"streams; name the stream that takes it, {example(model)}"
        )
    with without_flow_network(source):
        arrays = {path: array for part in split(source)[1:] for path, array in part.items()}
    if isinstance(model, Probe) and not meta.config.model.probe:
        model = model.backbone
    if getattr(model, "head", None) is None:
        arrays = {path: array for path, array in arrays.items() if not path.startswith("head.")}
    _check_positions(model, source, checkpoint)
    _, params, stats = split(model)
    own = params | stats
    if meta.config.model.probe and not isinstance(model, Probe):
        arrays = _unwrapped(arrays, own, checkpoint, meta.config.model.probe_layer)
    arrays = _with_exits(arrays, own)
    if meta.spec.task != get_spec(name).task:
        arrays = _encoder(arrays, own, f"{checkpoint} ({meta.config.model.name}) into {name}")
    video = spec.any_video if spec else None
    other = {p: np.asarray(a) for p, a in arrays.items() if p in own and a.shape != own[p].shape}
    arrays |= {p: jnp.asarray(fit_channels(a, own[p].shape, video)) for p, a in other.items()}
    arrays = _fitted(arrays, own, model, name, getattr(source, "backbone", source), f"{checkpoint} into {name}")
    new_head = {p for p in own if p.startswith("head.") and p in arrays and arrays[p].shape != own[p].shape}
    kept = {p: a for p, a in arrays.items() if p not in new_head}
    wanted = {p: a.shape for p, a in own.items() if p not in new_head}
    flat = [p for p, a in kept.items() if a.ndim == 5 and a.shape[0] == 1 < wanted.get(p, a.shape)[0]]
    if flat:
        made = inflate(kept, wanted, inflation or "average")
        logger.info("%s into %s: %d kernels are inflated", checkpoint, name, len(made.inflated))
        if made.fresh:
            logger.warning("%s into %s: newly initialised: %s", checkpoint, name, ", ".join(made.fresh))
        kept = made.arrays
    elif inflation:
        raise ConfigError(
            f"config.model.inflation = {inflation!r}: {checkpoint} ({meta.config.model.name}) has no kernels that "
            f"{name} needs inflated; leave it empty"
        )
    elif wrong := ckpt.mismatches(kept, {p: own[p] for p in wanted}):
        raise ckpt.CheckpointFolderError(
            f"{checkpoint} ({meta.config.model.name}) does not fit {name}:\n" + "\n".join(wrong)
        )
    if new_head:
        logger.warning(
            "%s has %d classes, not %d: the head is newly initialised",
            checkpoint,
            len(meta.labels.names),
            own[min(new_head)].shape[-1],
        )
    assign(model, kept)


def load_flow(model: nnx.Module, method: str, checkpoint: str) -> None:
    """Set the weights of a model's flow network, see `vidjax.models.flow_input`.

    Args:
      model: model with a flow network.
      method: name of the flow network.
      checkpoint: its checkpoint.

    Raises:
      ConfigError: if none is given.
      CheckpointError: if it does not fit.
    """
    if not checkpoint:
        raise ConfigError(
            f"config.data.flow_weights is empty: data.flow={method} is a network; give its checkpoint, such as "
            f"torchvision's {method}, or choose an algorithm that needs none, such as data.flow=dis_fast"
        )
    _, params, stats = split(load_flow_network(method, checkpoint))
    assign(model, {f"{PREFIX}network.{path}": array for path, array in {**params, **stats}.items()})


def _check_positions(model: nnx.Module, source: nnx.Module, checkpoint: str) -> None:
    """Refuse other fixed positions: no checkpoint stores them, so a mismatch would go unnoticed."""
    own, there = (getattr(getattr(m, "backbone", m), "position_kind", None) for m in (model, source))
    if own and there and own != there:
        raise ConfigError(
            f"config.model.kwargs: {checkpoint} was trained with positions = {there!r}, this network has {own!r}; give "
            f"--config.model.kwargs.positions={there}"
        )


def _fitted(arrays: Arrays, own: Arrays, model: nnx.Module, name: str, source: nnx.Module, title: str) -> Arrays:
    """`arrays` of the network `source`, with its tables of positions fitted to the model's grid of tokens."""
    prefix = "backbone." if isinstance(model, Probe) else ""
    model = getattr(model, "backbone", model)
    fits = {
        path: position_fit(model, name, path.removeprefix(prefix), getattr(source, "base_grid", None))
        for path, array in arrays.items()
        if path in own and array.shape != own[path].shape
    }
    fits = {path: fit for path, fit in fits.items() if fit}
    if not fits:
        return arrays
    logger.info("%s: resized: %s", title, ", ".join(grouped(fits)))
    return arrays | {
        path: jnp.asarray(fit.forward(np.asarray(arrays[path]), own[path].shape, getattr(model, "base_grid", None)))
        for path, fit in fits.items()
    }


def _encoder(arrays: Arrays, own: Arrays, title: str) -> Arrays:
    """`arrays` of a pre-trained network as those of a classifier, completed by the classifier's `own` ones.

    Only the head and the norm before it are the classifier's own; the encoder's last norm is fitted to other features.
    """
    new = {path for path in own if path.startswith(_NEW)}
    dropped = {path for path in arrays if path not in own or path in new}
    logger.warning("%s: left out, having no place there: %s", title, ", ".join(grouped(sorted(dropped))))
    logger.warning("%s: newly initialised: %s", title, ", ".join(grouped(sorted(new))))
    return {path: a for path, a in arrays.items() if path not in dropped} | {path: own[path] for path in new}


def _with_exits(arrays: Arrays, own: Arrays) -> Arrays:
    """`arrays` with the exits that the model has: theirs, or the new ones among its `own` arrays if they differ."""
    theirs, new = ({p: a for p, a in each.items() if p.startswith(PREFIX_OF_EXITS)} for each in (arrays, own))
    if {p: a.shape for p, a in theirs.items()} == {p: a.shape for p, a in new.items()}:
        return arrays
    return {p: a for p, a in arrays.items() if p not in theirs} | new


def _unwrapped(arrays: Arrays, own: Arrays, title: str, layer: str) -> Arrays:
    """A probe's `arrays` as those of its backbone network; a classifier that does not fit that network is replaced by
    the one in `own`."""
    network = {path.removeprefix("backbone."): a for path, a in arrays.items() if path.startswith("backbone.")}
    if layer or any(path.startswith("pooler.") for path in arrays):
        probe = f"probe of {layer}" if layer else "attentive probe"
        logger.warning("%s: the %s is left out; the head is newly initialised", title, probe)
        return network | {path: a for path, a in own.items() if path.startswith("head.")}
    return network | {f"head.{name}": array for name, array in plain_head(arrays).items()}
