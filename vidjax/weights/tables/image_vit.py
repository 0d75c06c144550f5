"""Weights of image ViTs, as named by timm and torchvision, inflated into video Transformers.

A patch kernel becomes a tubelet kernel (`inflation="central"` or `"average"`), and positions are repeated for every
frame if the model has a table for all tokens. Parts that the image network lacks start as in the paper; the
`LoadReport` lists the parameters that were inflated, copied and newly initialised.

- TimeSformer: the layers of earlier steps are copies of the image network's attention, followed by projections that
  start at 0: at first, the network is the image network applied frame by frame.
- ViViT: in `fsa`, the layers over time copy queries, keys and values, and their projections start at 0; in `fe` the
  blocks over time are new. If tokens are averaged, the class token and its position are left out.
- VideoMAE has fixed positions, no class token and no bias of the keys, which changes no attention: those are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vidjax.weights.fit import INFLATIONS, LINEAR_GRID, NEAREST_GRID, TILED
from vidjax.weights.layer_rules import dense, layer_norm
from vidjax.weights.layouts import CONV2D, LINEAR, Transform
from vidjax.weights.table import Rule, Source

BLOCK = "blocks.{i}"


@dataclass(frozen=True)
class Names:
    """A library's names for the parts of a ViT; names of a block's parts follow the block's own name."""

    source: str
    cls_token: str
    positions: str
    patches: str
    block: str
    norm1: str
    qkv_weight: str
    qkv_bias: str
    proj: str
    norm2: str
    fc1: str
    fc2: str
    norm: str
    head: str
    absent: tuple[str, ...] = ()  # keys of other networks that share these names


TIMM = Names(
    "vit_timm", "cls_token", "pos_embed", "patch_embed.proj", "blocks.{i}.",
    "norm1", "attn.qkv.weight", "attn.qkv.bias", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2", "norm", "head",
    absent=("time_embed",),
)  # fmt: skip
TORCHVISION = Names(
    "vit_torchvision", "class_token", "encoder.pos_embedding", "conv_proj", "encoder.layers.encoder_layer_{i}.",
    "ln_1", "self_attention.in_proj_weight", "self_attention.in_proj_bias", "self_attention.out_proj", "ln_2",
    "mlp.0", "mlp.3", "encoder.ln", "heads.head",
)  # fmt: skip


def _third(index: int) -> Transform:
    """Transform that takes one of the biases `(3·D,)` of queries, keys and values; the inverse lacks the others."""

    def forward(bias: np.ndarray) -> np.ndarray:
        return np.split(bias, 3)[index]

    def inverse(_: np.ndarray) -> tuple[np.ndarray, ...]:
        raise ValueError("a bias of the keys is missing")

    return Transform(f"part {index} of 3", forward, inverse)


def _also(rules: tuple[Rule, ...], *copies: tuple[str, str]) -> tuple[Rule, ...]:
    """The rules, each with copies of its parameter under the paths in which `new` replaces `old`."""
    return tuple(
        Rule(r.keys, r.path, r.transform, r.fit, tuple((r.path.replace(*copy), r.transform) for copy in copies))
        for r in rules
    )


def _attention(names: Names) -> tuple[Rule, ...]:
    return (
        Rule(f"{names.block}{names.qkv_weight}", f"{BLOCK}.attn.qkv.kernel", LINEAR),
        Rule(f"{names.block}{names.qkv_bias}", f"{BLOCK}.attn.qkv.bias"),
    )


def image_table(
    names: Names,
    models: tuple[str, ...],
    tokens: tuple[Rule, ...],
    attention: tuple[Rule, ...],
    *,
    norm: str = "norm",
    patches: Transform = CONV2D,
    tubelets: bool = True,
    ignore: tuple[str, ...] = (),
    fresh: tuple[str, ...] = (),
    read_only: bool = True,
) -> Source:
    """A table for `models` with the given rules for tokens and for attention (`norm1`, `qkv` and `proj`).

    `patches` is the transform of the patch kernel, which is inflated with `tubelets`.
    """
    block0 = names.block.replace("{i}", "0")
    return Source(
        name=names.source,
        models=models,
        signature=(names.cls_token, names.positions, f"{names.patches}.weight", f"{block0}{names.qkv_weight}"),
        rules=(
            Rule(f"{names.patches}.weight", "patch_embed.kernel", patches, INFLATIONS["central"] if tubelets else None),
            Rule(f"{names.patches}.bias", "patch_embed.bias"),
            *tokens,
            *attention,
            *layer_norm(f"{names.block}{names.norm2}", f"{BLOCK}.norm2"),
            *dense(f"{names.block}{names.fc1}", f"{BLOCK}.mlp.fc1"),
            *dense(f"{names.block}{names.fc2}", f"{BLOCK}.mlp.fc2"),
            *layer_norm(names.norm, norm),
            *dense(names.head, "head"),
        ),
        ignore=ignore,
        absent=names.absent,
        fresh=(*fresh, "head.*"),
        read_only=read_only,
    )


def _timesformer(names: Names) -> tuple[Source, ...]:
    tokens = (Rule(names.cls_token, "cls_token"), Rule(names.positions, "pos_embed", fit=NEAREST_GRID))
    norm = layer_norm(f"{names.block}{names.norm1}", f"{BLOCK}.norm1")
    proj = dense(f"{names.block}{names.proj}", f"{BLOCK}.attn.proj")
    attention = (
        *_also(norm, *((".norm1", f".earlier.{j}.norm") for j in (0, 1))),
        *_also((*_attention(names), *proj), *((".attn", f".earlier.{j}.attn") for j in (0, 1))),
    )
    models = [
        "timesformer_base_divided*",
        "timesformer_base_joint",
        "timesformer_base_sparse",
        "timesformer_base_axial",
    ]
    if names is not TIMM:
        models.append("timesformer_base_space")  # timm's ViT is that network itself: see timesformer.py
    return (
        image_table(
            names, tuple(models), tokens, attention,
            tubelets=False, fresh=("time_embed", "blocks.*.earlier.*.fc.*"),
        ),
    )  # fmt: skip


def _vivit(names: Names) -> tuple[Source, ...]:
    cls_token = Rule(names.cls_token, "cls_token")
    norm = layer_norm(f"{names.block}{names.norm1}", f"{BLOCK}.norm1")
    proj = dense(f"{names.block}{names.proj}", f"{BLOCK}.attn.proj")
    plain = (*norm, *_attention(names), *proj)
    over_time = (
        *_also(norm, (".norm1", ".temporal_norm")),
        *_also(_attention(names), (".attn", ".temporal_attn")),
        *proj,
    )
    tiled = Rule(names.positions, "pos_embed", fit=TILED)
    return (
        image_table(names, ("vivit_base_16x2",), (cls_token, tiled), plain),
        image_table(
            names, ("vivit_*_fe",), (cls_token, Rule(names.positions, "pos_embed", fit=LINEAR_GRID)), plain,
            fresh=("temporal_*",),
        ),
        image_table(
            names, ("vivit_*_fsa",), (tiled,), over_time,
            ignore=(names.cls_token,), fresh=("blocks.*.temporal_attn.proj.*",),
        ),
        image_table(names, ("vivit_*_fdp",), (tiled,), plain, ignore=(names.cls_token,)),
    )  # fmt: skip


def _videomae(names: Names) -> tuple[Source, ...]:
    weight, _ = _attention(names)
    q_bias, v_bias = f"{BLOCK}.attn.q_bias", f"{BLOCK}.attn.v_bias"
    attention = (
        *layer_norm(f"{names.block}{names.norm1}", f"{BLOCK}.norm1"),
        weight,
        Rule(f"{names.block}{names.qkv_bias}", q_bias, _third(0), also=((v_bias, _third(2)),)),
        *dense(f"{names.block}{names.proj}", f"{BLOCK}.attn.proj"),
    )
    models = ("videomae_small", "videomae_base", "videomae_large")
    # The norm of the mean of tokens starts as the norm of the class token.
    return (image_table(names, models, (), attention, norm="fc_norm", ignore=(names.cls_token, names.positions)),)


FAMILIES: tuple[Callable[[Names], tuple[Source, ...]], ...] = (_timesformer, _vivit, _videomae)
SOURCES = tuple(source for names in (TIMM, TORCHVISION) for family in FAMILIES for source in family(names))
