"""Weights of V-JEPA 2, as named by transformers (with or without the attentive classifier) and its own repository.

Every key of the encoder, the pooler and the classifier is used. The predictor (`predictor.*`), which only pre-training
needs, is left out. A checkpoint without pooler or classifier leaves those of the model at their initial values.
"""

from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import COPY, LINEAR, QKV_BIAS, QKV_LINEAR, joined
from vidjax.weights.table import Rule, Source

MODELS = ("vjepa2_*",)
BLOCK = "blocks.{i}"
KV_LINEAR, KV_BIAS = joined(2, LINEAR), joined(2, COPY)


def _joined(keys: tuple[str, ...], path: str) -> tuple[Rule, Rule]:
    """Rules that join several dense layers of the same input into one."""
    linear, bias = (QKV_LINEAR, QKV_BIAS) if len(keys) == 3 else (KV_LINEAR, KV_BIAS)
    return (
        Rule(tuple(f"{key}.weight" for key in keys), f"{path}.kernel", linear),
        Rule(tuple(f"{key}.bias" for key in keys), f"{path}.bias", bias),
    )


# transformers' VJEPA2Model and VJEPA2ForVideoClassification, which has `vjepa2.` before the encoder's keys.
_LAYER = "encoder.layer.{i}"
_POOLED = "pooler.self_attention_layers.{i}"
_CROSS = "pooler.cross_attention_layer"
TRANSFORMERS = Source(
    name="transformers",
    models=MODELS,
    signature=("encoder.embeddings.patch_embeddings.proj.weight", "encoder.layer.0.attention.query.weight"),
    rules=(
        *conv("encoder.embeddings.patch_embeddings.proj", "patch_embed"),
        *layer_norm(f"{_LAYER}.norm1", f"{BLOCK}.norm1"),
        *_joined(tuple(f"{_LAYER}.attention.{part}" for part in ("query", "key", "value")), f"{BLOCK}.attn.qkv"),
        *dense(f"{_LAYER}.attention.proj", f"{BLOCK}.attn.proj"),
        *layer_norm(f"{_LAYER}.norm2", f"{BLOCK}.norm2"),
        *dense(f"{_LAYER}.mlp.fc1", f"{BLOCK}.mlp.fc1"),
        *dense(f"{_LAYER}.mlp.fc2", f"{BLOCK}.mlp.fc2"),
        *layer_norm("encoder.layernorm", "norm"),
        Rule("pooler.query_tokens", "pooler.query"),
        *layer_norm(f"{_POOLED}.layer_norm1", f"pooler.{BLOCK}.norm1"),
        *_joined(tuple(f"{_POOLED}.self_attn.{part}_proj" for part in "qkv"), f"pooler.{BLOCK}.attn.qkv"),
        *dense(f"{_POOLED}.self_attn.out_proj", f"pooler.{BLOCK}.attn.proj"),
        *layer_norm(f"{_POOLED}.layer_norm2", f"pooler.{BLOCK}.norm2"),
        *dense(f"{_POOLED}.mlp.fc1", f"pooler.{BLOCK}.mlp.fc1"),
        *dense(f"{_POOLED}.mlp.fc2", f"pooler.{BLOCK}.mlp.fc2"),
        *layer_norm(f"{_CROSS}.layer_norm1", "pooler.cross.norm1"),
        *dense(f"{_CROSS}.cross_attn.q_proj", "pooler.cross.q"),
        *_joined(tuple(f"{_CROSS}.cross_attn.{part}_proj" for part in "kv"), "pooler.cross.kv"),
        *layer_norm(f"{_CROSS}.layer_norm2", "pooler.cross.norm2"),
        *dense(f"{_CROSS}.mlp.fc1", "pooler.cross.mlp.fc1"),
        *dense(f"{_CROSS}.mlp.fc2", "pooler.cross.mlp.fc2"),
        *dense("classifier", "head"),
    ),
    ignore=("predictor.*",),
    prefixes=("vjepa2.",),
    fresh=("pooler.*", "head.*"),
)

# facebookresearch/vjepa2: the entry "encoder" (or "target_encoder", the averaged weights) of its files.
ORIGINAL = Source(
    name="vjepa2",
    models=MODELS,
    signature=("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight"),
    rules=(
        *conv("patch_embed.proj", "patch_embed"),
        *layer_norm("blocks.{i}.norm1", f"{BLOCK}.norm1"),
        *dense("blocks.{i}.attn.qkv", f"{BLOCK}.attn.qkv"),
        *dense("blocks.{i}.attn.proj", f"{BLOCK}.attn.proj"),
        *layer_norm("blocks.{i}.norm2", f"{BLOCK}.norm2"),
        *dense("blocks.{i}.mlp.fc1", f"{BLOCK}.mlp.fc1"),
        *dense("blocks.{i}.mlp.fc2", f"{BLOCK}.mlp.fc2"),
        *layer_norm("norm", "norm"),
    ),
    ignore=("pos_embed",),  # stored, but not used by a network with rotary positions
    prefixes=("module.", "backbone."),
    fresh=("pooler.*", "head.*"),
)

SOURCES = (TRANSFORMERS, ORIGINAL)
