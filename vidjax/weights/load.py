"""Loading of a checkpoint's weights into a named model: `load_pretrained`, `load_into`."""

import contextlib
import logging
import os
import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from vidjax.config import Spec
from vidjax.config.spec import with_input
from vidjax.inputs import AudioInput, FlowFields, VideoInput
from vidjax.models import create_model, get_spec
from vidjax.models.registry import abstract_model, family_of, list_models
from vidjax.models.state import assign, like, place, split
from vidjax.models.streams import Streams
from vidjax.weights import packages
from vidjax.weights.fit import Conversion
from vidjax.weights.hf_config import configured, describe, other_input
from vidjax.weights.low_rank import load_adapter
from vidjax.weights.mapping import conversion, head_classes
from vidjax.weights.positions import position_fit
from vidjax.weights.read import CheckpointError, SourceError, read_state_dict
from vidjax.weights.streams import joined, need_by_stream, of_streams, video_of
from vidjax.weights.table import Source, recognise, sources

log = logging.getLogger("vidjax")

_MOST = 6  # most other models that an error names

Checkpoint = str | os.PathLike | Mapping[str, Any]


@dataclass(frozen=True)
class LoadReport:
    """Report of a load: the source of the checkpoint, the number of arrays set, and what became of the classifier.

    The lists hold paths of parameters; `dropped` holds keys of the checkpoint. All parameters are set except those in
    `fresh` and a classifier that was not loaded.
    """

    source: str
    num_loaded: int
    checkpoint_classes: int | None  # K of the checkpoint's classifier; None: it has none
    model_classes: int  # K of the model's classifier; 0: it has none
    inflated: tuple[str, ...] = ()  # kernels of an image network, given a temporal extent
    resized: tuple[str, ...] = ()  # position tables of another grid
    widened: tuple[str, ...] = ()  # kernels for frames, with zeros for frame differences
    copied: tuple[str, ...] = ()  # from weights that primarily belong to another parameter
    fresh: tuple[str, ...] = ()  # newly initialised: the checkpoint's network lacks them
    dropped: tuple[str, ...] = ()  # left out: keys of parts that the model lacks, such as the decoder of a pre-training

    @property
    def head_loaded(self) -> bool:
        """Whether the classifier was loaded from the checkpoint; otherwise it keeps its initial weights."""
        return self.checkpoint_classes == self.model_classes


def load_pretrained(
    name: str,
    checkpoint: Checkpoint,
    *,
    num_classes: int | None = None,
    source: str | None = None,
    dtype: Any = None,
    seed: int = 0,
    inflation: str = "",
    adapter: str | os.PathLike = "",
    param_dtype: Any = jnp.float32,
    mesh: Mesh | None = None,
    **kwargs: Any,
) -> nnx.Module:
    """Create a named model with a checkpoint's weights, in evaluation mode.

    Normalise its input by `vidjax.get_spec(name)`; if a transformers folder has another mean or standard deviation, a
    warning gives them (and `vidjax.weights.describe` gives its class names).

    Args:
      name: name of the model, one of `vidjax.list_models()`.
      checkpoint: a file or folder, or a mapping of arrays by the source's keys, see `read_state_dict`; or "imagenet" or
        "kinetics": the trained network of an installed package, see `vidjax.weights.packages`. For a network of several
        streams one for each, see `vidjax.weights.streams.by_stream`.
      num_classes: K, number of classes; None: that of the checkpoint. If it differs from the checkpoint's, the
        classifier starts anew from `seed`, and a warning is logged.
      source: naming scheme of the checkpoint, one of the spec's `sources`; None: recognised by its keys.
      dtype: dtype of the activations.
      seed: random seed for parameters that start anew.
      inflation: placement of an image network's kernels over time: `"central"` (in the middle frame, else 0) or
        `"average"` (in every frame, divided by their number); empty: the model's attribute `inflation` decides, or
        else the source's table.
      **kwargs: further arguments of the model's constructor, as for `vidjax.create_model`.

    Raises:
      CheckpointError: if the checkpoint cannot be read, is of no known source, or differs from the model in anything
        but the number of classes; the message names the first differences, the error's `problems` all of them.
      ValueError: if the model, source or inflation is unknown, or nothing can be inflated.
    """
    model, _ = load_with_arguments(
        name, checkpoint, num_classes=num_classes, source=source, dtype=dtype, seed=seed, inflation=inflation,
        adapter=adapter, param_dtype=param_dtype, mesh=mesh, **kwargs,
    )  # fmt: skip
    warn_of_pixels(
        checkpoint, describe(checkpoint).clip, get_spec(name), f"get_spec({name!r})", "normalise its input that way"
    )
    return model


def warn_of_pixels(
    checkpoint: Checkpoint, clip: Mapping[str, Any], spec: Spec, whose: str, mend: str | None = None
) -> None:
    """Log a warning if pixels, or a spectrogram, are normalised otherwise than in the training of the checkpoint.

    Args:
      checkpoint: the checkpoint, for the message.
      clip: `mean` and `std` of its training, as far as they are known.
      spec: spec with the normalisation in use.
      whose: name of the spec's owner, for the message.
      mend: remedy, for the message; None: the training settings that give the checkpoint's normalisation.
    """
    known = {key: value for key, value in clip.items() if key in ("mean", "std")}
    if not known:
        return
    if audio := next((value for value in spec.inputs.values() if isinstance(value, AudioInput)), None):
        own, mend = audio.spectrogram, mend or "give it an input of that mean and deviation, unless it is to adapt"
    else:
        own = spec.video
        known = {key: value for key, value in known.items() if len(value) == len(own.mean)}
    if other := other_input(known, own):
        if mend is None:
            values = {key: ",".join(f"{v:.6g}" for v in value) for key, value in other.items()}
            settings = (f"--config.data.clip.{key}={value}" for key, value in values.items())
            mend = f"give {' '.join(settings)}, unless it is to adapt"
        told = "; ".join(f"{key} {value}, not {getattr(own, key)}" for key, value in other.items())
        text = "%s was trained with another normalisation than %s has: %s; %s"
        log.warning(text, _title(checkpoint), whose, told, mend)


def load_with_arguments(
    name: str,
    checkpoint: Checkpoint,
    *,
    num_classes: int | None = None,
    source: str | None = None,
    dtype: Any = None,
    seed: int = 0,
    inflation: str = "",
    adapter: str | os.PathLike = "",
    param_dtype: Any = jnp.float32,
    mesh: Mesh | None = None,
    **kwargs: Any,
) -> tuple[nnx.Module, dict[str, Any]]:
    """Like `load_pretrained`, but also return the constructor arguments with which `create_model` rebuilds the network.

    They are `kwargs` and those of the source, since its networks may differ from the named model.
    """
    if of_streams(name):
        whole = abstract_model(name, num_classes=num_classes, **kwargs)
        assert isinstance(whole, Streams)
        named, counts = dict(whole.names), {}
        for stream, path in need_by_stream(checkpoint, whole, name).items():
            own, counts[stream], _ = _made_for(named[stream], path, source)
            kwargs[f"{stream}_options"] = {**own, **(kwargs.get(f"{stream}_options") or {})}
        known = {count for count in counts.values() if count is not None}
        if num_classes is None and len(known) > 1:
            told = ", ".join(f"{stream} {count}" for stream, count in counts.items())
            raise CheckpointError(f"{name}: the streams' checkpoints have other classes ({told}); give num_classes")
        count = next(iter(known), None)
    else:
        own, count, checkpoint = _made_for(name, checkpoint, source)
        kwargs = {**own, **kwargs}
    num_classes = count if num_classes is None else num_classes
    # Drawing initial weights, only to replace them with the checkpoint's, would take most of the loading time.
    model = abstract_model(name, num_classes=num_classes, dtype=dtype, **kwargs)
    place(model, param_dtype, mesh)
    spec = get_spec(name)
    if spec.any_video:
        spec = with_input(spec, kwargs.get("input"), FlowFields("", kwargs.get("flow_fields", 0), 0))
    load_into(model, checkpoint, name=name, source=source, inflation=inflation, video=spec.any_video)
    _, params, stats = split(model)
    shapes = {path: array for path, array in {**params, **stats}.items() if isinstance(array, jax.ShapeDtypeStruct)}
    if shapes:
        _, params, stats = split(create_model(name, num_classes=num_classes, seed=seed, dtype=dtype, **kwargs))
        initial = {**params, **stats}
        assign(model, {path: like(shape, np.asarray(initial[path])) for path, shape in shapes.items()})
    if adapter:
        load_adapter(model, adapter, name=name)
    return model, kwargs


def _made_for(name: str, checkpoint: Checkpoint, source: str | None) -> tuple[dict[str, Any], int | None, Checkpoint]:
    """Arguments of the network for which a checkpoint is made, its number of classes, and the checkpoint as read."""
    found = packages.found(checkpoint, name)
    state_dict = read_state_dict(found, halves=True)
    with _named(found, name, state_dict):
        table = recognise(state_dict, name, source)
        return {**table.kwargs, **configured(found, table.configured)}, head_classes(state_dict, table), found


def load_into(
    model: nnx.Module,
    checkpoint: Checkpoint,
    *,
    name: str,
    source: str | None = None,
    allow_head_mismatch: bool = True,
    inflation: str = "",
    video: VideoInput | None = None,
) -> LoadReport:
    """Set a model's parameters and statistics, in place, from a checkpoint.

    Args:
      model: the model, as built by `create_model(name, …)`.
      checkpoint: a file or folder, or a mapping of arrays by the source's keys, see `read_state_dict`; or "imagenet" or
        "kinetics": the trained network of an installed package, see `vidjax.weights.packages`.
      name: name of the model.
      source: naming scheme of the checkpoint; None: recognised by its keys.
      allow_head_mismatch: whether the classifier keeps its weights, with a warning, if the number of classes differs;
        otherwise that raises an error.
      inflation: placement of an image network's kernels over time, as for `load_pretrained`.
      video: video that the network reads, if other than that of `get_spec(name)`.

    Raises:
      CheckpointError: if the checkpoint cannot be read, is of no known source, or does not fit; the model is unchanged.
      ValueError: if the source or inflation is unknown, or nothing can be inflated.
    """
    options = {"source": source, "allow_head_mismatch": allow_head_mismatch, "inflation": inflation}
    if isinstance(model, Streams):
        reports, named = {}, dict(model.names)
        for stream, path in need_by_stream(checkpoint, model, name).items():
            own = video_of(video or get_spec(name).video, model, stream)
            with model.alone(stream) as network:
                reports[stream] = load_into(network, path, name=named[stream], video=own, **options)
        return joined(reports)
    checkpoint = packages.found(checkpoint, name)
    return _set(
        model, read_state_dict(checkpoint, halves=True), checkpoint, name, source, allow_head_mismatch, inflation, video
    )


def _set(
    model: nnx.Module,
    state_dict: Mapping[str, Any],
    checkpoint: Checkpoint,
    name: str,
    source: str | None,
    allow_head_mismatch: bool,
    inflation: str,
    video: VideoInput | None = None,
) -> LoadReport:
    _, params, stats = split(model)
    current = {**params, **stats}
    shapes = {path: array.shape for path, array in current.items()}
    conventions = dict(getattr(model, "conventions", ()))
    with _named(checkpoint, name, state_dict):
        table = recognise(state_dict, name, source, conventions)
        _check_conventions(table, conventions)
        made = _converted(
            model, name, state_dict, table, shapes, allow_head_mismatch=allow_head_mismatch, inflation=inflation,
            video=video or get_spec(name).any_video, put=lambda path, array: like(current[path], array),
        )  # fmt: skip
        checkpoint_classes = head_classes(state_dict, table)
        if table.problem:
            arrays = {short: state_dict[key] for short, key in table.stripped(state_dict).items()}
            if problem := table.problem(arrays):
                raise CheckpointError(f"the checkpoint is of another network: {problem}")
    assign(model, made.arrays)
    model_classes = shapes[f"{table.head}.kernel"][-1] if f"{table.head}.kernel" in shapes else 0
    report = LoadReport(
        table.name, len(made.arrays), checkpoint_classes, model_classes,
        inflated=made.inflated, resized=made.resized, widened=made.widened, copied=made.copied, fresh=made.fresh,
        dropped=made.dropped,
    )  # fmt: skip
    warned = {"fresh": "newly initialised", "dropped": "left out, having no place in the model"}
    for title in ("inflated", "resized", "widened", "copied", "fresh", "dropped"):
        if paths := getattr(report, title):
            level, title = (logging.WARNING, warned[title]) if title in warned else (logging.INFO, title)
            log.log(level, "%s into %s: %s: %s", _title(checkpoint), name, title, ", ".join(grouped(paths)))
    if checkpoint_classes is not None and model_classes and not report.head_loaded:
        log.warning(
            "%s: the checkpoint's classifier has %d classes, but %s needs %d: it starts anew, the rest is loaded.",
            _title(checkpoint), checkpoint_classes, name, model_classes,
        )  # fmt: skip
    return report


def _check_conventions(table: Source, conventions: Mapping[str, Any]) -> None:
    """Refuse weights that fit a network by their shapes, but were trained with other conventions.

    Raises:
      SourceError: names the conventions, and the settings that give them.
    """
    if differs := table.differs(conventions):
        built = ", ".join(f"{key} = {conventions[key]!r}" for key in differs)
        theirs = ", ".join(f"{key} = {value!r}" for key, value in differs.items())
        settings = " ".join(f'--config.model.kwargs.{name}="{options}"' for name, options in table.kwargs.items())
        raise SourceError(
            f"networks of source {table.name} have {theirs}; this one is built with {built}, and would answer "
            f"wrongly. Build it with {settings or 'its defaults'} (load_pretrained does so by itself)."
        )


def _converted(
    model: nnx.Module,
    name: str,
    state_dict: Mapping[str, Any],
    table: Source,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    inflation: str = "",
    **kwargs: Any,
) -> Conversion:
    return conversion(
        state_dict, table, shapes,
        inflation=inflation or (getattr(model, "inflation", "") if table.inflates else ""),
        grid=getattr(model, "base_grid", None),
        positions=partial(position_fit, model, name),
        **kwargs,
    )  # fmt: skip


def takers(state_dict: Mapping[str, Any], name: str) -> list[str]:
    """List models other than `name`, of the same inputs, that fit a checkpoint with all its classes.

    Those of its family come first. Only keys and shapes are compared; no array is read or copied.
    """
    state_dict = {key: np.broadcast_to(np.float32(0), np.shape(array)) for key, array in state_dict.items()}
    tables = [table for table in sources() if not table.missing(state_dict)]
    found = set()
    for other in list_models():
        if get_spec(other).inputs.keys() != get_spec(name).inputs.keys():  # one with boxes starts from a classifier
            continue
        for table in tables:
            if other == name or not table.serves(other):
                continue
            with contextlib.suppress(CheckpointError):
                model = abstract_model(other, num_classes=head_classes(state_dict, table), **table.kwargs)
                _, params, stats = split(model)
                shapes = {path: array.shape for path, array in {**params, **stats}.items()}
                _converted(model, other, state_dict, table, shapes, put=lambda _, array: np.shape(array))
                found.add(other)
    return sorted(found, key=lambda other: (family_of(other) != family_of(name), other))


def _whose(state_dict: Mapping[str, Any], name: str) -> str:
    """A line that names the models that do fit a checkpoint which does not fit `name`; empty if none is known."""
    if found := takers(state_dict, name):
        more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
        return f"\nIts keys and shapes are those of {', '.join(found[:_MOST])}{more}."
    tables = [table for table in sources() if not table.serves(name) and not table.missing(state_dict)]
    if patterns := sorted({pattern for table in tables for pattern in table.models}):
        return f"\nThese are keys of another model: {', '.join(patterns)}."
    return ""


@contextlib.contextmanager
def _named(checkpoint: Checkpoint, name: str, state_dict: Mapping[str, Any]) -> Generator[None, None, None]:
    """Context that adds the file and the model to the message of a `CheckpointError`, and the models that do fit."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{_title(checkpoint)} into {name}: {error}", error.problems) from None
    except CheckpointError as error:
        message = f"{_title(checkpoint)} into {name}: {error}{_whose(state_dict, name)}"
        raise CheckpointError(message, error.problems) from None


def grouped(paths: Iterable[str]) -> list[str]:
    """Group paths that differ only in their numbers: `blocks.*.attn.qkv.kernel (12)`."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", path), []).append(path)
    return [f"{group} ({len(members)})" if len(members) > 1 else members[0] for group, members in groups.items()]


def _title(checkpoint: Checkpoint) -> str:
    return "state dict" if isinstance(checkpoint, Mapping) else str(checkpoint)
