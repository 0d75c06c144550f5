"""Loading and writing of the weights of detectors: `load_detector("detr_r50", CHECKPOINT)`."""

import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from vidjax.models.detectors import abstract_detector, get_detector
from vidjax.models.families.detr import Detr
from vidjax.models.state import assign, split
from vidjax.weights.mapping import conversion, head_classes
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.table import recognise
from vidjax.weights.tables.detr import SOURCES
from vidjax.weights.write import rule_of, written

_HEADS = ("class_labels_classifier.", "bbox_predictor.")  # outside of transformers' `DetrModel`


def load_detector(name: str, checkpoint: str | os.PathLike | Mapping[str, Any], *, dtype: Any = None) -> Detr:
    """Create a named detector with a checkpoint's weights, in evaluation mode.

    Args:
      name: name of a detector, a key of `vidjax.models.detectors.DETECTORS`.
      checkpoint: a file or folder, or a mapping of arrays by the source's keys, see `read_state_dict`.
      dtype: dtype of the activations; parameters are float32.

    Raises:
      UserError: if no detector has that name.
      CheckpointError: if the checkpoint cannot be read, is of no known source, or does not fit; the message names the
        first differences, the error's `problems` all of them.
    """
    get_detector(name)
    state = read_state_dict(checkpoint)
    title = "state dict" if isinstance(checkpoint, Mapping) else os.fspath(checkpoint)
    try:
        source = recognise(state, name, among=SOURCES)
        classes = head_classes(state, source)
        assert classes is not None  # every source has a classifier
        network = abstract_detector(name, num_classes=classes - 1, dtype=dtype)
        _, params, stats = split(network)
        current = {**params, **stats}
        arrays = conversion(state, source, {path: array.shape for path, array in current.items()}).arrays
    except CheckpointError as error:
        raise CheckpointError(f"{title} into {name}: {error}", error.problems) from None
    assign(network, {path: jnp.asarray(array, current[path].dtype) for path, array in arrays.items()})
    return network


def detector_state_dict(network: Detr, to: str = "transformers") -> dict[str, np.ndarray]:
    """Convert a detector's weights to another framework's state dict.

    Args:
      network: the detector.
      to: name of the source: "transformers", or "transformers_resnet", whose network has transformers' own ResNet.

    Returns:
      `{key: array}` as in its files, without counters.

    Raises:
      CheckpointError: if there is no such source.
    """
    known = [source for source in SOURCES if not source.read_only]
    source = next((source for source in known if source.name == to), None)
    if source is None:
        names = ", ".join(dict.fromkeys(source.name for source in known))
        raise CheckpointError(f"a detector cannot be written as {to!r}, only as {names}")
    _, params, stats = split(network)
    arrays = {path: np.asarray(array) for path, array in {**params, **stats}.items()}
    found = {path: rule_of(source, path) for path in arrays}
    state = written(arrays, {path: made for path, made in found.items() if made is not None})
    return {key if key.startswith(_HEADS) else f"model.{key}": np.array(a, order="C") for key, a in state.items()}
