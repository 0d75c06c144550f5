"""Weights of torchvision's ResNets: `models.resnet*` for images; `r3d_18`, `mc3_18`, `r2plus1d_18` for clips.

A 2D kernel becomes a 3D one of temporal extent 1: the frame-pooling networks see every frame by itself.
"""

from vidjax.weights.layer_rules import batch_norm, dense
from vidjax.weights.layouts import CONV2D, CONV3D
from vidjax.weights.table import Rule, Source

_HEAD = dense("fc", "head")
_IGNORE = ("*.num_batches_tracked",)
_BLOCK = "stages.{s-1}.{b}"

RESNET_2D = Source(
    name="torchvision2d",
    models=("frame_pool_r*", "single_frame_r*", "tsn_r*", "tsm_r*"),
    signature=("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.weight"),
    rules=(
        Rule("conv1.weight", "stem.conv.kernel", CONV2D),
        *batch_norm("bn1", "stem.norm"),
        Rule("layer{s}.{b}.conv{c}.weight", f"{_BLOCK}.conv{{c}}.kernel", CONV2D),
        *batch_norm("layer{s}.{b}.bn{c}", f"{_BLOCK}.norm{{c}}"),
        Rule("layer{s}.{b}.downsample.0.weight", f"{_BLOCK}.shortcut.conv.kernel", CONV2D),
        *batch_norm("layer{s}.{b}.downsample.1", f"{_BLOCK}.shortcut.norm"),
        *_HEAD,
    ),
    ignore=_IGNORE,
    # Learned poolings, and the classifier after one that gives more features than the image network has.
    fresh=("pooling.*", "head.*"),
)

# Names common to the video networks: `conv1` and `conv2` are sequences of a convolution and its norm.
_VIDEO = (
    *batch_norm("layer{s}.{b}.conv{c}.1", f"{_BLOCK}.norm{{c}}"),
    Rule("layer{s}.{b}.downsample.0.weight", f"{_BLOCK}.shortcut.conv.kernel", CONV3D),
    *batch_norm("layer{s}.{b}.downsample.1", f"{_BLOCK}.shortcut.norm"),
    *_HEAD,
)

RESNET_3D = Source(
    name="torchvision",
    models=("r3d_18", "mc3_18"),
    signature=("stem.0.weight", "stem.1.weight", "layer1.0.conv1.0.weight", "layer1.0.conv1.1.weight"),
    rules=(
        Rule("stem.0.weight", "stem.conv.kernel", CONV3D),
        *batch_norm("stem.1", "stem.norm"),
        Rule("layer{s}.{b}.conv{c}.0.weight", f"{_BLOCK}.conv{{c}}.kernel", CONV3D),
        *_VIDEO,
    ),
    ignore=_IGNORE,
)

# A factorised convolution is itself a sequence: 0 in space, 1 its norm, 2 the ReLU, 3 in time.
R2PLUS1D = Source(
    name="torchvision",
    models=("r2plus1d_18",),
    signature=("stem.0.weight", "stem.3.weight", "layer1.0.conv1.0.0.weight", "layer1.0.conv1.0.3.weight"),
    rules=(
        Rule("stem.0.weight", "stem.conv.spatial.kernel", CONV3D),
        *batch_norm("stem.1", "stem.conv.norm"),
        Rule("stem.3.weight", "stem.conv.temporal.kernel", CONV3D),
        *batch_norm("stem.4", "stem.norm"),
        Rule("layer{s}.{b}.conv{c}.0.0.weight", f"{_BLOCK}.conv{{c}}.spatial.kernel", CONV3D),
        *batch_norm("layer{s}.{b}.conv{c}.0.1", f"{_BLOCK}.conv{{c}}.norm"),
        Rule("layer{s}.{b}.conv{c}.0.3.weight", f"{_BLOCK}.conv{{c}}.temporal.kernel", CONV3D),
        *_VIDEO,
    ),
    ignore=_IGNORE,
)

SOURCES = (RESNET_2D, RESNET_3D, R2PLUS1D)
