"""Weights of VideoPrism and its LvT form: the publisher's `.npz` files of Flax trees, and transformers' names.

Flax's blocks are stacked: one array holds a parameter of all blocks. Heads have 64 features there, of the wide pooling
256, which the arrays of a network do not tell. The temperature of similarities is in neither.
"""

import math
from dataclasses import replace

import numpy as np

from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import COPY, LINEAR, QKV_BIAS, QKV_LINEAR, TOKENS, Transform, joined
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.clip import moved

_HEAD, _POOL_HEAD = 64, 256
_ENCODERS, _LVT = ("videoprism_base", "videoprism_large"), ("videoprism_lvt_base", "videoprism_lvt_large")
_NEW_HEAD = ("pool.*", "head.*")


def _into_heads(features: int) -> tuple[Transform, Transform, Transform]:
    """Transforms of a projection's kernel and bias by head, and of the kernel of the projection behind attention."""
    return (
        Transform("I·H·d → I·O", lambda x: x.reshape(len(x), -1), lambda x: (x.reshape(len(x), -1, features),)),
        Transform("H·d → O", np.ravel, lambda x: (x.reshape(-1, features),)),
        Transform("O·H·d → I·O", lambda x: x.reshape(len(x), -1).T, lambda x: (x.T.reshape(x.shape[1], -1, features),)),
    )


_KERNEL, _BIAS, _POST = _into_heads(_HEAD)
_POOL_KERNEL, _POOL_BIAS, _POOL_POST = _into_heads(_POOL_HEAD)


def _side_by_side(count: int, kernel: Transform, bias: Transform) -> tuple[Transform, Transform]:
    """Transforms of the kernels, and of the biases, of several projections of one input to those of one."""
    return (
        Transform(
            f"{count} × {kernel.name}",
            lambda *parts: np.concatenate([kernel.forward(x) for x in parts], axis=1),
            lambda x: tuple(kernel.inverse(part)[0] for part in np.split(x, count, axis=1)),
        ),
        Transform(
            f"{count} × {bias.name}",
            lambda *parts: np.concatenate([bias.forward(x) for x in parts]),
            lambda x: tuple(bias.inverse(part)[0] for part in np.split(x, count)),
        ),
    )


_QKV_KERNEL, _QKV_HEAD_BIAS = _side_by_side(3, _KERNEL, _BIAS)
_KV_KERNEL, _KV_HEAD_BIAS = _side_by_side(2, _POOL_KERNEL, _POOL_BIAS)
# Rows of a patch, then columns, then colours.
_PATCH = Transform(
    "p·p·3·D → 1·p·p·3·D",
    lambda x: x.reshape(1, math.isqrt(len(x) // 3), -1, 3, x.shape[1]),
    lambda x: (x.reshape(-1, x.shape[-1]),),
)


def _norm(key: str, path: str) -> tuple[Rule, Rule]:
    return Rule(f"{key}.scale", f"{path}.scale"), Rule(f"{key}.bias", f"{path}.bias")


def _linear(key: str, path: str) -> tuple[Rule, Rule]:
    return Rule(f"{key}.linear.kernel", f"{path}.kernel"), Rule(f"{key}.linear.bias", f"{path}.bias")


def _flax_blocks(key: str, path: str) -> tuple[Rule, ...]:
    layer, block = f"{key}.x_layers.{{i}}", f"{path}.{{i}}"
    parts = tuple(f"{layer}.self_attention.{part}" for part in ("query", "key", "value"))
    return (
        *_norm(f"{layer}.layer_norm", f"{block}.norm1"),
        Rule(tuple(f"{part}.w" for part in parts), f"{block}.attn.qkv.kernel", _QKV_KERNEL),
        Rule(tuple(f"{part}.b" for part in parts), f"{block}.attn.qkv.bias", _QKV_HEAD_BIAS),
        Rule(f"{layer}.self_attention.post.w", f"{block}.attn.proj.kernel", _POST),
        Rule(f"{layer}.self_attention.post.b", f"{block}.attn.proj.bias"),
        *_norm(f"{layer}.ff_layer.layer_norm", f"{block}.norm2"),
        *_linear(f"{layer}.ff_layer.ffn_layer1", f"{block}.mlp.fc1"),
        *_linear(f"{layer}.ff_layer.ffn_layer2", f"{block}.mlp.fc2"),
    )


_FLAX_ENCODER = (
    Rule("patch_projection.linear.kernel", "patch_embed.kernel", _PATCH),
    Rule("patch_projection.linear.bias", "patch_embed.bias"),
    Rule("spatial_pos_emb.emb_var", "pos_embed", TOKENS),
    *_flax_blocks("spatial_encoder.transformers_stack", "blocks"),
    *_norm("spatial_ln", "norm"),
    Rule("temporal_pos_emb.emb_var", "time_embed", TOKENS),
    *_flax_blocks("temporal_encoder.transformers_stack", "temporal_blocks"),
    *_norm("temporal_ln", "temporal_norm"),
)
_POOLER = "contrastive_vision_pooler.pooling_attention"
FLAX = Source(
    name="videoprism",
    models=_ENCODERS,
    signature=("spatial_pos_emb.emb_var", "temporal_ln.scale", "patch_projection.linear.kernel"),
    rules=_FLAX_ENCODER,
    prefixes=("params.",),
    fresh=_NEW_HEAD,
    stacked="x_layers",
)
FLAX_LVT = Source(
    name="videoprism",
    models=_LVT,
    signature=("vision_encoder.spatial_pos_emb.emb_var", "text_encoder.cls_emb", f"{_POOLER}_query"),
    rules=(
        *moved(_FLAX_ENCODER, "vision_encoder."),
        *_flax_blocks("auxiliary_encoder.transformers_stack", "auxiliary_blocks"),
        Rule(f"{_POOLER}_query", "pool.query", TOKENS),
        Rule(f"{_POOLER}.query.w", "pool.q.kernel", _POOL_KERNEL),
        Rule(f"{_POOLER}.query.b", "pool.q.bias", _POOL_BIAS),
        Rule((f"{_POOLER}.key.w", f"{_POOLER}.value.w"), "pool.kv.kernel", _KV_KERNEL),
        Rule((f"{_POOLER}.key.b", f"{_POOLER}.value.b"), "pool.kv.bias", _KV_HEAD_BIAS),
        Rule(f"{_POOLER}.per_dim_scale.per_dim_scale", "pool.feature_scale"),
        Rule(f"{_POOLER}.post.w", "pool.proj.kernel", _POOL_POST),
        Rule(f"{_POOLER}.post.b", "pool.proj.bias"),
        *_norm(f"{_POOLER}_layer_norm", "pool.norm"),
        Rule("text_encoder.token_emb.emb_var", "text.token_embed"),
        Rule("text_encoder.cls_emb", "text.cls_token"),
        *_flax_blocks("text_encoder.unimodal_transformer", "text.blocks"),
        *_norm("text_encoder.unimodal_ln", "text.norm"),
    ),
    head="",
    prefixes=("params.",),
    fresh=("logit_bias",),
    kept=("logit_scale",),
    stacked="x_layers",
)


def _blocks(key: str, path: str) -> tuple[Rule, ...]:
    layer, block = f"{key}.{{i}}", f"{path}.{{i}}"
    parts = tuple(f"{layer}.attention.{part}_proj" for part in "qkv")
    return (
        *layer_norm(f"{layer}.layernorm_before", f"{block}.norm1"),
        Rule(tuple(f"{part}.weight" for part in parts), f"{block}.attn.qkv.kernel", QKV_LINEAR),
        Rule(tuple(f"{part}.bias" for part in parts), f"{block}.attn.qkv.bias", QKV_BIAS),
        *dense(f"{layer}.attention.o_proj", f"{block}.attn.proj"),
        *layer_norm(f"{layer}.layernorm_after", f"{block}.norm2"),
        *dense(f"{layer}.mlp.fc1", f"{block}.mlp.fc1"),
        *dense(f"{layer}.mlp.fc2", f"{block}.mlp.fc2"),
    )


_ENCODER = (
    *conv("spatial_embeddings.patch_embeddings.projection", "patch_embed"),
    Rule("spatial_embeddings.position_embeddings", "pos_embed"),
    *_blocks("spatial_layers", "blocks"),
    *layer_norm("layernorm1", "norm"),
    Rule("temporal_embeddings.position_embeddings", "time_embed"),
    *_blocks("temporal_layers", "temporal_blocks"),
    *layer_norm("layernorm2", "temporal_norm"),
)
TRANSFORMERS = Source(
    name="videoprism_transformers",
    models=_ENCODERS,
    signature=("spatial_embeddings.position_embeddings", "temporal_layers.0.attention.q_proj.weight"),
    rules=_ENCODER,
    fresh=_NEW_HEAD,
)
TRANSFORMERS_LVT = replace(
    TRANSFORMERS,
    models=_LVT,
    signature=("video_model.vision_model.layernorm1.weight", "text_model.embeddings.cls_emb"),
    rules=(
        *moved(_ENCODER, "video_model.vision_model."),
        *_blocks("video_model.auxiliary_layers", "auxiliary_blocks"),
        Rule("video_model.head.pooling_attention_query", "pool.query"),
        *dense("video_model.head.q_proj", "pool.q"),
        Rule(tuple(f"video_model.head.{part}_proj.weight" for part in "kv"), "pool.kv.kernel", joined(2, LINEAR)),
        Rule(tuple(f"video_model.head.{part}_proj.bias" for part in "kv"), "pool.kv.bias", joined(2, COPY)),
        Rule("video_model.head.per_dim_scale", "pool.feature_scale"),
        *dense("video_model.head.o_proj", "pool.proj"),
        *layer_norm("video_model.head_layernorm", "pool.norm"),
        Rule("text_model.embeddings.token_embedding.weight", "text.token_embed"),
        Rule("text_model.embeddings.cls_emb", "text.cls_token"),
        *_blocks("text_model.layers", "text.blocks"),
        *layer_norm("text_model.layernorm", "text.norm"),
    ),
    # Positions of texts, computed here, as the publisher's code does.
    ignore=("text_model.embeddings.position_*",),
    head="",
    fresh=("logit_bias",),
    kept=("logit_scale",),
)

SOURCES = (FLAX, FLAX_LVT, TRANSFORMERS, TRANSFORMERS_LVT)
