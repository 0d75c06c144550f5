"""Weights of InternVideo2, as named by its own repository: classifiers, and those with the texts of MobileCLIP-B.

The temperature of a CLIP form is stored by itself; files of the published parts may lack it.
"""

import numpy as np

from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import COPY, LINEAR, Transform
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.clip import moved

_BLOCK = "blocks.{i}"
_CROSS = "clip_projector.cross_attn"
_ENCODER = (
    Rule("cls_token", "cls_token"),
    Rule("pos_embed", "pos_embed"),
    *conv("patch_embed.proj", "patch_embed"),
    Rule(f"{_BLOCK}.norm1.weight", f"{_BLOCK}.norm1.scale"),
    Rule(f"{_BLOCK}.attn.qkv.weight", f"{_BLOCK}.attn.qkv.kernel", LINEAR),
    *dense(f"{_BLOCK}.attn.proj", f"{_BLOCK}.attn.proj"),
    Rule(f"{_BLOCK}.attn.q_norm.weight", f"{_BLOCK}.q_norm.scale"),
    Rule(f"{_BLOCK}.attn.k_norm.weight", f"{_BLOCK}.k_norm.scale"),
    Rule(f"{_BLOCK}.ls1.gamma", f"{_BLOCK}.scale1"),
    Rule(f"{_BLOCK}.norm2.weight", f"{_BLOCK}.norm2.scale"),
    *dense(f"{_BLOCK}.mlp.fc1", f"{_BLOCK}.mlp.fc1"),
    *dense(f"{_BLOCK}.mlp.fc2", f"{_BLOCK}.mlp.fc2"),
    Rule(f"{_BLOCK}.ls2.gamma", f"{_BLOCK}.scale2"),
    *(
        rule
        for part in "qkv"
        for rule in (
            *layer_norm(f"clip_projector.norm1_{part}", f"pool.{part}_norm"),
            Rule(f"{_CROSS}.{part}.weight", f"pool.{part}.kernel", LINEAR),
            Rule(f"{_CROSS}.{part}_bias", f"pool.{part}.bias", COPY),
        )
    ),
    *dense(f"{_CROSS}.proj", "pool.proj"),
)

CLASSIFIER = Source(
    name="internvideo2",
    models=("internvideo2_s14", "internvideo2_b14", "internvideo2_l14", "internvideo2_1b"),
    signature=("cls_token", "pos_embed", "blocks.0.attn.q_norm.weight", "clip_projector.norm1_q.weight"),
    rules=(*_ENCODER, *layer_norm("fc_norm", "norm"), *dense("head", "head")),
    absent=("text_encoder.projection_layer",),
    fresh=("norm.*", "head.*"),
    # Decoders of the pre-training, and the positions that they added.
    dropped=("clip_decoder.*", "mae_decoder.*", "final_clip_decoder.*", "clip_pos_embed", "mae_pos_embed"),
)

# MobileCLIP's table of positions has two axes more.
_TABLE = Transform("1·1·N·D → N·D", lambda x: x.reshape(x.shape[-2:]), lambda x: (x[None, None],))
# A temperature as the logarithm of a factor.
_FACTOR = Transform(
    "τ → -ln τ",
    lambda x: np.asarray(-np.log(np.asarray(x, np.float64)), np.float32),
    lambda x: (np.asarray(np.exp(-np.asarray(x, np.float64)), np.float32),),
)
_LAYER, _TEXT = "text_encoder.transformer.{i}", "text.blocks.{i}"
CLIP = Source(
    name="internvideo2",
    models=("internvideo2_clip_*",),
    signature=("vision_encoder.cls_token", "vision_align.1.weight", "text_encoder.projection_layer"),
    rules=(
        *moved(_ENCODER, "vision_encoder."),
        *layer_norm("vision_align.0", "norm"),
        *dense("vision_align.1", "proj"),
        Rule("text_encoder.embedding_layer.weight", "text.token_embed"),
        Rule("text_encoder.positional_embedding.pos_embed.pos_embed", "text.pos_embed", _TABLE),
        *layer_norm(f"{_LAYER}.pre_norm_mha.0", f"{_TEXT}.norm1"),
        *dense(f"{_LAYER}.pre_norm_mha.1.qkv_proj", f"{_TEXT}.attn.qkv"),
        *dense(f"{_LAYER}.pre_norm_mha.1.out_proj", f"{_TEXT}.attn.proj"),
        *layer_norm(f"{_LAYER}.pre_norm_ffn.0", f"{_TEXT}.norm2"),
        *dense(f"{_LAYER}.pre_norm_ffn.1", f"{_TEXT}.mlp.fc1"),
        *dense(f"{_LAYER}.pre_norm_ffn.4", f"{_TEXT}.mlp.fc2"),
        *layer_norm("text_encoder.final_layer_norm", "text.norm"),
        Rule("text_encoder.projection_layer", "text.proj.kernel"),
        Rule("temp", "logit_scale", _FACTOR),
    ),
    head="",
    fresh=("logit_scale", "logit_bias"),
)

SOURCES = (CLASSIFIER, CLIP)
