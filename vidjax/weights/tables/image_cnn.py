"""Weights of 2D ResNets and Inception, inflated into 3D networks.

The video network is the image network with some kernels extended over frames, so its parameters have the image
network's paths, and a video of one repeated frame gives the image's activations (at the first and last frames only
if time is padded by repeating them). Parts that the image network lacks, such as non-local blocks, the Fast pathway
and lateral connections of SlowFast, start anew and are listed.

Sources: Carreira & Zisserman (arXiv 1705.07750, section 2.4.1); Feichtenhofer et al. (1604.07669) for kernels in the
middle frame only. Names: torchvision `models/resnet.py`, which timm's ResNets share, and `models/googlenet.py`.
"""

from collections.abc import Mapping
from dataclasses import replace

from vidjax.weights.fit import BESIDE, FIRST, INFLATIONS
from vidjax.weights.layer_rules import batch_norm
from vidjax.weights.layouts import CONV2D, LINEAR
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.slowfast import MMACTION2_MODELS, MODELS
from vidjax.weights.tables.torchvision import RESNET_2D


def _inflating(rule: Rule, prefix: str = "") -> Rule:
    """A rule of the image network, adapted to the video network, with its parameters under `prefix`."""
    fit = None
    if rule.transform == CONV2D:
        # The first convolution of a block, and its shortcut, also read the features of a lateral connection.
        fit = FIRST if rule.path.startswith("stem.") else BESIDE if prefix else INFLATIONS
        fit = fit["average"]
    return replace(rule, path=prefix + rule.path, fit=fit)


RESNET = replace(
    RESNET_2D,
    models=(
        "c2d_r*",
        "i3d_r*",
        "slow_r50",
        "slow_r50_4x16",
        "slow_r50_mm",
        "slow_r50_flow_mm",
        "r3d_18",
        "r3d_34",
        "mc3_18",
    ),
    rules=tuple(_inflating(rule) for rule in RESNET_2D.rules),
    fresh=("nonlocals.*",),
)

# The classifier sees both pathways, so it is not the image network's.
SLOW_PATHWAY = replace(
    RESNET_2D,
    models=(*MODELS, *MMACTION2_MODELS),
    rules=tuple(_inflating(rule, "slow.") for rule in RESNET_2D.rules if not rule.path.startswith("head.")),
    ignore=(*RESNET_2D.ignore, "fc.*"),
    fresh=("fast.*", "laterals.*", "head.*"),
)


def _unit(key: str, path: str, fit: Mapping = INFLATIONS) -> tuple[Rule, ...]:
    return (
        Rule(f"{key}.conv.weight", f"{path}.conv.kernel", CONV2D, fit["average"]),
        *batch_norm(f"{key}.bn", f"{path}.norm"),
    )


# Names of the blocks, stage by stage; then the branches of each block.
_STAGES = ("3a", "3b"), ("4a", "4b", "4c", "4d", "4e"), ("5a", "5b")
_BRANCHES = {
    "branch1": "branch0", "branch2.0": "branch1_reduce", "branch2.1": "branch1", "branch3.0": "branch2_reduce",
    "branch3.1": "branch2", "branch4.1": "branch3",
}  # fmt: skip

INCEPTION = Source(
    name="torchvision2d",
    models=("i3d_inception_*",),
    signature=("conv1.conv.weight", "inception3a.branch1.conv.weight", "inception5b.branch4.1.conv.weight"),
    rules=(
        *(rule for i in range(3) for rule in _unit(f"conv{i + 1}", f"stem.{i}", FIRST if i == 0 else INFLATIONS)),
        *(
            rule
            for s, stage in enumerate(_STAGES)
            for b, block in enumerate(stage)
            for branch, path in _BRANCHES.items()
            for rule in _unit(f"inception{block}.{branch}", f"stages.{s}.{b}.{path}")
        ),
        Rule("fc.weight", "head.kernel", LINEAR),
        Rule("fc.bias", "head.bias"),
    ),
    ignore=("*.num_batches_tracked", "aux1.*", "aux2.*"),
)

SOURCES = (RESNET, SLOW_PATHWAY, INCEPTION)
