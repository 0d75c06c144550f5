"""Other libraries that tests compare with, or a reason to skip."""

import importlib
import os
from types import ModuleType

import pytest


def needs(name: str) -> ModuleType:
    """A module that tests compare with; where it is not installed they are skipped, at the head of a file all of it.

    Not in CI, which installs every one: there a test that skips has stopped testing.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs {name}: pip install -e '.[test]'", allow_module_level=True)


def torchvision() -> ModuleType:
    """torchvision, beside a torch that is for CPUs alone.

    Its wheel then expects operators that nobody has declared; its networks do not use them.
    """
    torch = needs("torch")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", schema)
    return needs("torchvision")


def transformers() -> ModuleType:
    """transformers, whose video models import torchvision if it is there."""
    torchvision()
    return needs("transformers")
