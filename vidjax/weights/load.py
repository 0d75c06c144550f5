"""`load_pretrained`: a named model with the weights of a checkpoint."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import nnx

from vidjax.models import create_model
from vidjax.models.state import assign, split
from vidjax.weights.mapping import convert, head_classes, recognise
from vidjax.weights.read import CheckpointError, read_state_dict

log = logging.getLogger("vidjax")

Checkpoint = str | os.PathLike | Mapping[str, Any]


@dataclass(frozen=True)
class LoadReport:
    """What was loaded: the source it was read as, how many parameters and statistics were set, and the classifier."""

    source: str
    num_loaded: int
    checkpoint_classes: int  # K of the checkpoint's classifier
    model_classes: int  # K of the model's

    @property
    def head_loaded(self) -> bool:
        """Whether the classifier came from the checkpoint; else it keeps its initial weights."""
        return self.checkpoint_classes == self.model_classes


def load_pretrained(
    name: str,
    checkpoint: Checkpoint,
    *,
    num_classes: int | None = None,
    source: str | None = None,
    dtype: Any = None,
    seed: int = 0,
    **kwargs: Any,
) -> nnx.Module:
    """A named model with a checkpoint's weights, in evaluation mode.

    Args:
      name: one of `vidjax.list_models()`.
      checkpoint: a file or folder, or a mapping of arrays by the source's keys; see `read_state_dict`.
      num_classes: K; None: as many as the checkpoint's classifier has. If it differs from those, the classifier starts
        anew from `seed`, and a warning is logged.
      source: how the checkpoint names its weights, one of the spec's `sources`; None: recognised by its keys.
      dtype: what activations are computed in; parameters are float32.
      seed: of the weights of a classifier that starts anew.
      **kwargs: further arguments of the model's constructor, as for `vidjax.create_model`.

    Raises:
      CheckpointError: if the checkpoint cannot be read, is of no known source, or differs from the model in anything
        but the number of classes; the message lists every name.
      ValueError: for an unknown model or source.
    """
    state_dict = read_state_dict(checkpoint)
    if num_classes is None:
        with _named(checkpoint, name):
            num_classes = head_classes(state_dict, recognise(state_dict, name, source))
    model = create_model(name, num_classes=num_classes, seed=seed, dtype=dtype, **kwargs)
    _set(model, state_dict, checkpoint, name, source, allow_head_mismatch=True)
    return model


def load_into(
    model: nnx.Module,
    checkpoint: Checkpoint,
    *,
    name: str,
    source: str | None = None,
    allow_head_mismatch: bool = True,
) -> LoadReport:
    """Set a model's parameters and statistics, in place, from a checkpoint.

    Args:
      model: the model as `create_model(name, …)` built it.
      checkpoint: a file or folder, or a mapping of arrays by the source's keys; see `read_state_dict`.
      name: of the model.
      source: how the checkpoint names its weights; None: recognised by its keys.
      allow_head_mismatch: let the classifier keep its weights if the number of classes differs, and log a warning;
        otherwise that is an error like any other.

    Raises:
      CheckpointError: if the checkpoint cannot be read, is of no known source, or does not fit; the model is unchanged.
    """
    return _set(model, read_state_dict(checkpoint), checkpoint, name, source, allow_head_mismatch)


def _set(
    model: nnx.Module,
    state_dict: Mapping[str, Any],
    checkpoint: Checkpoint,
    name: str,
    source: str | None,
    allow_head_mismatch: bool,
) -> LoadReport:
    _, params, stats = split(model)
    current = {**params, **stats}
    with _named(checkpoint, name):
        table = recognise(state_dict, name, source)
        shapes = {path: array.shape for path, array in current.items()}
        arrays = convert(state_dict, table, shapes, allow_head_mismatch=allow_head_mismatch)
        checkpoint_classes = head_classes(state_dict, table)
    assign(model, {path: jnp.asarray(array, current[path].dtype) for path, array in arrays.items()})
    model_classes = shapes[f"{table.head}.kernel"][-1]
    report = LoadReport(table.name, len(arrays), checkpoint_classes, model_classes)
    if not report.head_loaded:
        log.warning(
            "%s: the checkpoint's classifier has %d classes and %s is to have %d: it starts anew, the rest is loaded.",
            _title(checkpoint), checkpoint_classes, name, model_classes,
        )  # fmt: skip
    return report


@contextlib.contextmanager
def _named(checkpoint: Checkpoint, name: str) -> Iterator[None]:
    """Puts the file and the model before what a `CheckpointError` inside says."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{_title(checkpoint)} into {name}: {error}") from None


def _title(checkpoint: Checkpoint) -> str:
    return "state dict" if isinstance(checkpoint, Mapping) else str(checkpoint)
