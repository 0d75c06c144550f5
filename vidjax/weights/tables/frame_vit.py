"""Weights of image Transformers as encoders of frames, and of the video networks that adapters make of them.

- vit_timm, vit_torchvision: image ViTs, see `image_vit.py`.
- dinov2, dinov3, clip, siglip: as transformers names them; SigLIP 2's checkpoints of a fixed size are SigLIP's.
- clip_openai: OpenAI's own files.
- st_adapter, aim: the authors' files, which name CLIP's layers as OpenAI does.

Of a checkpoint of pictures and texts, the text's half is left out; adapters, the classifier and a table of times that
an image network lacks start as no change of it.
"""

from dataclasses import replace
from typing import Any

from vidjax.weights.layer_rules import conv, dense, layer_norm
from vidjax.weights.layouts import CONV2D, LINEAR, QKV_BIAS, QKV_LINEAR, TOKEN, TOKENS
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.image_vit import BLOCK, TIMM, TORCHVISION, Names, image_table

_ADAPTED = ("st_adapter_b16", "st_adapter_b16_two", "aim_b16")
_NEW = ("pooling.*", "head.*")
_ADAPTERS = ("time_embed", "blocks.*.before_*", "blocks.*.temporal.*", "blocks.*.spatial.*", "blocks.*.joint.*")


def _image(names: Names, models: tuple[str, ...]) -> Source:
    attention = (
        *layer_norm(f"{names.block}{names.norm1}", f"{BLOCK}.norm1"),
        Rule(f"{names.block}{names.qkv_weight}", f"{BLOCK}.attn.qkv.kernel", LINEAR),
        Rule(f"{names.block}{names.qkv_bias}", f"{BLOCK}.attn.qkv.bias"),
        *dense(f"{names.block}{names.proj}", f"{BLOCK}.attn.proj"),
    )
    tokens = (Rule(names.cls_token, "cls_token"), Rule(names.positions, "pos_embed"))
    return image_table(names, models, tokens, attention, tubelets=False, fresh=_NEW, read_only=False)


def _separate(key: str, path: str, names: tuple[str, str, str]) -> tuple[Rule, Rule]:
    """Rules for queries, keys and values in layers of their own."""
    return (
        Rule(tuple(f"{key}.{name}.weight" for name in names), f"{path}.kernel", QKV_LINEAR),
        Rule(tuple(f"{key}.{name}.bias" for name in names), f"{path}.bias", QKV_BIAS),
    )


def _joint(key: str, path: str) -> tuple[Rule, Rule]:
    """Rules for queries, keys and values in one layer of `torch.nn.MultiheadAttention`."""
    return Rule(f"{key}.in_proj_weight", f"{path}.kernel", LINEAR), Rule(f"{key}.in_proj_bias", f"{path}.bias")


_DINO_LAYER = "encoder.layer.{i}"


def _dinov2(attention: str, inputs: tuple[str, str, str], output: str) -> Source:
    """Table for one of transformers' two ways of naming the layers of attention."""
    return Source(
        name="dinov2",
        models=("frame_dinov2_*",),
        signature=("embeddings.cls_token", "embeddings.position_embeddings", f"encoder.layer.0.{output}.weight"),
        rules=(
            Rule("embeddings.cls_token", "cls_token"),
            Rule("embeddings.position_embeddings", "pos_embed"),
            Rule("embeddings.register_tokens", "registers"),
            *conv("embeddings.patch_embeddings.projection", "patch_embed", CONV2D),
            *layer_norm(f"{_DINO_LAYER}.norm1", f"{BLOCK}.norm1"),
            *_separate(f"{_DINO_LAYER}.{attention}", f"{BLOCK}.attn.qkv", inputs),
            *dense(f"{_DINO_LAYER}.{output}", f"{BLOCK}.attn.proj"),
            Rule(f"{_DINO_LAYER}.layer_scale1.lambda1", f"{BLOCK}.scale1"),
            *layer_norm(f"{_DINO_LAYER}.norm2", f"{BLOCK}.norm2"),
            *dense(f"{_DINO_LAYER}.mlp.fc1", f"{BLOCK}.mlp.fc1"),
            *dense(f"{_DINO_LAYER}.mlp.fc2", f"{BLOCK}.mlp.fc2"),
            Rule(f"{_DINO_LAYER}.layer_scale2.lambda1", f"{BLOCK}.scale2"),
            *layer_norm("layernorm", "norm"),
        ),
        # The token that stands for hidden patches in pre-training; a classifier, which reads other vectors.
        ignore=("embeddings.mask_token", "classifier.*"),
        prefixes=("dinov2.", "dinov2_with_registers."),
        fresh=_NEW,
    )


# As published, and as transformers names them in memory from version 5 on.
DINOV2 = _dinov2("attention.attention", ("query", "key", "value"), "attention.output.dense")
DINOV2_NEW = _dinov2("attention", ("q_proj", "k_proj", "v_proj"), "attention.o_proj")

_DINO3_LAYER = "layer.{i}"
DINOV3 = Source(
    name="dinov3",
    models=("frame_dinov3_*",),
    signature=("embeddings.cls_token", "embeddings.register_tokens", "layer.0.attention.q_proj.weight", "norm.weight"),
    rules=(
        Rule("embeddings.cls_token", "cls_token"),
        Rule("embeddings.register_tokens", "registers"),
        *conv("embeddings.patch_embeddings", "patch_embed", CONV2D),
        *layer_norm(f"{_DINO3_LAYER}.norm1", f"{BLOCK}.norm1"),
        Rule(
            tuple(f"{_DINO3_LAYER}.attention.{name}_proj.weight" for name in "qkv"),
            f"{BLOCK}.attn.qkv.kernel",
            QKV_LINEAR,
        ),
        Rule(f"{_DINO3_LAYER}.attention.q_proj.bias", f"{BLOCK}.attn.q_bias"),
        Rule(f"{_DINO3_LAYER}.attention.v_proj.bias", f"{BLOCK}.attn.v_bias"),
        *dense(f"{_DINO3_LAYER}.attention.o_proj", f"{BLOCK}.attn.proj"),
        Rule(f"{_DINO3_LAYER}.layer_scale1.lambda1", f"{BLOCK}.scale1"),
        *layer_norm(f"{_DINO3_LAYER}.norm2", f"{BLOCK}.norm2"),
        *dense(f"{_DINO3_LAYER}.mlp.up_proj", f"{BLOCK}.mlp.fc1"),
        *dense(f"{_DINO3_LAYER}.mlp.down_proj", f"{BLOCK}.mlp.fc2"),
        Rule(f"{_DINO3_LAYER}.layer_scale2.lambda1", f"{BLOCK}.scale2"),
        *layer_norm("norm", "norm"),
    ),
    ignore=("embeddings.mask_token",),  # it stands for hidden patches in pre-training
    prefixes=("model.",),  # transformers from version 5 on, in memory
    fresh=_NEW,
)

_LAYER = "encoder.layers.{i}"


def _transformers(name: str, models: tuple[str, ...], own: tuple[Rule, ...], *, token: str, absent: str) -> Source:
    """Table of the picture's half of transformers' CLIP or SigLIP; `token` is a key of it that the other lacks."""
    return Source(
        name=name,
        models=models,
        signature=("embeddings.patch_embedding.weight", "encoder.layers.0.self_attn.q_proj.weight", token),
        rules=(
            *own,
            *layer_norm(f"{_LAYER}.layer_norm1", f"{BLOCK}.norm1"),
            *_separate(f"{_LAYER}.self_attn", f"{BLOCK}.attn.qkv", ("q_proj", "k_proj", "v_proj")),
            *dense(f"{_LAYER}.self_attn.out_proj", f"{BLOCK}.attn.proj"),
            *layer_norm(f"{_LAYER}.layer_norm2", f"{BLOCK}.norm2"),
            *dense(f"{_LAYER}.mlp.fc1", f"{BLOCK}.mlp.fc1"),
            *dense(f"{_LAYER}.mlp.fc2", f"{BLOCK}.mlp.fc2"),
            *layer_norm("post_layernorm", "norm"),
            Rule("embeddings.position_embedding.weight", "pos_embed", TOKENS),
        ),
        ignore=("embeddings.position_ids", "text_model.embeddings.position_ids"),
        prefixes=("vision_model.",),
        absent=(absent,),
        fresh=_NEW,
        dropped=("text_model.*", "visual_projection.*", "text_projection.*", "logit_scale", "logit_bias"),
    )


CLIP = _transformers(
    "clip",
    ("frame_clip_*",),
    (
        Rule("embeddings.class_embedding", "cls_token", TOKEN),
        Rule("embeddings.patch_embedding.weight", "patch_embed.kernel", CONV2D),
        *layer_norm("pre_layrnorm", "norm_before"),  # transformers' spelling
    ),
    token="pre_layrnorm.weight",
    absent="head.probe",
)
SIGLIP = _transformers(
    "siglip",
    ("frame_siglip_*",),
    (
        *conv("embeddings.patch_embedding", "patch_embed", CONV2D),
        Rule("head.probe", "query.query"),
        *_joint("head.attention", "query.qkv"),
        *dense("head.attention.out_proj", "query.proj"),
        *layer_norm("head.layernorm", "query.norm"),
        *dense("head.mlp.fc1", "query.mlp.fc1"),
        *dense("head.mlp.fc2", "query.mlp.fc2"),
    ),
    token="head.probe",
    absent="pre_layrnorm.weight",
)

_RES = "transformer.resblocks.{i}"


def _openai(name: str, models: tuple[str, ...], own: tuple[Rule, ...] = (), head: str = "", **settings: Any) -> Source:
    """Table of OpenAI's picture half of CLIP, or of a network with the same names and `own` rules and classifier."""
    source = Source(
        name=name,
        models=models,
        signature=("class_embedding", "conv1.weight", "ln_pre.weight", "transformer.resblocks.0.attn.in_proj_weight"),
        rules=(
            Rule("class_embedding", "cls_token", TOKEN),
            Rule("positional_embedding", "pos_embed", TOKENS),
            Rule("conv1.weight", "patch_embed.kernel", CONV2D),
            *layer_norm("ln_pre", "norm_before"),
            *layer_norm(f"{_RES}.ln_1", f"{BLOCK}.norm1"),
            *_joint(f"{_RES}.attn", f"{BLOCK}.attn.qkv"),
            *dense(f"{_RES}.attn.out_proj", f"{BLOCK}.attn.proj"),
            *layer_norm(f"{_RES}.ln_2", f"{BLOCK}.norm2"),
            *dense(f"{_RES}.mlp.c_fc", f"{BLOCK}.mlp.fc1"),
            *dense(f"{_RES}.mlp.c_proj", f"{BLOCK}.mlp.fc2"),
            *layer_norm("ln_post", "norm"),
            *own,
            *(dense(head, "head") if head else ()),
        ),
    )
    return replace(source, **settings)


def _st(key: str, path: str) -> tuple[Rule, ...]:
    return (
        *dense(f"{key}.fc1", f"{path}.fc1"),
        *conv(f"{key}.conv", f"{path}.conv"),
        *dense(f"{key}.fc2", f"{path}.fc2"),
    )


OPENAI = _openai(
    "clip_openai",
    ("frame_clip_*",),
    prefixes=("visual.",),
    absent=("temporal_embedding", "transformer.resblocks.11.adapter_pre_mlp.fc1.weight"),
    fresh=_NEW,
    # The projection to the space of texts, and the text's half, whose keys come without a prefix.
    dropped=("proj", "text_projection", "logit_scale", "token_embedding.*", "ln_final.*", "input_resolution",
             "context_length", "vocab_size"),
)  # fmt: skip
ST_ADAPTER = _openai(
    "st_adapter",
    ("st_adapter_*",),
    (
        *_st(f"{_RES}.adapter_pre_attn", f"{BLOCK}.before_attention"),
        *_st(f"{_RES}.adapter_pre_mlp", f"{BLOCK}.before_mlp"),
    ),
    head="fc",
    signature=("class_embedding", "ln_pre.weight", "transformer.resblocks.11.adapter_pre_mlp.fc1.weight"),
)
AIM = _openai(
    "aim",
    ("aim_*",),
    (
        Rule("temporal_embedding", "time_embed"),
        *(
            rule
            for theirs, ours in (("T_Adapter", "temporal"), ("S_Adapter", "spatial"), ("MLP_Adapter", "joint"))
            for layer in (1, 2)
            for rule in dense(f"{_RES}.{theirs}.D_fc{layer}", f"{BLOCK}.{ours}.fc{layer}")
        ),
    ),
    head="cls_head.fc_cls",
    prefixes=("backbone.",),
    signature=("class_embedding", "temporal_embedding", "transformer.resblocks.0.T_Adapter.D_fc1.weight"),
)

SOURCES = (
    _image(TIMM, ("frame_vit_*",)),
    _image(TORCHVISION, ("frame_vit_b16", "frame_vit_l16")),
    DINOV2,
    DINOV2_NEW,
    DINOV3,
    CLIP,
    SIGLIP,
    OPENAI,
    *(replace(table, models=_ADAPTED, fresh=(*_NEW, *_ADAPTERS), read_only=True) for table in (CLIP, OPENAI)),
    ST_ADAPTER,
    AIM,
)
