"""Weights of CLIP, pictures and texts, as named by transformers, by OpenAI and by OpenCLIP.

The keys of OpenAI's and of OpenCLIP's files are the same; OpenCLIP's own networks have the exact GELU, OpenAI's an
approximation, so a file's source must be named.
"""

from dataclasses import replace

from vidjax.weights.layer_rules import layer_norm
from vidjax.weights.layouts import COPY, LINEAR
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables import frame_vit

_QUICK, _EXACT = {"activation": "quick_gelu"}, {"activation": "gelu"}


def moved(rules: tuple[Rule, ...], key: str, path: str = "", blocks_alone: bool = False) -> tuple[Rule, ...]:
    """The rules with `key` before each of their keys, and `path` before the path; or only those of blocks."""
    return tuple(
        replace(
            rule,
            keys=f"{key}{rule.keys}" if isinstance(rule.keys, str) else tuple(f"{key}{k}" for k in rule.keys),
            path=f"{path}{rule.path}",
        )
        for rule in rules
        if not blocks_alone or rule.path.startswith("blocks.")
    )


# The text's half and the common space, as transformers names them in CLIP and in its relatives.
TRANSFORMERS_TEXT = (
    Rule("text_model.embeddings.token_embedding.weight", "text.token_embed"),
    Rule("text_model.embeddings.position_embedding.weight", "text.pos_embed"),
    *moved(frame_vit.CLIP.rules, "text_model.", "text.", blocks_alone=True),
    *layer_norm("text_model.final_layer_norm", "text.norm"),
    Rule("text_projection.weight", "text.proj.kernel", LINEAR),
    Rule("visual_projection.weight", "proj.kernel", LINEAR),
    Rule("logit_scale", "logit_scale"),
)
TRANSFORMERS = Source(
    name="clip",
    models=("clip_*",),
    signature=("vision_model.pre_layrnorm.weight", "text_model.final_layer_norm.weight", "visual_projection.weight"),
    rules=(*moved(frame_vit.CLIP.rules, "vision_model."), *TRANSFORMERS_TEXT),
    ignore=("vision_model.embeddings.position_ids", "text_model.embeddings.position_ids"),
    head="",
    fresh=("logit_bias",),
    kwargs=_QUICK,
    conventions=_QUICK,
)
OPENAI = Source(
    name="clip_openai",
    models=("clip_*",),
    signature=("visual.class_embedding", "visual.proj", "text_projection", "ln_final.weight"),
    rules=(
        *moved(frame_vit.OPENAI.rules, "visual."),
        Rule("token_embedding.weight", "text.token_embed"),
        Rule("positional_embedding", "text.pos_embed"),
        *moved(frame_vit.OPENAI.rules, "", "text.", blocks_alone=True),
        *layer_norm("ln_final", "text.norm"),
        Rule("text_projection", "text.proj.kernel", COPY),
        Rule("visual.proj", "proj.kernel", COPY),
        Rule("logit_scale", "logit_scale"),
    ),
    ignore=("input_resolution", "context_length", "vocab_size"),
    head="",
    fresh=("logit_bias",),
    kwargs=_QUICK,
    conventions=_QUICK,
)
OPENCLIP = replace(
    OPENAI,
    name="open_clip",
    rules=(*OPENAI.rules, Rule("logit_bias", "logit_bias")),
    ignore=(),
    absent=("input_resolution",),
    kwargs=_EXACT,
    conventions=_EXACT,
)

SOURCES = (TRANSFORMERS, OPENAI, OPENCLIP)
