"""Weights of SlowFast, as named by pytorchvideo (hub `.pyth`), its own repository (`.pyth`; `.pkl` of caffe2 blobs)
and mmaction2 (`.pth`).
"""

import numpy as np

from vidjax.weights.layer_rules import batch_norm, dense
from vidjax.weights.layouts import CONV3D, COPY, Transform
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.bottlenecks import (
    BLOB_CONV3D,
    BLOB_LINEAR,
    CAFFE2_IGNORE,
    IGNORE,
    blob_norm,
    caffe2_pathway,
    mmaction2_pathway,
    pytorchvideo_stage,
    slowfast_pathway,
)

MODELS = tuple(f"slowfast_{name}" for name in ("r50_4x16", "r50_8x8", "r101_8x8", "r101_16x8"))
MMACTION2_MODELS = tuple(f"slowfast_{name}_mm" for name in ("r50_4x16", "r50_8x8", "r101_8x8", "r101_r50_4x16"))

_PATHWAY = "multipathway_blocks"


def pytorchvideo_pathway(number: int, name: str) -> tuple[Rule, ...]:
    """Rules for the stem and stages of a pathway of pytorchvideo, `name` here."""
    return (
        Rule(f"blocks.0.{_PATHWAY}.{number}.conv.weight", f"{name}.stem.conv.kernel", CONV3D),
        *batch_norm(f"blocks.0.{_PATHWAY}.{number}.norm", f"{name}.stem.norm"),
        *pytorchvideo_stage(f"blocks.{{s}}.{_PATHWAY}.{number}", f"{name}.stages.{{s-1}}"),
    )


PYTORCHVIDEO = Source(
    name="pytorchvideo",
    models=MODELS,
    signature=(
        f"blocks.0.{_PATHWAY}.0.conv.weight",
        f"blocks.0.{_PATHWAY}.1.conv.weight",
        "blocks.0.multipathway_fusion.conv_fast_to_slow.weight",
        "blocks.6.proj.weight",
    ),
    rules=(
        *(rule for number, name in enumerate(("slow", "fast")) for rule in pytorchvideo_pathway(number, name)),
        Rule("blocks.{s}.multipathway_fusion.conv_fast_to_slow.weight", "laterals.{s}.conv.kernel", CONV3D),
        *batch_norm("blocks.{s}.multipathway_fusion.norm", "laterals.{s}.norm"),
        *dense("blocks.6.proj", "head"),
    ),
    ignore=IGNORE,
)

SLOWFAST = Source(
    name="slowfast",
    models=MODELS,
    signature=(
        "s1.pathway0_stem.conv.weight", "s1.pathway1_stem.conv.weight", "s1_fuse.conv_f2s.weight",
        "head.projection.weight",
    ),
    rules=(
        *slowfast_pathway(0, "slow."),
        *slowfast_pathway(1, "fast."),
        Rule("s{s}_fuse.conv_f2s.weight", "laterals.{s-1}.conv.kernel", CONV3D),
        *batch_norm("s{s}_fuse.bn", "laterals.{s-1}.norm"),
        *dense("head.projection", "head"),
    ),
    ignore=IGNORE,
)  # fmt: skip

# Caffe2 names a lateral convolution after the preceding layer: the stem's pool, or a stage's last block, the number of
# which depends on the depth.
_BEFORE_LATERALS = {"t_pool1": 0} | {
    f"t_res{stage}_{last}_branch2c_bn": stage - 1 for stage, last in ((2, 2), (3, 3), (4, 5), (4, 22))
}
CAFFE2 = Source(
    name="caffe2",
    read_only=True,  # some layers are named after the preceding one
    models=MODELS,
    signature=("conv1_w", "t_conv1_w", "t_pool1_subsample_w", "pred_w"),
    rules=(
        *(
            rule
            for blob, index in _BEFORE_LATERALS.items()
            for rule in (
                Rule(f"{blob}_subsample_w", f"laterals.{index}.conv.kernel", BLOB_CONV3D),
                *blob_norm(f"{blob}_subsample_bn", f"laterals.{index}.norm"),
            )
        ),
        *caffe2_pathway("", "slow."),
        *caffe2_pathway("t_", "fast."),
        Rule("pred_w", "head.kernel", BLOB_LINEAR),
        Rule("pred_b", "head.bias", COPY),
    ),
    ignore=CAFFE2_IGNORE,
)


def _swapped(x: np.ndarray, first: int) -> np.ndarray:
    return np.concatenate([x[first:], x[:first]])


# mmaction2's classifier sees Fast's features, an eighth as many as Slow's, before Slow's.
FAST_FIRST = Transform(
    "O·(Fast + Slow) → (Slow + Fast)·O",
    lambda x: _swapped(x.T, x.shape[1] // 9),
    lambda x: (_swapped(x, x.shape[0] - x.shape[0] // 9).T,),
)

MMACTION2 = Source(
    name="mmaction2",
    models=MMACTION2_MODELS,
    signature=(
        "slow_path.conv1.conv.weight", "fast_path.conv1.conv.weight", "slow_path.conv1_lateral.conv.weight",
        "cls_head.fc_cls.weight",
    ),
    rules=(
        *mmaction2_pathway("slow_path.", "slow."),
        *mmaction2_pathway("fast_path.", "fast."),
        Rule("slow_path.conv1_lateral.conv.weight", "laterals.0.conv.kernel", CONV3D),
        Rule("slow_path.layer{s}_lateral.conv.weight", "laterals.{s}.conv.kernel", CONV3D),
        Rule("cls_head.fc_cls.weight", "head.kernel", FAST_FIRST),
        Rule("cls_head.fc_cls.bias", "head.bias", COPY),
    ),
    ignore=IGNORE,
    prefixes=("backbone.",),
)  # fmt: skip

SOURCES = (PYTORCHVIDEO, SLOWFAST, CAFFE2, MMACTION2)
