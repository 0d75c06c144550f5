"""Weights of 2D ResNets in video models: torchvision's image networks, and mmaction2's TSN and TSM.

torchvision's own table, `RESNET_2D`, has the networks that share the image network's classifier. The tables here are
for networks that process the frames' features further: an image checkpoint has no weights for their pooling, recurrence
and classifier.
"""

from dataclasses import replace

from vidjax.weights.fit import INFLATIONS
from vidjax.weights.layer_rules import batch_norm, dense
from vidjax.weights.layouts import CONV2D
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.torchvision import RESNET_2D

# The first kernel is repeated for every frame and divided by their number, so that a still clip looks like the image.
EARLY_FUSION = replace(
    RESNET_2D,
    models=("early_fusion_r*",),
    rules=(Rule("conv1.weight", "stem.conv.kernel", CONV2D, INFLATIONS["average"]), *RESNET_2D.rules[1:]),
)

BODY_2D = replace(
    RESNET_2D,
    models=("late_fusion_r*", "cnn_*_r*", "rcn_*_r*"),
    rules=tuple(rule for rule in RESNET_2D.rules if not rule.path.startswith("head.")),
    ignore=(*RESNET_2D.ignore, "fc.*"),
    fresh=("pooling.*", "head.*"),
)

_BLOCK = "stages.{s-1}.{b}"


def _mmaction2(models: tuple[str, ...], first: str) -> Source:
    """mmaction2's ResNet; `first` is its name for the first convolution of a block."""
    return Source(
        name="mmaction2",
        models=models,
        signature=("conv1.conv.weight", f"layer1.0.{first}.weight", "cls_head.fc_cls.weight"),
        rules=(
            Rule("conv1.conv.weight", "stem.conv.kernel", CONV2D),
            *batch_norm("conv1.bn", "stem.norm"),
            Rule(f"layer{{s}}.{{b}}.{first}.weight", f"{_BLOCK}.conv1.kernel", CONV2D),
            *batch_norm("layer{s}.{b}.conv1.bn", f"{_BLOCK}.norm1"),
            Rule("layer{s}.{b}.conv{c}.conv.weight", f"{_BLOCK}.conv{{c}}.kernel", CONV2D),
            *batch_norm("layer{s}.{b}.conv{c}.bn", f"{_BLOCK}.norm{{c}}"),
            Rule("layer{s}.{b}.downsample.conv.weight", f"{_BLOCK}.shortcut.conv.kernel", CONV2D),
            *batch_norm("layer{s}.{b}.downsample.bn", f"{_BLOCK}.shortcut.norm"),
            *dense("cls_head.fc_cls", "head"),
        ),
        ignore=("*.num_batches_tracked",),
        prefixes=("backbone.",),
    )


TSN = _mmaction2(("tsn_r*", "audio_r18_mm"), "conv1.conv")
TSM = _mmaction2(("tsm_r*",), "conv1.conv.net")  # wrapped by the shift

SOURCES = (EARLY_FUSION, BODY_2D, TSN, TSM)
