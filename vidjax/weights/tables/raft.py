"""Weights of RAFT: torchvision's `raft_large` and `raft_small`, and the original repository, princeton-vl/RAFT.

The original's files (`raft-things.pth`, `raft-small.pth`) have the prefix "module.", and the norm of a shortcut under
two names. Instance norms have no arrays.
"""

import numpy as np

from vidjax.weights.layer_rules import batch_norm, conv
from vidjax.weights.layouts import CONV2D, Transform
from vidjax.weights.table import Rule, Source

_LARGE, _SMALL = ("raft_large", "raft_tiny"), ("raft_small", "raft_small_tiny")
_BLOCK = "{encoder}_encoder.stages.{s-1}.{b}"


def _same(*arrays: np.ndarray) -> np.ndarray:
    first, second = arrays
    if not np.array_equal(first, second):
        raise ValueError("they should be one array under two names, but differ")
    return first


_TWO_NAMES = Transform("one array under two names", _same, lambda x: (x, x))


def _original_encoder(key: str, encoder: str) -> tuple[Rule, ...]:
    """Rules for an encoder of the original."""
    block, path = f"{key}.layer{{s}}.{{b}}", f"{encoder}.stages.{{s-1}}.{{b}}"
    leaves = (("weight", "scale"), ("bias", "bias"), ("running_mean", "mean"), ("running_var", "var"))
    return (
        *conv(f"{key}.conv1", f"{encoder}.stem.conv", CONV2D),
        *batch_norm(f"{key}.norm1", f"{encoder}.stem.norm"),
        *conv(f"{block}.conv{{c}}", f"{path}.convs.{{c-1}}.conv", CONV2D),
        *(
            Rule((f"{block}.norm3.{leaf}", f"{block}.downsample.1.{leaf}"), f"{path}.shortcut.norm.{own}", _TWO_NAMES)
            for leaf, own in leaves
        ),
        *batch_norm(f"{block}.norm{{c}}", f"{path}.convs.{{c-1}}.norm"),
        *conv(f"{block}.downsample.0", f"{path}.shortcut.conv", CONV2D),
        *conv(f"{key}.conv2", f"{encoder}.conv", CONV2D),
    )


def _original(models: tuple[str, ...], gate: str, path: str) -> Source:
    """The original's network of one size; `gate` is the key of a gate's convolution."""
    update = "update_block"
    return Source(
        name="princeton",
        models=models,
        signature=("fnet.conv1.weight", f"{update}.{gate.format(gate='z', n=1)}.weight"),
        rules=(
            *_original_encoder("fnet", "feature_encoder"),
            *_original_encoder("cnet", "context_encoder"),
            *conv(f"{update}.encoder.convc{{n}}", "motion.correlation.{n-1}", CONV2D),
            *conv(f"{update}.encoder.convf{{n}}", "motion.flow.{n-1}", CONV2D),
            *conv(f"{update}.encoder.conv", "motion.conv", CONV2D),
            *(
                rule
                for name in "zrq"
                for rule in conv(f"{update}.{gate.format(gate=name, n='{n}')}", path.format(gate=name), CONV2D)
            ),
            *conv(f"{update}.flow_head.conv{{n}}", "flow_head.conv{n}", CONV2D),
            *conv(f"{update}.mask.0", "mask.conv1", CONV2D),
            *conv(f"{update}.mask.2", "mask.conv2", CONV2D),
        ),
        head="",
        ignore=("*.num_batches_tracked",),
        prefixes=("module.",),
    )


def _torchvision_encoder(key: str) -> tuple[Rule, ...]:
    """Rules for an encoder of torchvision's."""
    block, path = f"{key}.layer{{s}}.{{b}}", f"{key}.stages.{{s-1}}.{{b}}"
    pairs = (
        (f"{key}.convnormrelu", f"{key}.stem"),
        (f"{block}.convnormrelu{{c}}", f"{path}.convs.{{c-1}}"),
        (f"{block}.downsample", f"{path}.shortcut"),
    )
    return (
        *(
            rule
            for theirs, own in pairs
            for rule in (*conv(f"{theirs}.0", f"{own}.conv", CONV2D), *batch_norm(f"{theirs}.1", f"{own}.norm"))
        ),
        *conv(f"{key}.conv", f"{key}.conv", CONV2D),
    )


TORCHVISION = Source(
    name="torchvision",
    models=(*_LARGE, *_SMALL),
    signature=("feature_encoder.convnormrelu.0.weight", "update_block.recurrent_block.convgru1.convz.weight"),
    rules=(
        *_torchvision_encoder("feature_encoder"),
        *_torchvision_encoder("context_encoder"),
        *conv("update_block.motion_encoder.convcorr{n}.0", "motion.correlation.{n-1}", CONV2D),
        *conv("update_block.motion_encoder.convflow{n}.0", "motion.flow.{n-1}", CONV2D),
        *conv("update_block.motion_encoder.conv.0", "motion.conv", CONV2D),
        *conv("update_block.recurrent_block.convgru{n}.{gate}", "gru.{n-1}.{gate}", CONV2D),
        *conv("update_block.flow_head.conv{n}", "flow_head.conv{n}", CONV2D),
        *conv("mask_predictor.convrelu.0", "mask.conv1", CONV2D),
        *conv("mask_predictor.conv", "mask.conv2", CONV2D),
    ),
    head="",
    ignore=("*.num_batches_tracked",),
)

SOURCES = (
    TORCHVISION,
    _original(_LARGE, "gru.conv{gate}{n}", "gru.{{n-1}}.conv{gate}"),
    _original(_SMALL, "gru.conv{gate}", "gru.0.conv{gate}"),
)
