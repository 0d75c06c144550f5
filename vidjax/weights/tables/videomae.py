"""Weights of VideoMAE: the classifier, the pre-training network, and the part of it from which a classifier starts.

The classifier is named by its own repository, transformers (before and since 5.0) and mmaction2, the pre-training
network by the first two. All have the same layers; the keys of attention have no bias in any of them. VideoMAE V2 names
its weights as its predecessor; mmaction2's names of them are those of OpenTAD's `convert_videomaev2.py`.
"""

import math
from dataclasses import replace

import numpy as np

from vidjax.nn.positions import sinusoid_table
from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import COPY, LINEAR, QKV_LINEAR
from vidjax.weights.table import Rule, Source

_SIZES = ("small", "base", "large", "huge")
V2 = ("videomaev2_small_k710", "videomaev2_base_k710", "videomaev2_giant_k710", "videomaev2_giant")
MODELS = tuple(f"videomae_{size}" for size in _SIZES)
PRETRAIN = tuple(f"videomae_{size}_pretrain" for size in _SIZES)
# Newly initialised in a classifier that starts from a pre-trained encoder, as in the reference's fine-tuning.
_FRESH = ("fc_norm.*", "head.*")


def _attention(key: str, path: str) -> tuple[Rule, ...]:
    """Rules for the parts of a block that the repository and mmaction2 name alike."""
    return (
        *layer_norm(f"{key}.norm1", f"{path}.norm1"),
        Rule(f"{key}.attn.qkv.weight", f"{path}.attn.qkv.kernel", LINEAR),
        Rule(f"{key}.attn.q_bias", f"{path}.attn.q_bias", COPY),
        Rule(f"{key}.attn.v_bias", f"{path}.attn.v_bias", COPY),
        *dense(f"{key}.attn.proj", f"{path}.attn.proj"),
        *layer_norm(f"{key}.norm2", f"{path}.norm2"),
    )


def _original_block(key: str, path: str) -> tuple[Rule, ...]:
    return (
        *_attention(key, path),
        *dense(f"{key}.mlp.fc1", f"{path}.mlp.fc1"),
        *dense(f"{key}.mlp.fc2", f"{path}.mlp.fc2"),
    )


# MCG-NJU/VideoMAE and OpenGVLab/VideoMAEv2, modeling_finetune.py.
ORIGINAL = Source(
    name="videomae",
    models=(*MODELS, *V2),
    signature=("patch_embed.proj.weight", "blocks.0.attn.q_bias", "fc_norm.weight", "head.weight"),
    rules=(
        *conv("patch_embed.proj", "patch_embed"),
        *_original_block("blocks.{i}", "blocks.{i}"),
        *layer_norm("fc_norm", "fc_norm"),
        *dense("head", "head"),
    ),
    prefixes=("encoder.", "backbone."),  # run_class_finetuning.py removes both as well
)

# MCG-NJU/VideoMAE, modeling_pretrain.py.
_ORIGINAL_PRETRAIN = Source(
    name="videomae",
    models=PRETRAIN,
    signature=("mask_token", "encoder.patch_embed.proj.weight", "encoder.norm.weight", "decoder.head.weight"),
    rules=(
        Rule("mask_token", "mask_token", COPY),
        *conv("encoder.patch_embed.proj", "patch_embed"),
        *_original_block("encoder.blocks.{i}", "blocks.{i}"),
        *layer_norm("encoder.norm", "norm"),
        Rule("encoder_to_decoder.weight", "encoder_to_decoder.kernel", LINEAR),
        *_original_block("decoder.blocks.{i}", "decoder.blocks.{i}"),
        *layer_norm("decoder.norm", "decoder.norm"),
        *dense("decoder.head", "decoder.head"),
    ),
    head="",
)


def _encoder_alone(source: Source, dropped: tuple[str, ...], models: tuple[str, ...] = MODELS) -> Source:
    """The table by which a classifier reads a pre-training checkpoint, without the parts that it does not need."""
    return replace(source, models=models, dropped=dropped, fresh=_FRESH, head="head", kwargs={})


_ORIGINAL_ENCODER = _encoder_alone(
    _ORIGINAL_PRETRAIN, ("mask_token", "encoder.norm.*", "encoder_to_decoder.*", "decoder.*"), (*MODELS, *V2)
)


def position_buffer(patches: np.ndarray) -> np.ndarray:
    """Sinusoids of the tubelets of 16 frames of 224², `(1, N, D)`, which mmaction2 stores; the model computes its own.

    Args:
      patches: kernel of the embedding of tubelets, `(D, C, t, h, w)`.
    """
    dim, _, *tubelet = patches.shape
    return sinusoid_table(math.prod(n // k for n, k in zip((16, 224, 224), tubelet, strict=True)), dim)[None]


# open-mmlab/mmaction2, configs/recognition/videomae.
MMACTION2 = Source(
    name="mmaction2",
    models=(*MODELS[:3], *V2),
    signature=("patch_embed.projection.weight", "blocks.0.attn.q_bias", "fc_norm.weight", "cls_head.fc_cls.weight"),
    rules=(
        *conv("patch_embed.projection", "patch_embed"),
        *_attention("blocks.{i}", "blocks.{i}"),
        *layer_norm("fc_norm", "fc_norm"),
        *dense("blocks.{i}.mlp.layers.0.0", "blocks.{i}.mlp.fc1"),
        *dense("blocks.{i}.mlp.layers.1", "blocks.{i}.mlp.fc2"),
        *dense("cls_head.fc_cls", "head"),
    ),
    ignore=("pos_embed",),
    buffers=lambda state: {"pos_embed": position_buffer(state["patch_embed.projection.weight"])},
    prefixes=("backbone.",),
)


def _transformers_block(layer: str, path: str, q_bias: str, v_bias: str) -> tuple[Rule, ...]:
    attention = f"{layer}.attention.attention"
    return (
        *layer_norm(f"{layer}.layernorm_before", f"{path}.norm1"),
        Rule(
            tuple(f"{attention}.{part}.weight" for part in ("query", "key", "value")),
            f"{path}.attn.qkv.kernel",
            QKV_LINEAR,
        ),
        Rule(f"{attention}.{q_bias}", f"{path}.attn.q_bias", COPY),
        Rule(f"{attention}.{v_bias}", f"{path}.attn.v_bias", COPY),
        *dense(f"{layer}.attention.output.dense", f"{path}.attn.proj"),
        *layer_norm(f"{layer}.layernorm_after", f"{path}.norm2"),
        *dense(f"{layer}.intermediate.dense", f"{path}.mlp.fc1"),
        *dense(f"{layer}.output.dense", f"{path}.mlp.fc2"),
    )


def _transformers(q_bias: str, v_bias: str) -> tuple[Source, ...]:
    """transformers' VideoMAEForVideoClassification and VideoMAEForPreTraining, with its names for the biases of
    queries and values. The latter has a norm after the encoder only with `use_mean_pooling=False`."""
    layer, patches = "videomae.encoder.layer.{i}", "videomae.embeddings.patch_embeddings.projection"
    first_bias = f"videomae.encoder.layer.0.attention.attention.{q_bias}"
    encoder = (*conv(patches, "patch_embed"), *_transformers_block(layer, "blocks.{i}", q_bias, v_bias))
    classifier = Source(
        name="transformers",
        models=MODELS,
        signature=(f"{patches}.weight", first_bias, "fc_norm.weight", "classifier.weight"),
        rules=(*encoder, *layer_norm("fc_norm", "fc_norm"), *dense("classifier", "head")),
    )
    pretrain = Source(
        name="transformers",
        models=PRETRAIN,
        signature=("mask_token", f"{patches}.weight", first_bias, "videomae.layernorm.weight", "decoder.head.weight"),
        rules=(
            Rule("mask_token", "mask_token", COPY),
            *encoder,
            *layer_norm("videomae.layernorm", "norm"),
            Rule("encoder_to_decoder.weight", "encoder_to_decoder.kernel", LINEAR),
            *_transformers_block("decoder.decoder_layers.{i}", "decoder.blocks.{i}", q_bias, v_bias),
            *layer_norm("decoder.norm", "decoder.norm"),
            *dense("decoder.head", "decoder.head"),
        ),
        head="",
    )
    without_norm = replace(
        pretrain,
        signature=tuple(key for key in pretrain.signature if key != "videomae.layernorm.weight"),
        absent=("videomae.layernorm.weight",),
        kwargs={"encoder_norm": False},
    )
    dropped = ("mask_token", "videomae.layernorm.*", "encoder_to_decoder.*", "decoder.*")
    encoders = (_encoder_alone(source, dropped) for source in (pretrain, without_norm))
    return (classifier, pretrain, without_norm, *encoders)


TRANSFORMERS_4 = _transformers("q_bias", "v_bias")  # also the names of the checkpoints on the hub
TRANSFORMERS_5 = _transformers("query.bias", "value.bias")

SOURCES = (ORIGINAL, _ORIGINAL_PRETRAIN, _ORIGINAL_ENCODER, *TRANSFORMERS_4, *TRANSFORMERS_5, MMACTION2)
