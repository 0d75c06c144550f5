"""Weights of X3D, as named by pytorchvideo, the SlowFast repository and mmaction2.

The latter two have a norm on the first shortcut, which pytorchvideo leaves out; their networks are built with it.
"""

from vidjax.weights.layer_rules import batch_norm, conv, dense
from vidjax.weights.layouts import CONV3D, POINTWISE, Transform
from vidjax.weights.table import Rule, Source

MODELS = ("x3d_*",)
_IGNORE = ("*.num_batches_tracked",)
_WITH_NORM = {"norm_every_shortcut": True}

# A dense layer as a 1×1×1 convolution.
DENSE_CONV = Transform("O·I → 1·1·1·I·O", lambda x: x.T[None, None, None], lambda x: (x[0, 0, 0].T,))


def _conv_norm(key: str, norm: str, path: str, norm_path: str) -> tuple[Rule, ...]:
    """Rules for a convolution without bias, and its norm."""
    return Rule(f"{key}.weight", f"{path}.kernel", CONV3D), *batch_norm(norm, norm_path)


# Stem, four stages and head are the blocks 0 to 5. The stem's names are swapped: conv_t is 1×3×3.
_BLOCK, _PATH = "blocks.{s}.res_blocks.{b}", "stages.{s-1}.{b}"
PYTORCHVIDEO = Source(
    name="pytorchvideo",
    models=MODELS,
    signature=("blocks.0.conv.conv_t.weight", "blocks.1.res_blocks.0.branch2.conv_a.weight", "blocks.5.proj.weight"),
    rules=(
        Rule("blocks.0.conv.conv_t.weight", "stem.spatial.kernel", CONV3D),
        *_conv_norm("blocks.0.conv.conv_xy", "blocks.0.norm", "stem.temporal", "stem.norm"),
        *_conv_norm(f"{_BLOCK}.branch2.conv_a", f"{_BLOCK}.branch2.norm_a", f"{_PATH}.conv1", f"{_PATH}.norm1"),
        *_conv_norm(f"{_BLOCK}.branch2.conv_b", f"{_BLOCK}.branch2.norm_b.0", f"{_PATH}.conv2", f"{_PATH}.norm2"),
        *conv(f"{_BLOCK}.branch2.norm_b.1.block.0", f"{_PATH}.squeeze.fc1", POINTWISE),
        *conv(f"{_BLOCK}.branch2.norm_b.1.block.2", f"{_PATH}.squeeze.fc2", POINTWISE),
        *_conv_norm(f"{_BLOCK}.branch2.conv_c", f"{_BLOCK}.branch2.norm_c", f"{_PATH}.conv3", f"{_PATH}.norm3"),
        *_conv_norm(
            f"{_BLOCK}.branch1_conv", f"{_BLOCK}.branch1_norm", f"{_PATH}.shortcut.conv", f"{_PATH}.shortcut.norm"
        ),
        *_conv_norm("blocks.5.pool.pre_conv", "blocks.5.pool.pre_norm", "conv5", "norm5"),
        Rule("blocks.5.pool.post_conv.weight", "lin5.kernel", CONV3D),
        *dense("blocks.5.proj", "head"),
    ),
    ignore=_IGNORE,
)

# The stem is s1, the stages are s2 to s5.
_BLOCK, _PATH = "s{s}.pathway0_res{b}", "stages.{s-2}.{b}"
SLOWFAST = Source(
    name="slowfast",
    models=MODELS,
    signature=("s1.pathway0_stem.conv_xy.weight", "s2.pathway0_res0.branch2.a.weight", "head.lin_5.weight"),
    rules=(
        Rule("s1.pathway0_stem.conv_xy.weight", "stem.spatial.kernel", CONV3D),
        *_conv_norm("s1.pathway0_stem.conv", "s1.pathway0_stem.bn", "stem.temporal", "stem.norm"),
        *_conv_norm(f"{_BLOCK}.branch2.a", f"{_BLOCK}.branch2.a_bn", f"{_PATH}.conv1", f"{_PATH}.norm1"),
        *_conv_norm(f"{_BLOCK}.branch2.b", f"{_BLOCK}.branch2.b_bn", f"{_PATH}.conv2", f"{_PATH}.norm2"),
        *conv(f"{_BLOCK}.branch2.se.fc{{c}}", f"{_PATH}.squeeze.fc{{c}}", POINTWISE),
        *_conv_norm(f"{_BLOCK}.branch2.c", f"{_BLOCK}.branch2.c_bn", f"{_PATH}.conv3", f"{_PATH}.norm3"),
        *_conv_norm(f"{_BLOCK}.branch1", f"{_BLOCK}.branch1_bn", f"{_PATH}.shortcut.conv", f"{_PATH}.shortcut.norm"),
        *_conv_norm("head.conv_5", "head.conv_5_bn", "conv5", "norm5"),
        Rule("head.lin_5.weight", "lin5.kernel", CONV3D),
        *dense("head.projection", "head"),
    ),
    ignore=_IGNORE,
    kwargs=_WITH_NORM,
)

_BLOCK, _PATH = "layer{s}.{b}", "stages.{s-1}.{b}"
MMACTION2 = Source(
    name="mmaction2",
    models=MODELS,
    signature=("conv1_s.conv.weight", "layer1.0.conv1.conv.weight", "cls_head.fc2.weight"),
    rules=(
        Rule("conv1_s.conv.weight", "stem.spatial.kernel", CONV3D),
        *_conv_norm("conv1_t.conv", "conv1_t.bn", "stem.temporal", "stem.norm"),
        *_conv_norm(f"{_BLOCK}.conv{{c}}.conv", f"{_BLOCK}.conv{{c}}.bn", f"{_PATH}.conv{{c}}", f"{_PATH}.norm{{c}}"),
        *conv(f"{_BLOCK}.se_module.fc{{c}}", f"{_PATH}.squeeze.fc{{c}}", POINTWISE),
        *_conv_norm(
            f"{_BLOCK}.downsample.conv", f"{_BLOCK}.downsample.bn", f"{_PATH}.shortcut.conv", f"{_PATH}.shortcut.norm"
        ),
        *_conv_norm("conv5.conv", "conv5.bn", "conv5", "norm5"),
        Rule("cls_head.fc1.weight", "lin5.kernel", DENSE_CONV),
        *dense("cls_head.fc2", "head"),
    ),
    ignore=_IGNORE,
    prefixes=("backbone.",),
    kwargs=_WITH_NORM,
)

SOURCES = (PYTORCHVIDEO, SLOWFAST, MMACTION2)
