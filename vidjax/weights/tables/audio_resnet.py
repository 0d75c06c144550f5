"""Weights of mmaction2's audio pathway; its ResNet-18 has the names of TSN, in `frame_networks.py`."""

from vidjax.weights.layer_rules import batch_norm, dense
from vidjax.weights.layouts import CONV2D
from vidjax.weights.table import Rule, Source

_BLOCK = "stages.{s-1}.{b}"


def _parallel(key: str, path: str) -> tuple[Rule, ...]:
    """Rules for `ConvAudio`: a convolution along time and one along bands."""
    return tuple(
        rule
        for number, name in ((1, "time"), (2, "bands"))
        for rule in (
            Rule(f"{key}.conv_{number}.conv.weight", f"{path}.{name}.conv.kernel", CONV2D),
            *batch_norm(f"{key}.conv_{number}.bn", f"{path}.{name}.norm"),
        )
    )


MMACTION2 = Source(
    name="mmaction2",
    models=("audio_r50_mm",),
    signature=("conv1.conv.conv_1.conv.weight", "layer1.0.conv2.conv.conv_2.conv.weight", "cls_head.fc_cls.weight"),
    rules=(
        *_parallel("conv1.conv", "stem.conv"),
        *batch_norm("conv1.bn", "stem.norm"),
        *_parallel("layer{s}.{b}.conv2.conv", f"{_BLOCK}.conv2"),
        Rule("layer{s}.{b}.conv{c}.conv.weight", f"{_BLOCK}.conv{{c}}.kernel", CONV2D),
        *batch_norm("layer{s}.{b}.conv{c}.bn", f"{_BLOCK}.norm{{c}}"),
        Rule("layer{s}.{b}.downsample.conv.weight", f"{_BLOCK}.shortcut.conv.kernel", CONV2D),
        *batch_norm("layer{s}.{b}.downsample.bn", f"{_BLOCK}.shortcut.norm"),
        *dense("cls_head.fc_cls", "head"),
    ),
    ignore=("*.num_batches_tracked",),
    prefixes=("backbone.",),
)

SOURCES = (MMACTION2,)
