"""Weights of MViT, versions 1 and 2, as named by SlowFast, pytorchvideo, torchvision and mmaction2."""

import re
from typing import Any

import numpy as np

from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import CONV3D, COPY, QKV_BIAS, QKV_LINEAR, Transform
from vidjax.weights.table import Rule, Source


def _flat(x: np.ndarray) -> np.ndarray:
    if x.shape[:-1] != (1, 1):
        raise ValueError("expected shape 1x1xD")
    return x[0, 0]


def _first(x: np.ndarray) -> np.ndarray:
    if x.ndim != 3 or len(x) != 1:
        raise ValueError("expected shape 1xNxD")
    return x[0]


TOKEN = Transform("1·1·D → D", _flat, lambda x: (x[None, None],))
TABLE = Transform("1·N·D → N·D", _first, lambda x: (x[None],))


def _pools(kernel: str, norm: str) -> tuple[Rule, ...]:
    """Rules for the pooling of queries, keys and values; `{x}` in the source's names stands for q, k or v."""
    block = "blocks.{i}.attn"
    rules = []
    for x in "qkv":
        rules.append(Rule(f"{block}.{kernel}.weight".replace("{x}", x), f"{block}.pool_{x}.kernel", CONV3D))
        rules.extend(layer_norm(f"{block}.{norm}".replace("{x}", x), f"{block}.pool_{x}.norm"))
    return tuple(rules)


# Names common to all sources.
_SHARED = (*layer_norm("blocks.{i}.norm1", "blocks.{i}.norm1"), *layer_norm("blocks.{i}.norm2", "blocks.{i}.norm2"))

# Names common to all sources but torchvision.
_META = (
    *_SHARED,
    *dense("blocks.{i}.attn.proj", "blocks.{i}.attn.proj"),
    *dense("blocks.{i}.mlp.fc1", "blocks.{i}.mlp.fc1"),
    *dense("blocks.{i}.mlp.fc2", "blocks.{i}.mlp.fc2"),
    *dense("blocks.{i}.proj", "blocks.{i}.proj"),
)

_RELATIVE = tuple(Rule(f"blocks.{{i}}.attn.rel_pos_{x}", f"blocks.{{i}}.attn.relative_{x}", COPY) for x in "thw")


def _absolute(prefix: str) -> tuple[Rule, ...]:
    """Rules for the class token and, in version 1, the positions of the first tokens."""
    return (
        Rule(f"{prefix}cls_token", "class_token", TOKEN),
        Rule(f"{prefix}pos_embed_spatial", "spatial_positions", TABLE),
        Rule(f"{prefix}pos_embed_temporal", "temporal_positions", TABLE),
        Rule(f"{prefix}pos_embed_class", "class_position", TOKEN),
    )


# facebookresearch/SlowFast, both versions.
SLOWFAST = Source(
    name="slowfast",
    models=("mvit_v1_b_16x4", "mvit_v1_b24_32x3", "mvit_v2_[sbl]"),
    signature=("cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "head.projection.weight"),
    rules=(
        *conv("patch_embed.proj", "patch_embed"),
        *_absolute(""),
        *_META,
        *_pools("pool_{x}", "norm_{x}"),
        *dense("blocks.{i}.attn.qkv", "blocks.{i}.attn.qkv"),
        *_RELATIVE,
        *layer_norm("norm", "norm"),
        *dense("head.projection", "head"),
    ),
)

# open-mmlab/mmaction2, version 2.
MMACTION2 = Source(
    name="mmaction2",
    models=("mvit_v2_[sbl]",),
    signature=("cls_token", "patch_embed.projection.weight", "blocks.0.attn.qkv.weight", "cls_head.fc_cls.weight"),
    rules=(
        *conv("patch_embed.projection", "patch_embed"),
        *_absolute(""),
        *_META,
        *_pools("pool_{x}", "norm_{x}"),
        *dense("blocks.{i}.attn.qkv", "blocks.{i}.attn.qkv"),
        *_RELATIVE,
        *layer_norm("norm3", "norm"),
        *dense("cls_head.fc_cls", "head"),
    ),
    prefixes=("backbone.",),
)


def _pytorchvideo(kernel: str, norm: str, **which: Any) -> Source:
    """facebookresearch/pytorchvideo, version 1; `kernel` and `norm` are its names for the poolings."""
    first = f"blocks.0.attn.{kernel}.weight".replace("{x}", "k")
    return Source(
        name="pytorchvideo",
        models=("mvit_v1_b_*",),
        signature=("patch_embed.patch_model.weight", "cls_positional_encoding.cls_token", first, "head.proj.weight"),
        rules=(
            *conv("patch_embed.patch_model", "patch_embed"),
            *_absolute("cls_positional_encoding."),
            *_META,
            *_pools(kernel, norm),
            Rule(tuple(f"blocks.{{i}}.attn.{x}.weight" for x in "qkv"), "blocks.{i}.attn.qkv.kernel", QKV_LINEAR),
            Rule(tuple(f"blocks.{{i}}.attn.{x}.bias" for x in "qkv"), "blocks.{i}.attn.qkv.bias", QKV_BIAS),
            *layer_norm("norm_embed", "norm"),
            *dense("head.proj", "head"),
        ),
        **which,
    )


def _aliases(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each pooling under its other name."""
    found = ((re.fullmatch(r"(.*\.attn\.)(pool|norm)_([qkv])\.(\w+)", key), array) for key, array in state.items())
    return {f"{m[1]}_attention_pool_{m[3]}.{m[2]}.{m[4]}": array for m, array in found if m}


# Its modules have each pooling under two names, and so do their state dicts; published files may have only one.
PYTORCHVIDEO = _pytorchvideo("pool_{x}", "norm_{x}", ignore=("*.attn._attention_pool_*",), buffers=_aliases)
PYTORCHVIDEO_ALIASES = _pytorchvideo(
    "_attention_pool_{x}.pool", "_attention_pool_{x}.norm", absent=("blocks.0.attn.pool_k.weight",)
)

TORCHVISION = Source(
    name="torchvision",
    models=("mvit_v1_b_16x4", "mvit_v2_s"),
    signature=("conv_proj.weight", "pos_encoding.class_token", "blocks.0.attn.project.0.weight", "head.1.weight"),
    rules=(
        *conv("conv_proj", "patch_embed"),
        Rule("pos_encoding.class_token", "class_token"),
        Rule("pos_encoding.spatial_pos", "spatial_positions"),
        Rule("pos_encoding.temporal_pos", "temporal_positions"),
        Rule("pos_encoding.class_pos", "class_position"),
        *_SHARED,
        *dense("blocks.{i}.attn.qkv", "blocks.{i}.attn.qkv"),
        *dense("blocks.{i}.attn.project.0", "blocks.{i}.attn.proj"),
        *_pools("pool_{x}.pool", "pool_{x}.norm_act.0"),
        *_RELATIVE,
        *dense("blocks.{i}.mlp.0", "blocks.{i}.mlp.fc1"),
        *dense("blocks.{i}.mlp.3", "blocks.{i}.mlp.fc2"),
        *dense("blocks.{i}.project", "blocks.{i}.proj"),
        *layer_norm("norm", "norm"),
        *dense("head.1", "head"),
    ),
)

SOURCES = (SLOWFAST, PYTORCHVIDEO, PYTORCHVIDEO_ALIASES, TORCHVISION, MMACTION2)
