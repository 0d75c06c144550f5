"""Loading and writing of the weights of detectors: `load_detector("detr_r50", CHECKPOINT)`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.errors import UserError
from vidjax.models.detectors import abstract_detector, get_detector
from vidjax.models.families.detr import Detr
from vidjax.weights.hf_config import read_object
from vidjax.weights.mapping import head_classes
from vidjax.weights.standalone import loaded, state_dict_of
from vidjax.weights.table import Source
from vidjax.weights.tables.detr import SOURCES

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

    def build(state: Mapping[str, np.ndarray], source: Source) -> Detr:
        classes = head_classes(state, source)
        assert classes is not None  # every source has a classifier
        return abstract_detector(name, num_classes=classes - 1, dtype=dtype)

    return loaded(name, checkpoint, SOURCES, build)


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
      `{key: array}` as in its files.

    Raises:
      CheckpointError: if there is no such source.
    """
    state, _ = state_dict_of(network, to, SOURCES, "a detector")
    return {key if key.startswith(_HEADS) else f"model.{key}": array for key, array in state.items()}
