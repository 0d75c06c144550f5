"""Weights of language models that see videos, as transformers names them.

VideoLLaMA 3's own files, `videollama3_original`, name the image network and the projector otherwise. A network whose
last layer is its table of words has that array under two names, or, in files, under one.
"""

from dataclasses import replace

import numpy as np

from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import CONV2D, LINEAR, QKV_BIAS, QKV_LINEAR, TOKENS, Transform
from vidjax.weights.table import Rule, Source

_NAMES = ("q_proj", "k_proj", "v_proj")


def _vision(root: str) -> tuple[Rule, ...]:
    """Rules of a SigLIP image network without positions."""
    layer, block = f"{root}.encoder.layers.{{i}}", "vision.blocks.{i}"
    return (
        *conv(f"{root}.embeddings.patch_embedding", "vision.patch_embed", CONV2D),
        *layer_norm(f"{layer}.layer_norm1", f"{block}.norm1"),
        Rule(tuple(f"{layer}.self_attn.{n}.weight" for n in _NAMES), f"{block}.attn.qkv.kernel", QKV_LINEAR),
        Rule(tuple(f"{layer}.self_attn.{n}.bias" for n in _NAMES), f"{block}.attn.qkv.bias", QKV_BIAS),
        *dense(f"{layer}.self_attn.out_proj", f"{block}.attn.proj"),
        *layer_norm(f"{layer}.layer_norm2", f"{block}.norm2"),
        *dense(f"{layer}.mlp.fc1", f"{block}.mlp.fc1"),
        *dense(f"{layer}.mlp.fc2", f"{block}.mlp.fc2"),
        *layer_norm(f"{root}.post_layernorm", "vision.norm"),
    )


def _text(root: str) -> tuple[Rule, ...]:
    """Rules of a Llama, Qwen2 or Qwen3 without its last layer; `root` ends in a dot, or is empty."""
    layer, own = f"{root}layers.{{i}}", "head.decoder.layers.{i}"
    return (
        Rule(f"{root}embed_tokens.weight", "head.decoder.words.embedding"),
        *(rule for n in "qkv" for rule in dense(f"{layer}.self_attn.{n}_proj", f"{own}.attn.{n}")),
        Rule(f"{layer}.self_attn.o_proj.weight", f"{own}.attn.proj.kernel", LINEAR),
        *(Rule(f"{layer}.self_attn.{n}_norm.weight", f"{own}.attn.{n}_norm.scale") for n in "qk"),
        *(Rule(f"{layer}.mlp.{n}_proj.weight", f"{own}.mlp.{n}.kernel", LINEAR) for n in ("gate", "up", "down")),
        Rule(f"{layer}.input_layernorm.weight", f"{own}.norm1.scale"),
        Rule(f"{layer}.post_attention_layernorm.weight", f"{own}.norm2.scale"),
        Rule(f"{root}norm.weight", "head.decoder.norm.scale"),
    )


_OUTPUT = Rule("lm_head.weight", "head.output.kernel", LINEAR)


def _same(words: np.ndarray, output: np.ndarray) -> np.ndarray:
    if not np.array_equal(words, output):
        raise ValueError("the table of words and the last layer should be one array, but differ")
    return words


_TIED = Transform("one array under two names", _same, lambda x: (x, x))

SMOL = Source(
    name="smolvlm2",
    models=("smolvlm2_256m", "smolvlm2_500m", "smolvlm2_2_2b"),
    signature=(
        "connector.modality_projection.proj.weight",
        "text_model.embed_tokens.weight",
        "vision_model.embeddings.position_embedding.weight",
    ),
    rules=(
        *_vision("vision_model"),
        Rule("vision_model.embeddings.position_embedding.weight", "vision.pos_embed", TOKENS),
        Rule("connector.modality_projection.proj.weight", "projector.kernel", LINEAR),
        *_text("text_model."),
        _OUTPUT,
    ),
    prefixes=("model.",),
    head="head.output",
)


def _llama3(name: str, vision: str, projector: str, text: str) -> tuple[Source, ...]:
    """Tables of the untied 7B, and of the tied 2B with its table of words under two names or under one."""
    untied = Source(
        name=name,
        models=("videollama3_7b",),
        signature=(f"{vision}.post_layernorm.weight", f"{projector}.0.weight", f"{text}embed_tokens.weight"),
        rules=(
            *_vision(vision),
            *dense(f"{projector}.0", "projector.fc1"),
            *dense(f"{projector}.2", "projector.fc2"),
            *_text(text),
            _OUTPUT,
        ),
        prefixes=("model.",),
        head="head.output",
    )
    once = replace(untied, models=("videollama3_2b",), head="", absent=("lm_head.weight",), rules=untied.rules[:-1])
    both = Rule((f"{text}embed_tokens.weight", "lm_head.weight"), "head.decoder.words.embedding", _TIED)
    twice = replace(once, absent=(), signature=(*untied.signature, "lm_head.weight"), rules=(both, *once.rules))
    return untied, twice, once


SOURCES = (
    SMOL,
    *_llama3("videollama3", "vision_model", "projector.readout", "language_model."),
    *_llama3("videollama3_original", "vision_encoder", "mm_projector.readout", ""),
)
