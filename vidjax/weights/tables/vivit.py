"""Weights of ViViT's model 1, as named by transformers before and since 5.0; the hub has the older names."""

from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import QKV_BIAS, QKV_LINEAR
from vidjax.weights.table import Rule, Source

BLOCK = "blocks.{i}"


def _transformers(layer: str, attention: str, parts: tuple[str, str, str], out: str, fc1: str, fc2: str) -> Source:
    """transformers' VivitForVideoClassification, with its names for a layer and its parts."""
    queries = f"{layer}.{attention}.{parts[0]}.weight"
    return Source(
        name="transformers",
        models=("vivit_base_16x2",),
        signature=("vivit.embeddings.position_embeddings", queries.replace("{i}", "0"), "classifier.weight"),
        rules=(
            Rule("vivit.embeddings.cls_token", "cls_token"),
            Rule("vivit.embeddings.position_embeddings", "pos_embed"),
            *conv("vivit.embeddings.patch_embeddings.projection", "patch_embed"),
            *layer_norm(f"{layer}.layernorm_before", f"{BLOCK}.norm1"),
            Rule(tuple(f"{layer}.{attention}.{p}.weight" for p in parts), f"{BLOCK}.attn.qkv.kernel", QKV_LINEAR),
            Rule(tuple(f"{layer}.{attention}.{p}.bias" for p in parts), f"{BLOCK}.attn.qkv.bias", QKV_BIAS),
            *dense(f"{layer}.{out}", f"{BLOCK}.attn.proj"),
            *layer_norm(f"{layer}.layernorm_after", f"{BLOCK}.norm2"),
            *dense(f"{layer}.{fc1}", f"{BLOCK}.mlp.fc1"),
            *dense(f"{layer}.{fc2}", f"{BLOCK}.mlp.fc2"),
            *layer_norm("vivit.layernorm", "norm"),
            *dense("classifier", "head"),
        ),
    )


TRANSFORMERS_4 = _transformers(
    "vivit.encoder.layer.{i}", "attention.attention", ("query", "key", "value"),
    "attention.output.dense", "intermediate.dense", "output.dense",
)  # fmt: skip
TRANSFORMERS_5 = _transformers(
    "vivit.layers.{i}", "attention", ("q_proj", "k_proj", "v_proj"), "attention.o_proj", "mlp.fc1", "mlp.fc2"
)

SOURCES = (TRANSFORMERS_4, TRANSFORMERS_5)
