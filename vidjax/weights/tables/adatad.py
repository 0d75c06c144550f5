"""Weights of AdaTAD, as named by OpenTAD, and those that it starts from: VideoMAE's classifier.

Of a classifier, as named by its repository and by mmaction2, the last layer and its norm are left out; adapters and
detector start anew. OpenTAD's files keep that norm, which nothing uses, and hold the weights twice: the reader takes
the moving average, `state_dict_ema`.
"""

from dataclasses import replace

import numpy as np

from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import CHANNELS, CONV1D, COPY, POINTWISE1D
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.actionformer import pointwise, time_conv
from vidjax.weights.tables.videomae import MMACTION2, ORIGINAL, position_buffer

_LEFT_OUT = ("head", "fc_norm")
_ENCODER = "backbone.model.backbone."
_POSITIVES = 100.0  # what OpenTAD divides its losses by at first, on THUMOS14; evaluation does not use it


def _inside(rule: Rule) -> Rule:
    """The rule for the encoder within AdaTAD."""
    path = rule.path.replace("blocks.{i}.", "blocks.{i}.block.")
    return replace(rule, path=f"encoder.{path}")


def _start(source: Source) -> Source:
    left_out = [rule for rule in source.rules if rule.path.partition(".")[0] in _LEFT_OUT]
    return Source(
        name=source.name,
        models=("adatad_*",),
        signature=source.signature,
        rules=tuple(_inside(rule) for rule in source.rules if rule not in left_out),
        ignore=source.ignore,
        dropped=tuple(pattern for rule in left_out for pattern in rule.patterns),
        prefixes=source.prefixes,
        fresh=("encoder.blocks.*.adapter.*", "embedding.*", "stem.*", "branch.*", "norms.*", "head.*"),
        head="",
        kept=("positives",),
        read_only=True,
    )


def _adapter(key: str, path: str) -> tuple[Rule, ...]:
    return (
        *dense(f"{key}.down_proj", f"{path}.fc1"),
        *conv(f"{key}.dwconv", f"{path}.conv", CONV1D),
        *conv(f"{key}.conv", f"{path}.mix", POINTWISE1D),
        *dense(f"{key}.up_proj", f"{path}.fc2"),
        Rule(f"{key}.gamma", f"{path}.scale", COPY),
    )


def _detector_block(key: str, path: str) -> tuple[Rule, ...]:
    return (
        *layer_norm(f"{key}.ln1", f"{path}.norm1"),
        *layer_norm(f"{key}.ln2", f"{path}.norm2"),
        *(
            rule
            for name, short in (("query", "q"), ("key", "k"), ("value", "v"))
            for rule in (
                *time_conv(f"{key}.attn.{name}_conv.conv", f"{path}.attn.{short}_conv"),
                *layer_norm(f"{key}.attn.{name}_norm", f"{path}.attn.{short}_norm"),
                *pointwise(f"{key}.attn.{name}", f"{path}.attn.{short}"),
            )
        ),
        *pointwise(f"{key}.attn.proj", f"{path}.attn.proj"),
        *pointwise(f"{key}.mlp.0", f"{path}.mlp.fc1"),
        *pointwise(f"{key}.mlp.3", f"{path}.mlp.fc2"),
        Rule(f"{key}.drop_path_attn.scale", f"{path}.attn_scale", CHANNELS),
        Rule(f"{key}.drop_path_mlp.scale", f"{path}.mlp_scale", CHANNELS),
    )


def _conv_norm(key: str, path: str) -> tuple[Rule, ...]:
    return (
        *time_conv(f"{key}.{{i}}.conv", f"{path}.convs.{{i}}"),
        *layer_norm(f"{key}.{{i}}.norm", f"{path}.norms.{{i}}"),
    )


def _buffers(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    patches = state[f"{_ENCODER}patch_embed.projection.weight"]
    dim = len(patches)
    norm = {"weight": np.ones(dim, np.float32), "bias": np.zeros(dim, np.float32)}
    return {
        f"{_ENCODER}pos_embed": position_buffer(patches),
        "rpn_head.loss_normalizer": np.array(_POSITIVES, np.float32),
        **{f"{_ENCODER}fc_norm.{leaf}": array for leaf, array in norm.items()},
    }


# sming256/OpenTAD, configs/adatad/thumos and anet.
_OPENTAD = Source(
    name="opentad",
    models=("adatad_*",),
    signature=(
        f"{_ENCODER}patch_embed.projection.weight", f"{_ENCODER}blocks.0.attn.q_bias",
        "projection.embed.0.conv.weight", "rpn_head.cls_head.weight",
    ),
    rules=(
        *(
            replace(_inside(rule), keys=f"{_ENCODER}{rule.keys}")
            for rule in MMACTION2.rules
            if rule.path.partition(".")[0] not in _LEFT_OUT
        ),
        *_adapter(f"{_ENCODER}blocks.{{i}}.adapter", "encoder.blocks.{i}.adapter"),
        *_conv_norm("projection.embed", "embedding"),
        *_detector_block("projection.stem.{i}", "stem.{i}"),
        *_detector_block("projection.branch.{i}", "branch.{i}"),
        *layer_norm("neck.fpn_norms.{l}", "norms.{l}"),
        *_conv_norm("rpn_head.cls_convs", "head.classes"),
        *time_conv("rpn_head.cls_head", "head.classes.out"),
        *_conv_norm("rpn_head.reg_convs", "head.offsets"),
        *time_conv("rpn_head.reg_head", "head.offsets.out"),
        Rule("rpn_head.scale.{l}.scale", "head.scales.{l}", COPY),
    ),
    ignore=(f"{_ENCODER}pos_embed", f"{_ENCODER}fc_norm.*", "rpn_head.loss_normalizer"),
    head="head.classes.out.conv",
    kept=("positives",),
    prefixes=("module.",),
    buffers=_buffers,
)  # fmt: skip

SOURCES = (_OPENTAD, _start(ORIGINAL), _start(MMACTION2))
