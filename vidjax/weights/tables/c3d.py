"""Weights of C3D: mmaction2's, and DavideA/c3d-pytorch's port of the authors' network on Sports-1M (487 classes).

The demonstration of the second feeds pixels of 0…255 and subtracts no mean, unlike mmaction2.
"""

import numpy as np

from vidjax.weights.layer_rules import conv, dense
from vidjax.weights.layouts import COPY, Transform
from vidjax.weights.table import Rule, Source

_LAST_WIDTH = 512  # channels of the map that the first dense layer reads, as C·T·H·W there and T·H·W·C here


def _forward(weight: np.ndarray) -> np.ndarray:
    if weight.ndim != 2 or weight.shape[1] % _LAST_WIDTH:
        raise ValueError(f"its inputs must be a map of {_LAST_WIDTH} channels")
    return weight.reshape(len(weight), _LAST_WIDTH, -1).transpose(2, 1, 0).reshape(-1, len(weight))


def _inverse(kernel: np.ndarray) -> tuple[np.ndarray, ...]:
    out = kernel.shape[1]
    return (kernel.reshape(-1, _LAST_WIDTH, out).transpose(2, 1, 0).reshape(out, -1),)


MAP_LINEAR = Transform("O·(C·T·H·W) → (T·H·W·C)·O", _forward, _inverse)

# Place of each convolution: stage, and number within it.
_CONVS = {"1a": "0.0", "2a": "1.0", "3a": "2.0", "3b": "2.1", "4a": "3.0", "4b": "3.1", "5a": "4.0", "5b": "4.1"}
_DENSE = (Rule("fc6.weight", "fc6.kernel", MAP_LINEAR), Rule("fc6.bias", "fc6.bias", COPY), *dense("fc7", "fc7"))

MMACTION2 = Source(
    name="mmaction2",
    models=("c3d",),
    signature=("conv1a.conv.weight", "conv5b.conv.bias", "fc6.weight"),
    rules=(
        *(rule for name, place in _CONVS.items() for rule in conv(f"conv{name}.conv", f"stages.{place}")),
        *_DENSE,
        *dense("cls_head.fc_cls", "head"),
    ),
    prefixes=("backbone.",),
    # The Sports-1M weights from which its training starts have only the backbone.
    fresh=("head.*",),
)

C3D_PYTORCH = Source(
    name="c3d_pytorch",
    models=("c3d",),
    signature=("conv1.weight", "conv5b.bias", "fc6.weight", "fc8.weight"),
    rules=(
        # The names of stages with one convolution are only a number.
        *(
            rule
            for name, place in _CONVS.items()
            for rule in conv(f"conv{name.rstrip('a') if name in ('1a', '2a') else name}", f"stages.{place}")
        ),
        *_DENSE,
        *dense("fc8", "head"),
    ),
)

SOURCES = (MMACTION2, C3D_PYTORCH)
