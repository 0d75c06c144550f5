"""VideoMAE's classifier in the names of its own repository, of transformers (before and since 5.0) and of mmaction2.

All of them have the same layers. The key of an attention layer has no bias in any: nothing stands for it.
"""

from vidjax.nn.positions import sinusoid_table
from vidjax.weights.mapping import COPY, LINEAR, QKV_LINEAR, Rule, Source
from vidjax.weights.rules import conv, dense, layer_norm

MODELS = ("videomae_*",)


# What the repository and mmaction2 name alike.
_SHARED = (
    *layer_norm("blocks.{i}.norm1", "blocks.{i}.norm1"),
    Rule("blocks.{i}.attn.qkv.weight", "blocks.{i}.attn.qkv.kernel", LINEAR),
    Rule("blocks.{i}.attn.q_bias", "blocks.{i}.attn.q_bias", COPY),
    Rule("blocks.{i}.attn.v_bias", "blocks.{i}.attn.v_bias", COPY),
    *dense("blocks.{i}.attn.proj", "blocks.{i}.attn.proj"),
    *layer_norm("blocks.{i}.norm2", "blocks.{i}.norm2"),
    *layer_norm("fc_norm", "fc_norm"),
)

# MCG-NJU/VideoMAE, modeling_finetune.py.
ORIGINAL = Source(
    name="videomae",
    models=MODELS,
    signature=("patch_embed.proj.weight", "blocks.0.attn.q_bias", "fc_norm.weight", "head.weight"),
    rules=(
        *conv("patch_embed.proj", "patch_embed"),
        *_SHARED,
        *dense("blocks.{i}.mlp.fc1", "blocks.{i}.mlp.fc1"),
        *dense("blocks.{i}.mlp.fc2", "blocks.{i}.mlp.fc2"),
        *dense("head", "head"),
    ),
    prefixes=("encoder.", "backbone."),  # run_class_finetuning.py takes both off as well
)

# open-mmlab/mmaction2, configs/recognition/videomae.
MMACTION2 = Source(
    name="mmaction2",
    models=MODELS,
    signature=("patch_embed.projection.weight", "blocks.0.attn.q_bias", "fc_norm.weight", "cls_head.fc_cls.weight"),
    rules=(
        *conv("patch_embed.projection", "patch_embed"),
        *_SHARED,
        *dense("blocks.{i}.mlp.layers.0.0", "blocks.{i}.mlp.fc1"),
        *dense("blocks.{i}.mlp.layers.1", "blocks.{i}.mlp.fc2"),
        *dense("cls_head.fc_cls", "head"),
    ),
    ignore=("pos_embed",),  # a buffer: the sinusoid for 16×224², which the model computes itself
    buffers=lambda state: {"pos_embed": sinusoid_table(8 * 14 * 14, len(state["fc_norm.weight"]))[None]},
    prefixes=("backbone.",),
)


def _transformers(q_bias: str, v_bias: str) -> Source:
    """transformers' VideoMAEForVideoClassification, given what it calls the biases of queries and values."""
    layer, attention = "videomae.encoder.layer.{i}", "videomae.encoder.layer.{i}.attention.attention"
    return Source(
        name="transformers",
        models=MODELS,
        signature=(
            "videomae.embeddings.patch_embeddings.projection.weight",
            f"{attention}.{q_bias}".replace("{i}", "0"),
            "fc_norm.weight",
            "classifier.weight",
        ),
        rules=(
            *conv("videomae.embeddings.patch_embeddings.projection", "patch_embed"),
            *layer_norm(f"{layer}.layernorm_before", "blocks.{i}.norm1"),
            Rule(
                tuple(f"{attention}.{part}.weight" for part in ("query", "key", "value")),
                "blocks.{i}.attn.qkv.kernel",
                QKV_LINEAR,
            ),
            Rule(f"{attention}.{q_bias}", "blocks.{i}.attn.q_bias", COPY),
            Rule(f"{attention}.{v_bias}", "blocks.{i}.attn.v_bias", COPY),
            *dense(f"{layer}.attention.output.dense", "blocks.{i}.attn.proj"),
            *layer_norm(f"{layer}.layernorm_after", "blocks.{i}.norm2"),
            *dense(f"{layer}.intermediate.dense", "blocks.{i}.mlp.fc1"),
            *dense(f"{layer}.output.dense", "blocks.{i}.mlp.fc2"),
            *layer_norm("fc_norm", "fc_norm"),
            *dense("classifier", "head"),
        ),
    )


TRANSFORMERS_4 = _transformers("q_bias", "v_bias")  # also the names of the checkpoints on the hub
TRANSFORMERS_5 = _transformers("query.bias", "value.bias")

SOURCES = (ORIGINAL, TRANSFORMERS_4, TRANSFORMERS_5, MMACTION2)
