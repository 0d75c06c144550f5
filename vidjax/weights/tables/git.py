"""Weights of GIT as transformers names them (`GitForCausalLM`).

Checkpoints made for pictures have no vectors for frames, and those of other numbers of frames more or fewer of them:
frames without one start with a new one.
"""

from vidjax.weights.layer_rules import dense, layer_norm
from vidjax.weights.layouts import CONV2D, QKV_BIAS, QKV_LINEAR, TOKEN, TOKENS
from vidjax.weights.table import Rule, Source

_VISION = "git.image_encoder.vision_model"
_LAYER, _BLOCK = f"{_VISION}.encoder.layers.{{i}}", "vision.blocks.{i}"
_TEXT, _DECODER = "git.encoder.layer.{i}", "head.decoder.layers.{i}"
_NAMES = ("q_proj", "k_proj", "v_proj")

GIT = Source(
    name="git",
    models=("git_base", "git_large"),
    signature=(
        "git.embeddings.word_embeddings.weight",
        f"{_VISION}.pre_layrnorm.weight",
        "git.visual_projection.visual_projection.0.weight",
    ),
    rules=(
        Rule(f"{_VISION}.embeddings.class_embedding", "vision.cls_token", TOKEN),
        Rule(f"{_VISION}.embeddings.patch_embedding.weight", "vision.patch_embed.kernel", CONV2D),
        Rule(f"{_VISION}.embeddings.position_embedding.weight", "vision.pos_embed", TOKENS),
        *layer_norm(f"{_VISION}.pre_layrnorm", "vision.norm_before"),  # transformers' spelling
        *layer_norm(f"{_LAYER}.layer_norm1", f"{_BLOCK}.norm1"),
        Rule(tuple(f"{_LAYER}.self_attn.{n}.weight" for n in _NAMES), f"{_BLOCK}.attn.qkv.kernel", QKV_LINEAR),
        Rule(tuple(f"{_LAYER}.self_attn.{n}.bias" for n in _NAMES), f"{_BLOCK}.attn.qkv.bias", QKV_BIAS),
        *dense(f"{_LAYER}.self_attn.out_proj", f"{_BLOCK}.attn.proj"),
        *layer_norm(f"{_LAYER}.layer_norm2", f"{_BLOCK}.norm2"),
        *dense(f"{_LAYER}.mlp.fc1", f"{_BLOCK}.mlp.fc1"),
        *dense(f"{_LAYER}.mlp.fc2", f"{_BLOCK}.mlp.fc2"),
        *layer_norm(f"{_VISION}.post_layernorm", "vision.norm"),
        Rule("git.img_temporal_embedding.{i}", "frame_embed.{i}"),
        *dense("git.visual_projection.visual_projection.0", "head.decoder.visual"),
        *layer_norm("git.visual_projection.visual_projection.1", "head.decoder.visual_norm"),
        Rule("git.embeddings.word_embeddings.weight", "head.decoder.words.embedding"),
        Rule("git.embeddings.position_embeddings.weight", "head.decoder.places.embedding"),
        *layer_norm("git.embeddings.LayerNorm", "head.decoder.norm"),
        *dense(f"{_TEXT}.attention.self.query", f"{_DECODER}.attn.q"),
        *dense(f"{_TEXT}.attention.self.key", f"{_DECODER}.attn.k"),
        *dense(f"{_TEXT}.attention.self.value", f"{_DECODER}.attn.v"),
        *dense(f"{_TEXT}.attention.output.dense", f"{_DECODER}.attn.proj"),
        *layer_norm(f"{_TEXT}.attention.output.LayerNorm", f"{_DECODER}.norm1"),
        *dense(f"{_TEXT}.intermediate.dense", f"{_DECODER}.mlp.fc1"),
        *dense(f"{_TEXT}.output.dense", f"{_DECODER}.mlp.fc2"),
        *layer_norm(f"{_TEXT}.output.LayerNorm", f"{_DECODER}.norm2"),
        *dense("output", "head.output"),
    ),
    ignore=("*.position_ids",),
    head="head.output",
    fresh=("frame_embed.*",),
)

SOURCES = (GIT,)
