"""Weight rules for pathways of bottlenecks (`vidjax.models.families.slow.Pathway`), project by project.

Each function gives the rules of one project. The caffe2 blobs are those of the SlowFast repository's first models;
its `utils/c2_model_loading.py` maps them to PyTorch's names.
"""

import numpy as np

from vidjax.weights.layer_rules import batch_norm, conv
from vidjax.weights.layouts import CONV3D, COPY, LINEAR, Transform
from vidjax.weights.table import Rule

IGNORE = ("*.num_batches_tracked",)
# Solver state and counters among caffe2's blobs.
CAFFE2_IGNORE = ("*momentum*", "lr", "lr_*", "model_iter")


def _five_axes(x: np.ndarray) -> np.ndarray:
    return CONV3D.forward(x.reshape(x.shape + (1,) * (5 - x.ndim)))


# Caffe2 stores 1×1×1 kernels with or without these axes.
BLOB_CONV3D = Transform("O·I[·T·H·W] → T·H·W·I·O", _five_axes, CONV3D.inverse)
BLOB_LINEAR = Transform("O·I[·1·1·1] → I·O", lambda x: LINEAR.forward(x.reshape(x.shape[:2])), LINEAR.inverse)


def blob_norm(blob: str, path: str) -> tuple[Rule, ...]:
    """Rules for caffe2's spatial norm → `BatchNorm`: scale, bias, running mean and variance (there called inverse)."""
    leaves = {"s": "scale", "b": "bias", "rm": "mean", "riv": "var"}
    return tuple(Rule(f"{blob}_{short}", f"{path}.{leaf}", COPY) for short, leaf in leaves.items())


def pytorchvideo_stage(key: str, path: str) -> tuple[Rule, ...]:
    """Rules for pytorchvideo's `create_res_stage`: the blocks `res_blocks.0`, … under `key`."""
    block, path = f"{key}.res_blocks.{{b}}", f"{path}.{{b}}"
    return (
        Rule(f"{block}.branch1_conv.weight", f"{path}.shortcut.conv.kernel", CONV3D),
        *batch_norm(f"{block}.branch1_norm", f"{path}.shortcut.norm"),
        # The middle convolution of R(2+1)D.
        Rule(f"{block}.branch2.conv_b.conv_t.weight", f"{path}.conv2.temporal.kernel", CONV3D),
        *batch_norm(f"{block}.branch2.conv_b.norm", f"{path}.conv2.norm"),
        Rule(f"{block}.branch2.conv_b.conv_xy.weight", f"{path}.conv2.spatial.kernel", CONV3D),
        *(
            rule
            for letter, number in (("a", 1), ("b", 2), ("c", 3))
            for rule in (
                Rule(f"{block}.branch2.conv_{letter}.weight", f"{path}.conv{number}.kernel", CONV3D),
                *batch_norm(f"{block}.branch2.norm_{letter}", f"{path}.norm{number}"),
            )
        ),
    )


def slowfast_pathway(pathway: int, path: str) -> tuple[Rule, ...]:
    """Rules for the SlowFast repository's stem and stages of a pathway; `path` is a module with a final dot, or ""."""
    block, target = f"s{{s}}.pathway{pathway}_res{{b}}", f"{path}stages.{{s-2}}.{{b}}"
    nonlocal_block, behind = f"s{{s}}.pathway{pathway}_nonlocal{{b}}", f"{path}nonlocals.{{s-2}}.{{b}}"
    return (
        Rule(f"s1.pathway{pathway}_stem.conv.weight", f"{path}stem.conv.kernel", CONV3D),
        *batch_norm(f"s1.pathway{pathway}_stem.bn", f"{path}stem.norm"),
        Rule(f"{block}.branch1.weight", f"{target}.shortcut.conv.kernel", CONV3D),
        *batch_norm(f"{block}.branch1_bn", f"{target}.shortcut.norm"),
        *(
            rule
            for letter, number in (("a", 1), ("b", 2), ("c", 3))
            for rule in (
                Rule(f"{block}.branch2.{letter}.weight", f"{target}.conv{number}.kernel", CONV3D),
                *batch_norm(f"{block}.branch2.{letter}_bn", f"{target}.norm{number}"),
            )
        ),
        *(rule for layer in ("theta", "phi", "g", "out") for rule in conv(f"{nonlocal_block}.conv_{layer}", f"{behind}.{layer}")),  # noqa: E501
        *batch_norm(f"{nonlocal_block}.bn", f"{behind}.norm"),
    )  # fmt: skip


def caffe2_pathway(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for caffe2's stem and stages of a pathway: `prefix` is "t_" for the Fast one, otherwise ""."""
    block, target = f"{prefix}res{{s}}_{{b}}", f"{path}stages.{{s-2}}.{{b}}"
    nonlocal_block, behind = f"{prefix}nonlocal_conv{{s}}_{{b}}", f"{path}nonlocals.{{s-2}}.{{b}}"
    return (
        Rule(f"{prefix}conv1_w", f"{path}stem.conv.kernel", BLOB_CONV3D),
        *blob_norm(f"{prefix}res_conv1_bn", f"{path}stem.norm"),
        Rule(f"{block}_branch1_w", f"{target}.shortcut.conv.kernel", BLOB_CONV3D),
        *blob_norm(f"{block}_branch1_bn", f"{target}.shortcut.norm"),
        *(
            rule
            for letter, number in (("a", 1), ("b", 2), ("c", 3))
            for rule in (
                Rule(f"{block}_branch2{letter}_w", f"{target}.conv{number}.kernel", BLOB_CONV3D),
                *blob_norm(f"{block}_branch2{letter}_bn", f"{target}.norm{number}"),
            )
        ),
        *(
            rule
            for layer in ("theta", "phi", "g", "out")
            for rule in (
                Rule(f"{nonlocal_block}_{layer}_w", f"{behind}.{layer}.kernel", BLOB_CONV3D),
                Rule(f"{nonlocal_block}_{layer}_b", f"{behind}.{layer}.bias", COPY),
            )
        ),
        *blob_norm(f"{nonlocal_block}_bn", f"{behind}.norm"),
    )


def mmaction2_pathway(key: str, path: str) -> tuple[Rule, ...]:
    """Rules for mmaction2's `ResNet3d`; `key` and `path` are modules with a final dot, or ""."""
    block, target = f"{key}layer{{s}}.{{b}}", f"{path}stages.{{s-1}}.{{b}}"
    nonlocal_block, behind = f"{block}.non_local_block", f"{path}nonlocals.{{s-1}}.{{b}}"
    return (
        Rule(f"{key}conv1.conv.weight", f"{path}stem.conv.kernel", CONV3D),
        *batch_norm(f"{key}conv1.bn", f"{path}stem.norm"),
        Rule(f"{block}.downsample.conv.weight", f"{target}.shortcut.conv.kernel", CONV3D),
        *batch_norm(f"{block}.downsample.bn", f"{target}.shortcut.norm"),
        Rule(f"{block}.conv{{c}}.conv.weight", f"{target}.conv{{c}}.kernel", CONV3D),
        *batch_norm(f"{block}.conv{{c}}.bn", f"{target}.norm{{c}}"),
        # The max-pool follows the convolutions of keys and values, in a sequence with them.
        *conv(f"{nonlocal_block}.theta.conv", f"{behind}.theta"),
        *conv(f"{nonlocal_block}.phi.0.conv", f"{behind}.phi"),
        *conv(f"{nonlocal_block}.g.0.conv", f"{behind}.g"),
        Rule(f"{nonlocal_block}.conv_out.conv.weight", f"{behind}.out.kernel", CONV3D),
        *batch_norm(f"{nonlocal_block}.conv_out.bn", f"{behind}.norm"),
    )
