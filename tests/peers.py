"""Other libraries that tests compare with, or a reason to skip."""

from types import ModuleType

import pytest


def torchvision() -> ModuleType:
    """torchvision, beside a torch that is for CPUs alone.

    Its wheel then expects operators that nobody has declared; its networks do not use them.
    """
    torch = pytest.importorskip("torch")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", schema)
    return pytest.importorskip("torchvision")
