"""Weights of mmaction2's R(2+1)D of 34 layers, which factorises the shortcuts as well and names the two parts."""

from vidjax.weights.layer_rules import batch_norm, dense
from vidjax.weights.layouts import CONV3D
from vidjax.weights.table import Rule, Source

_BLOCK, _PATH = "layer{s}.{b}", "stages.{s-1}.{b}"


def _factorised(key: str, path: str, norm: str) -> tuple[Rule, ...]:
    """Rules for mmaction2's `Conv2plus1d` and the norm after it."""
    return (
        Rule(f"{key}.conv.conv_s.weight", f"{path}.spatial.kernel", CONV3D),
        *batch_norm(f"{key}.conv.bn_s", f"{path}.norm"),
        Rule(f"{key}.conv.conv_t.weight", f"{path}.temporal.kernel", CONV3D),
        *batch_norm(f"{key}.bn", norm),
    )


MMACTION2 = Source(
    name="mmaction2",
    models=("r2plus1d_34",),
    signature=("conv1.conv.conv_s.weight", "layer1.0.conv1.conv.conv_t.weight", "cls_head.fc_cls.weight"),
    rules=(
        *_factorised("conv1", "stem.conv", "stem.norm"),
        *_factorised(f"{_BLOCK}.conv{{c}}", f"{_PATH}.conv{{c}}", f"{_PATH}.norm{{c}}"),
        *_factorised(f"{_BLOCK}.downsample", f"{_PATH}.shortcut.conv", f"{_PATH}.shortcut.norm"),
        *dense("cls_head.fc_cls", "head"),
    ),
    ignore=("*.num_batches_tracked",),
    prefixes=("backbone.",),
)

SOURCES = (MMACTION2,)
