"""Weights of X-CLIP, as named by transformers."""

from dataclasses import replace

from vidjax.weights.layer_rules import dense, layer_norm
from vidjax.weights.layouts import LINEAR, QKV_BIAS, QKV_LINEAR
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables import clip, frame_vit

_LAYER = "vision_model.encoder.layers.{i}"
_PROMPT = "prompts_generator.decoder.{i}"
_QUICK = {"activation": "quick_gelu"}
_PARTS = ("q_proj", "k_proj", "v_proj")


def _spelt(rule: Rule) -> Rule:
    """A rule of CLIP with the name that X-CLIP's first norm has."""
    if not isinstance(rule.keys, str):
        return rule
    return replace(rule, keys=rule.keys.replace("pre_layrnorm", "pre_layernorm"))


TRANSFORMERS = Source(
    name="xclip",
    models=("xclip_*",),
    signature=("vision_model.pre_layernorm.weight", "mit.position_embedding", "prompts_generator.alpha"),
    rules=(
        *(_spelt(rule) for rule in clip.moved(frame_vit.CLIP.rules, "vision_model.")),
        *dense(f"{_LAYER}.message_fc", "blocks.{i}.message"),
        *layer_norm(f"{_LAYER}.message_ln", "blocks.{i}.message_norm"),
        Rule(
            tuple(f"{_LAYER}.message_attn.{part}.weight" for part in _PARTS),
            "blocks.{i}.message_attn.qkv.kernel",
            QKV_LINEAR,
        ),
        Rule(
            tuple(f"{_LAYER}.message_attn.{part}.bias" for part in _PARTS), "blocks.{i}.message_attn.qkv.bias", QKV_BIAS
        ),
        *dense(f"{_LAYER}.message_attn.out_proj", "blocks.{i}.message_attn.proj"),
        *clip.TRANSFORMERS_TEXT,
        Rule("mit.position_embedding", "integration.pos_embed"),
        *clip.moved(frame_vit.CLIP.rules, "mit.", "integration.", blocks_alone=True),
        *layer_norm("prompts_visual_layernorm", "prompt_norm"),
        Rule("prompts_visual_projection", "prompt_proj.kernel"),
        *layer_norm("prompts_generator.layernorm", "prompts.norm"),
        Rule("prompts_generator.alpha", "prompts.alpha"),
        *layer_norm(f"{_PROMPT}.norm1", "prompts.layers.{i}.norm1"),
        *(Rule(f"{_PROMPT}.cross_attn.{p}_proj.weight", f"prompts.layers.{{i}}.{p}.kernel", LINEAR) for p in "qkv"),
        *dense(f"{_PROMPT}.cross_attn.proj", "prompts.layers.{i}.proj"),
        *layer_norm(f"{_PROMPT}.norm3", "prompts.layers.{i}.norm2"),
        *dense(f"{_PROMPT}.mlp.0", "prompts.layers.{i}.mlp.fc1"),
        *dense(f"{_PROMPT}.mlp.3", "prompts.layers.{i}.mlp.fc2"),
    ),
    ignore=("vision_model.embeddings.position_ids", "text_model.embeddings.position_ids"),
    head="",
    fresh=("logit_bias",),
    kwargs=_QUICK,
    configured={
        "integration_heads": ("vision_config.mit_num_attention_heads", 8),
        "prompt_heads": ("prompt_num_attention_heads", 8),
    },
    conventions=_QUICK,
)

SOURCES = (TRANSFORMERS,)
