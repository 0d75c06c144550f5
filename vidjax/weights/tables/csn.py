"""Weights of CSN, as named by pytorchvideo (`csn_r101`) and mmaction2 (the networks of 50 and 152 layers)."""

from vidjax.weights.layer_rules import batch_norm, dense
from vidjax.weights.layouts import CONV3D
from vidjax.weights.table import Rule, Source

_IGNORE = ("*.num_batches_tracked",)

# Stem, four stages and head are the blocks 0 to 5.
_BLOCK, _PATH = "blocks.{s}.res_blocks.{b}", "stages.{s-1}.{b}"
_LAYERS = (("a", 1), ("b", 2), ("c", 3))

PYTORCHVIDEO = Source(
    name="pytorchvideo",
    models=("csn_r101",),
    signature=("blocks.0.conv.weight", "blocks.1.res_blocks.0.branch2.conv_b.weight", "blocks.5.proj.weight"),
    rules=(
        Rule("blocks.0.conv.weight", "stem.conv.kernel", CONV3D),
        *batch_norm("blocks.0.norm", "stem.norm"),
        *(Rule(f"{_BLOCK}.branch2.conv_{x}.weight", f"{_PATH}.conv{n}.kernel", CONV3D) for x, n in _LAYERS),
        *(rule for x, n in _LAYERS for rule in batch_norm(f"{_BLOCK}.branch2.norm_{x}", f"{_PATH}.norm{n}")),
        Rule(f"{_BLOCK}.branch1_conv.weight", f"{_PATH}.shortcut.conv.kernel", CONV3D),
        *batch_norm(f"{_BLOCK}.branch1_norm", f"{_PATH}.shortcut.norm"),
        *dense("blocks.5.proj", "head"),
    ),
    ignore=_IGNORE,
)


def _mmaction2(models: tuple[str, ...], depthwise: str, mix: tuple[Rule, ...] = ()) -> Source:
    """mmaction2's table; `depthwise` is the name of the depthwise convolution in the sequence `conv2`."""
    block = "layer{s}.{b}"
    return Source(
        name="mmaction2",
        models=models,
        signature=("conv1.conv.weight", f"layer1.0.conv2.{depthwise}.conv.weight", "cls_head.fc_cls.weight"),
        rules=(
            Rule("conv1.conv.weight", "stem.conv.kernel", CONV3D),
            *batch_norm("conv1.bn", "stem.norm"),
            *mix,
            Rule(f"{block}.conv2.{depthwise}.conv.weight", f"{_PATH}.conv2.kernel", CONV3D),
            *batch_norm(f"{block}.conv2.{depthwise}.bn", f"{_PATH}.norm2"),
            Rule(f"{block}.conv{{c}}.conv.weight", f"{_PATH}.conv{{c}}.kernel", CONV3D),
            *batch_norm(f"{block}.conv{{c}}.bn", f"{_PATH}.norm{{c}}"),
            Rule(f"{block}.downsample.conv.weight", f"{_PATH}.shortcut.conv.kernel", CONV3D),
            *batch_norm(f"{block}.downsample.bn", f"{_PATH}.shortcut.norm"),
            *dense("cls_head.fc_cls", "head"),
        ),
        ignore=_IGNORE,
        prefixes=("backbone.",),
    )


MMACTION2_IR = _mmaction2(("csn_ir_*",), "0")
MMACTION2_IP = _mmaction2(
    ("csn_ip_*",),
    "1",
    (
        Rule("layer{s}.{b}.conv2.0.conv.weight", f"{_PATH}.mix.conv.kernel", CONV3D),
        *batch_norm("layer{s}.{b}.conv2.0.bn", f"{_PATH}.mix.norm"),
    ),
)

SOURCES = (PYTORCHVIDEO, MMACTION2_IR, MMACTION2_IP)
