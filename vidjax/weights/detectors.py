"""Loading and writing of the weights of detectors: `load_detector("detr_r50", CHECKPOINT)`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from vidjax.errors import UserError
from vidjax.models.detectors import abstract_detector, get_detector
from vidjax.models.families.detr import Detr
from vidjax.models.state import assign, split
from vidjax.weights.hf_config import read_object
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


def person_class(name: str, checkpoint: str | os.PathLike | Mapping[str, Any], num_classes: int) -> int:
    """Number of the class of people: by the names in a transformers folder, or else the published checkpoint's.

    Args:
      name: name of the detector.
      checkpoint: its checkpoint.
      num_classes: K, its number of classes.

    Raises:
      UserError: if the classes are not those of the published checkpoint, and there are several without a "person".
    """
    spec = get_detector(name)
    folder = None if isinstance(checkpoint, Mapping) else Path(checkpoint)
    labels = read_object(folder / "config.json").get("id2label") if folder is not None and folder.is_dir() else None
    for number, label in labels.items() if isinstance(labels, dict) else ():
        if str(label).lower() == "person" and str(number).isdigit() and int(number) < num_classes:
            return int(number)
    if num_classes == 1:
        return 0
    if num_classes != spec.num_classes:
        raise UserError(
            f"{'state dict' if folder is None else folder}: which of its {num_classes} classes is a person? "
            f'{name} has {spec.num_classes}; give a folder whose config.json names "person" in id2label'
        )
    return spec.person


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
