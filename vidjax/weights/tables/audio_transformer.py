"""Weights of AST, as named by transformers and by YuanGongND/ast, and of the image ViTs that it starts from.

- An image's patch kernel is summed over the colours, as the spectrogram has one channel.
- Its square grid of positions is cut in the middle where the spectrogram has fewer patches along an axis, and
  interpolated where it has more.
- A ViT without distillation token, unlike DeiT's distilled ones, gives the class token and its position for both.
- YuanGongND's files hold the image network's two classifiers too. They are left out, and zeros where a network is
  written back.
"""

import math
from dataclasses import replace

import numpy as np

from vidjax.nn.grids import Grid
from vidjax.nn.positions import MODES
from vidjax.weights.fit import Fit, Shape
from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import CONV2D, COPY, LINEAR, QKV_BIAS, QKV_LINEAR, Transform
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.image_vit import BLOCK, TIMM, TORCHVISION, Names, image_table

_IMAGE_CLASSES = 1000  # of the classifiers that the reference keeps
_NEW = ("fc_norm.*", "head.*")


def _summed(weight: np.ndarray) -> np.ndarray:
    return CONV2D.forward(weight.sum(axis=1, keepdims=True))


def _no_colours(_: np.ndarray) -> tuple[np.ndarray, ...]:
    raise ValueError("a sum does not tell its colours")


SUMMED = Transform("O·3·H·W → 1·H·W·1·O, summed", _summed, _no_colours)


def _from_image(table: np.ndarray, shape: Shape, grid: Grid | None = None) -> np.ndarray:
    """Positions `(1, n² + 1 or 2, D)` of an image → `(1, 2 + bands·times, D)`, bands as rows."""
    if grid is None:
        raise ValueError("the model does not tell its grid of tokens")
    side = math.isqrt(table.shape[1])
    first = table.shape[1] - side**2
    if first not in (1, 2) or table.shape[2] != shape[2]:
        raise ValueError("only positions of one or two tokens and a square grid can be fitted")
    times, _, bands = grid
    rows, columns = (MODES["middle"](side, size) for size in (bands, times))
    places = np.einsum("fa,tb,abd->ftd", rows, columns, table[0, first:].reshape(side, side, -1))
    tokens = table[:, [0, first - 1]]
    return np.concatenate([tokens, places.reshape(1, bands * times, -1)], axis=1).astype(np.float32)


FROM_IMAGE = Fit("resized", _from_image)


def _image(names: Names) -> Source:
    """Table of an image ViT."""
    attention = (
        *layer_norm(f"{names.block}{names.norm1}", f"{BLOCK}.norm1"),
        Rule(f"{names.block}{names.qkv_weight}", f"{BLOCK}.attn.qkv.kernel", LINEAR),
        Rule(f"{names.block}{names.qkv_bias}", f"{BLOCK}.attn.qkv.bias"),
        *dense(f"{names.block}{names.proj}", f"{BLOCK}.attn.proj"),
    )
    tokens = (
        Rule(names.cls_token, "cls_token", also=(("dist_token", COPY),)),
        Rule("dist_token", "dist_token"),
        Rule(names.positions, "pos_embed", fit=FROM_IMAGE),
    )
    source = image_table(names, ("ast_*",), tokens, attention, patches=SUMMED, tubelets=False, fresh=_NEW)
    return replace(source, dropped=(f"{names.head}.*", "head_dist.*"), kwargs={"epsilon": 1e-6, "head_epsilon": 1e-5})


def _transformers(layer: str, projection: str, names: tuple[str, str, str], out: str, fc1: str, fc2: str) -> Source:
    """Table of transformers' classifier, or of its encoder alone."""
    attention = f"{layer}.{projection}"
    return Source(
        name="transformers",
        models=("ast_base*", "ast_small"),
        signature=(
            "embeddings.distillation_token",
            "embeddings.patch_embeddings.projection.weight",
            f"{attention}.{names[0]}.weight".replace("{i}", "0"),
        ),
        rules=(
            Rule("embeddings.cls_token", "cls_token"),
            Rule("embeddings.distillation_token", "dist_token"),
            Rule("embeddings.position_embeddings", "pos_embed"),
            *conv("embeddings.patch_embeddings.projection", "patch_embed", CONV2D),
            *layer_norm(f"{layer}.layernorm_before", f"{BLOCK}.norm1"),
            Rule(tuple(f"{attention}.{name}.weight" for name in names), f"{BLOCK}.attn.qkv.kernel", QKV_LINEAR),
            Rule(tuple(f"{attention}.{name}.bias" for name in names), f"{BLOCK}.attn.qkv.bias", QKV_BIAS),
            *dense(f"{layer}.{out}", f"{BLOCK}.attn.proj"),
            *layer_norm(f"{layer}.layernorm_after", f"{BLOCK}.norm2"),
            *dense(f"{layer}.{fc1}", f"{BLOCK}.mlp.fc1"),
            *dense(f"{layer}.{fc2}", f"{BLOCK}.mlp.fc2"),
            *layer_norm("layernorm", "norm"),
            *layer_norm("classifier.layernorm", "fc_norm"),
            *dense("classifier.dense", "head"),
        ),
        prefixes=("audio_spectrogram_transformer.",),
        fresh=_NEW,
    )


# As published, and as transformers names them in memory from version 5 on.
TRANSFORMERS_4 = _transformers(
    "encoder.layer.{i}", "attention.attention", ("query", "key", "value"), "attention.output.dense",
    "intermediate.dense", "output.dense",
)  # fmt: skip
TRANSFORMERS_5 = _transformers(
    "layers.{i}", "attention", ("q_proj", "k_proj", "v_proj"), "attention.o_proj", "mlp.fc1", "mlp.fc2"
)


def _image_heads(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Zeros for the two classifiers of the image network that the reference keeps unused."""
    dim = state["v.norm.weight"].shape[0]
    shapes = {"weight": (_IMAGE_CLASSES, dim), "bias": (_IMAGE_CLASSES,)}
    return {
        f"v.{head}.{leaf}": np.zeros(shape, np.float32)
        for head in ("head", "head_dist")
        for leaf, shape in shapes.items()
    }


ORIGINAL = Source(
    name="ast",
    models=("ast_base*", "ast_small"),
    signature=("v.dist_token", "v.patch_embed.proj.weight", "v.blocks.0.attn.qkv.weight", "mlp_head.1.weight"),
    rules=(
        Rule("v.cls_token", "cls_token"),
        Rule("v.dist_token", "dist_token"),
        Rule("v.pos_embed", "pos_embed"),
        *conv("v.patch_embed.proj", "patch_embed", CONV2D),
        *layer_norm("v.blocks.{i}.norm1", f"{BLOCK}.norm1"),
        *dense("v.blocks.{i}.attn.qkv", f"{BLOCK}.attn.qkv"),
        *dense("v.blocks.{i}.attn.proj", f"{BLOCK}.attn.proj"),
        *layer_norm("v.blocks.{i}.norm2", f"{BLOCK}.norm2"),
        *dense("v.blocks.{i}.mlp.fc1", f"{BLOCK}.mlp.fc1"),
        *dense("v.blocks.{i}.mlp.fc2", f"{BLOCK}.mlp.fc2"),
        *layer_norm("v.norm", "norm"),
        *layer_norm("mlp_head.0", "fc_norm"),
        *dense("mlp_head.1", "head"),
    ),
    prefixes=("module.",),
    dropped=("v.head.*", "v.head_dist.*"),
    kwargs={"epsilon": 1e-6, "head_epsilon": 1e-5},
    buffers=_image_heads,
)

SOURCES = (TRANSFORMERS_4, TRANSFORMERS_5, ORIGINAL, _image(TIMM), _image(TORCHVISION))
