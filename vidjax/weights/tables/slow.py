"""Weights of C2D, Slow, I3D, non-local and R(2+1)D networks of 50 layers, as named by three projects.

These are pytorchvideo (hub `.pyth`), the SlowFast repository (`.pyth`; `.pkl` of caffe2 blobs) and mmaction2 (`.pth`).
No key distinguishes C2D with a max-pool over frames from C2D without, nor mmaction2's two kinds of non-local blocks:
only the name of the model does.
"""

from vidjax.weights.layer_rules import batch_norm, dense
from vidjax.weights.layouts import CONV3D, COPY
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.bottlenecks import (
    BLOB_LINEAR,
    CAFFE2_IGNORE,
    IGNORE,
    caffe2_pathway,
    mmaction2_pathway,
    pytorchvideo_stage,
    slowfast_pathway,
)

_STEM = (Rule("blocks.0.conv.weight", "stem.conv.kernel", CONV3D), *batch_norm("blocks.0.norm", "stem.norm"))

PYTORCHVIDEO = Source(
    name="pytorchvideo",
    models=("slow_r50", "slow_r50_4x16", "r2plus1d_r50"),
    signature=("blocks.0.conv.weight", "blocks.1.res_blocks.0.branch2.conv_a.weight", "blocks.5.proj.weight"),
    rules=(*_STEM, *pytorchvideo_stage("blocks.{s}", "stages.{s-1}"), *dense("blocks.5.proj", "head")),
    ignore=IGNORE,
)

# Block 2 is the max-pool over frames.
PYTORCHVIDEO_POOLED = Source(
    name="pytorchvideo",
    models=("c2d_r50", "i3d_r50"),
    signature=("blocks.0.conv.weight", "blocks.1.res_blocks.0.branch2.conv_a.weight", "blocks.6.proj.weight"),
    rules=(
        *_STEM,
        *pytorchvideo_stage("blocks.1", "stages.0"),
        *pytorchvideo_stage("blocks.{s}", "stages.{s-2}"),
        *dense("blocks.6.proj", "head"),
    ),
    ignore=IGNORE,
)

SLOWFAST = Source(
    name="slowfast",
    models=("slow_r50", "slow_r50_4x16", "c2d_r50", "c2d_r50_nopool", "i3d_r50", "i3d_r50_nl"),
    signature=("s1.pathway0_stem.conv.weight", "s2.pathway0_res0.branch2.a.weight", "head.projection.weight"),
    rules=(*slowfast_pathway(0, ""), *dense("head.projection", "head")),
    ignore=IGNORE,
)

CAFFE2 = Source(
    name="caffe2",
    read_only=True,  # some layers are named after the preceding one
    models=("slow_r50", "slow_r50_4x16", "c2d_r50_nopool", "i3d_r50", "i3d_r50_nl"),
    signature=("conv1_w", "res2_0_branch2a_w", "pred_w"),
    rules=(
        *caffe2_pathway("", ""),
        Rule("pred_w", "head.kernel", BLOB_LINEAR),
        Rule("pred_b", "head.bias", COPY),
    ),
    ignore=CAFFE2_IGNORE,
)

MMACTION2 = Source(
    name="mmaction2",
    models=("slow_r50_mm", "slow_r50_flow_mm", "i3d_r50_mm", "i3d_r50_nl_mm", "i3d_r50_nl_dot_mm"),
    signature=("conv1.conv.weight", "layer1.0.conv1.conv.weight", "cls_head.fc_cls.weight"),
    rules=(*mmaction2_pathway("", ""), *dense("cls_head.fc_cls", "head")),
    ignore=IGNORE,
    prefixes=("backbone.",),
)

SOURCES = (PYTORCHVIDEO, PYTORCHVIDEO_POOLED, SLOWFAST, CAFFE2, MMACTION2)
