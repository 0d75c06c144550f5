"""Weights of TimeSformer, as named by its own repository, transformers (4 and 5 alike) and mmaction2.

All have the same layers. Position tables of space and time are resized for a model of another size by the nearest
neighbour: in two dimensions, as in the reference's forward pass. (Its loader does so along the flattened table, which
moves places of one row to different rows.)

Space-only networks have no table of time, so they have weight tables of their own; with the repository's names they
are exactly timm's image ViTs, which are read as such, with or without their classifier.
"""

from vidjax.weights.fit import NEAREST_GRID, NEAREST_LINE
from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import CONV2D, LINEAR
from vidjax.weights.table import Rule, Source

SPACE = ("timesformer_base_space",)
OTHERS = ("timesformer_base_divided*", "timesformer_base_joint")
DIVIDED = ("timesformer_base_divided*",)
JOINT = ("timesformer_base_joint",)

BLOCK = "blocks.{i}"
TIME = "blocks.{i}.earlier.0"


def _tokens(home: str, cls: str, places: str, time: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{home}{cls}", "cls_token"),
        Rule(f"{home}{places}", "pos_embed", fit=NEAREST_GRID),
        Rule(f"{home}{time}", "time_embed", fit=NEAREST_LINE),
    )


def _fused(key: str, path: str) -> tuple[Rule, Rule]:
    """Rules for PyTorch's `MultiheadAttention`: one matrix for queries, keys and values."""
    return Rule(f"{key}.in_proj_weight", f"{path}.qkv.kernel", LINEAR), Rule(f"{key}.in_proj_bias", f"{path}.qkv.bias")


# facebookresearch/TimeSformer, timesformer/models/vit.py; the reader removes `model.` from every key.
_ORIGINAL = (
    *_tokens("", "cls_token", "pos_embed", "time_embed"),
    *conv("patch_embed.proj", "patch_embed", CONV2D),
    *layer_norm("blocks.{i}.temporal_norm1", f"{TIME}.norm"),
    *dense("blocks.{i}.temporal_attn.qkv", f"{TIME}.attn.qkv"),
    *dense("blocks.{i}.temporal_attn.proj", f"{TIME}.attn.proj"),
    *dense("blocks.{i}.temporal_fc", f"{TIME}.fc"),
    *layer_norm("blocks.{i}.norm1", f"{BLOCK}.norm1"),
    *dense("blocks.{i}.attn.qkv", f"{BLOCK}.attn.qkv"),
    *dense("blocks.{i}.attn.proj", f"{BLOCK}.attn.proj"),
    *layer_norm("blocks.{i}.norm2", f"{BLOCK}.norm2"),
    *dense("blocks.{i}.mlp.fc1", f"{BLOCK}.mlp.fc1"),
    *dense("blocks.{i}.mlp.fc2", f"{BLOCK}.mlp.fc2"),
    *layer_norm("norm", "norm"),
    *dense("head", "head"),
)
_ORIGINAL_KEYS = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")

ORIGINAL = Source("timesformer", OTHERS, (*_ORIGINAL_KEYS, "time_embed", "head.weight"), _ORIGINAL)
ORIGINAL_SPACE = Source("timesformer", SPACE, _ORIGINAL_KEYS, _ORIGINAL, absent=("time_embed",), fresh=("head.*",))

# transformers' TimesformerForVideoClassification.
_EMBEDDINGS = "timesformer.embeddings"
_LAYER = "timesformer.encoder.layer.{i}"
_TRANSFORMERS = (
    *_tokens(f"{_EMBEDDINGS}.", "cls_token", "position_embeddings", "time_embeddings"),
    *conv(f"{_EMBEDDINGS}.patch_embeddings.projection", "patch_embed", CONV2D),
    *layer_norm(f"{_LAYER}.temporal_layernorm", f"{TIME}.norm"),
    *dense(f"{_LAYER}.temporal_attention.attention.qkv", f"{TIME}.attn.qkv"),
    *dense(f"{_LAYER}.temporal_attention.output.dense", f"{TIME}.attn.proj"),
    *dense(f"{_LAYER}.temporal_dense", f"{TIME}.fc"),
    *layer_norm(f"{_LAYER}.layernorm_before", f"{BLOCK}.norm1"),
    *dense(f"{_LAYER}.attention.attention.qkv", f"{BLOCK}.attn.qkv"),
    *dense(f"{_LAYER}.attention.output.dense", f"{BLOCK}.attn.proj"),
    *layer_norm(f"{_LAYER}.layernorm_after", f"{BLOCK}.norm2"),
    *dense(f"{_LAYER}.intermediate.dense", f"{BLOCK}.mlp.fc1"),
    *dense(f"{_LAYER}.output.dense", f"{BLOCK}.mlp.fc2"),
    *layer_norm("timesformer.layernorm", "norm"),
    *dense("classifier", "head"),
)
_TRANSFORMERS_KEYS = (f"{_EMBEDDINGS}.cls_token", f"{_EMBEDDINGS}.position_embeddings", "classifier.weight")
_TIME_KEY = f"{_EMBEDDINGS}.time_embeddings"

TRANSFORMERS = Source("transformers", OTHERS, (*_TRANSFORMERS_KEYS, _TIME_KEY), _TRANSFORMERS)
TRANSFORMERS_SPACE = Source("transformers", SPACE, _TRANSFORMERS_KEYS, _TRANSFORMERS, absent=(_TIME_KEY,))

# open-mmlab/mmaction2, configs/recognition/timesformer.
_MM_LAYER = "transformer_layers.layers.{i}"
_MMACTION2 = (
    *_tokens("", "cls_token", "pos_embed", "time_embed"),
    *conv("patch_embed.projection", "patch_embed", CONV2D),
    *dense(f"{_MM_LAYER}.ffns.0.layers.0.0", f"{BLOCK}.mlp.fc1"),
    *dense(f"{_MM_LAYER}.ffns.0.layers.1", f"{BLOCK}.mlp.fc2"),
    *layer_norm("norm", "norm"),
    *dense("cls_head.fc_cls", "head"),
)
_MM_KEYS = ("cls_token", "pos_embed", "patch_embed.projection.weight", "cls_head.fc_cls.weight")
# With divided attention the norms belong to the layers that they precede, otherwise to the block.
_MM_DIVIDED = (
    *layer_norm(f"{_MM_LAYER}.attentions.0.norm", f"{TIME}.norm"),
    *_fused(f"{_MM_LAYER}.attentions.0.attn", f"{TIME}.attn"),
    *dense(f"{_MM_LAYER}.attentions.0.attn.out_proj", f"{TIME}.attn.proj"),
    *dense(f"{_MM_LAYER}.attentions.0.temporal_fc", f"{TIME}.fc"),
    *layer_norm(f"{_MM_LAYER}.attentions.1.norm", f"{BLOCK}.norm1"),
    *_fused(f"{_MM_LAYER}.attentions.1.attn", f"{BLOCK}.attn"),
    *dense(f"{_MM_LAYER}.attentions.1.attn.out_proj", f"{BLOCK}.attn.proj"),
    *layer_norm(f"{_MM_LAYER}.ffns.0.norm", f"{BLOCK}.norm2"),
)
_MM_PLAIN = (
    *layer_norm(f"{_MM_LAYER}.norms.0", f"{BLOCK}.norm1"),
    *_fused(f"{_MM_LAYER}.attentions.0.attn", f"{BLOCK}.attn"),
    *dense(f"{_MM_LAYER}.attentions.0.attn.out_proj", f"{BLOCK}.attn.proj"),
    *layer_norm(f"{_MM_LAYER}.norms.1", f"{BLOCK}.norm2"),
)
_MM_PREFIXES = ("backbone.",)

MMACTION2_DIVIDED = Source(
    "mmaction2",
    DIVIDED,
    (*_MM_KEYS, "time_embed", "transformer_layers.layers.0.attentions.1.norm.weight"),
    (*_MM_DIVIDED, *_MMACTION2),
    prefixes=_MM_PREFIXES,
)
MMACTION2_JOINT = Source(
    "mmaction2",
    JOINT,
    (*_MM_KEYS, "time_embed", "transformer_layers.layers.0.norms.0.weight"),
    (*_MM_PLAIN, *_MMACTION2),
    prefixes=_MM_PREFIXES,
)
MMACTION2_SPACE = Source(
    "mmaction2",
    SPACE,
    (*_MM_KEYS, "transformer_layers.layers.0.norms.0.weight"),
    (*_MM_PLAIN, *_MMACTION2),
    prefixes=_MM_PREFIXES,
    absent=("time_embed",),
)

SOURCES = (
    ORIGINAL, ORIGINAL_SPACE, TRANSFORMERS, TRANSFORMERS_SPACE, MMACTION2_DIVIDED, MMACTION2_JOINT, MMACTION2_SPACE,
)  # fmt: skip
