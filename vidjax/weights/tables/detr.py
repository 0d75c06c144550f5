"""Weights of DETR: transformers' `DetrForObjectDetection`, with either of its ResNets, and facebookresearch/detr.

transformers' files (`facebook/detr-resnet-50`, Apache-2.0) have a ResNet of the timm library or, in the revision
`no_timm`, its own; a network in memory names a few layers differently (since its version 5). The original repository
(`detr-r50-e632da11.pth`, Apache-2.0) joins queries, keys and values.
"""

from vidjax.weights.layer_rules import batch_norm, conv, dense, layer_norm
from vidjax.weights.layouts import CONV2D, COPY, LINEAR, POINTWISE2D, Transform
from vidjax.weights.table import Rule, Source

MODELS = ("detr_*", "detr_tiny")
_STAGE = "backbone.stages.{s-1}.{b}"


def _torchvision_body(key: str) -> tuple[Rule, ...]:
    """Rules for a ResNet in the names of timm and torchvision."""
    return (
        Rule(f"{key}.conv1.weight", "backbone.stem.conv.kernel", CONV2D),
        *batch_norm(f"{key}.bn1", "backbone.stem.norm"),
        Rule(f"{key}.layer{{s}}.{{b}}.conv{{c}}.weight", f"{_STAGE}.conv{{c}}.kernel", CONV2D),
        *batch_norm(f"{key}.layer{{s}}.{{b}}.bn{{c}}", f"{_STAGE}.norm{{c}}"),
        Rule(f"{key}.layer{{s}}.{{b}}.downsample.0.weight", f"{_STAGE}.shortcut.conv.kernel", CONV2D),
        *batch_norm(f"{key}.layer{{s}}.{{b}}.downsample.1", f"{_STAGE}.shortcut.norm"),
    )


def _transformers_body(key: str) -> tuple[Rule, ...]:
    """Rules for transformers' own ResNet."""
    stem, block, path = f"{key}.embedder.embedder", f"{key}.encoder.stages.{{s}}.layers.{{b}}", _STAGE.replace("-1", "")
    return (
        *conv(f"{stem}.convolution", "backbone.stem.conv", CONV2D)[:1],
        *batch_norm(f"{stem}.normalization", "backbone.stem.norm"),
        Rule(f"{block}.layer.{{c}}.convolution.weight", f"{path}.conv{{c+1}}.kernel", CONV2D),
        *batch_norm(f"{block}.layer.{{c}}.normalization", f"{path}.norm{{c+1}}"),
        Rule(f"{block}.shortcut.convolution.weight", f"{path}.shortcut.conv.kernel", CONV2D),
        *batch_norm(f"{block}.shortcut.normalization", f"{path}.shortcut.norm"),
    )


def _attention(key: str, path: str, out: str) -> tuple[Rule, ...]:
    names = {"q_proj": "q", "k_proj": "k", "v_proj": "v", out: "proj"}
    return tuple(rule for name, own in names.items() for rule in dense(f"{key}.{name}", f"{path}.{own}"))


def _transformers(own_resnet: bool, in_file: bool) -> Source:
    """One spelling of transformers' network."""
    body = "backbone.conv_encoder.model" if in_file else "backbone.model"
    out, mlp = ("out_proj", "") if in_file else ("o_proj", "mlp.")
    first = "embedder.embedder.convolution" if own_resnet else "conv1"
    encoder, decoder = "encoder.layers.{i}", "decoder.layers.{i}"
    return Source(
        name="transformers_resnet" if own_resnet else "transformers",
        models=MODELS,
        signature=(f"{body}.{first}.weight", f"encoder.layers.0.self_attn.{out}.weight"),
        rules=(
            *(_transformers_body(body) if own_resnet else _torchvision_body(body)),
            *conv("input_projection", "input_proj", POINTWISE2D),
            *(rule for layer in (encoder, decoder) for rule in (
                *_attention(f"{layer}.self_attn", layer.replace("layers.", "") + ".attn", out),
                *layer_norm(f"{layer}.self_attn_layer_norm", layer.replace("layers.", "") + ".norm1"),
                *dense(f"{layer}.{mlp}fc1", layer.replace("layers.", "") + ".mlp.fc1"),
                *dense(f"{layer}.{mlp}fc2", layer.replace("layers.", "") + ".mlp.fc2"),
            )),
            *layer_norm(f"{encoder}.final_layer_norm", "encoder.{i}.norm2"),
            *_attention(f"{decoder}.encoder_attn", "decoder.{i}.cross", out),
            *layer_norm(f"{decoder}.encoder_attn_layer_norm", "decoder.{i}.norm2"),
            *layer_norm(f"{decoder}.final_layer_norm", "decoder.{i}.norm3"),
            *layer_norm("decoder.layernorm", "norm"),
            Rule("query_position_embeddings.weight", "queries"),
            *dense("class_labels_classifier", "head"),
            *dense("bbox_predictor.layers.{i}", "boxes.{i}"),
        ),
        ignore=("*.num_batches_tracked",),
        prefixes=("model.",),
    )  # fmt: skip


def _part(index: int, then: Transform) -> Transform:
    """A third of queries, keys and values joined along their outputs."""
    return Transform(
        f"part {index} of 3, {then.name}",
        lambda x: then.forward(x[index * len(x) // 3 : (index + 1) * len(x) // 3]),
        lambda x: then.inverse(x),  # of this part alone
    )


def _joined_attention(key: str, path: str) -> tuple[Rule, ...]:
    """Rules for `torch.nn.MultiheadAttention`."""
    joined = ((f"{key}.in_proj_weight", "kernel", LINEAR), (f"{key}.in_proj_bias", "bias", COPY))
    return (
        *(
            Rule(name, f"{path}.q.{leaf}", _part(0, to),
                 also=((f"{path}.k.{leaf}", _part(1, to)), (f"{path}.v.{leaf}", _part(2, to))))
            for name, leaf, to in joined
        ),
        *dense(f"{key}.out_proj", f"{path}.proj"),
    )  # fmt: skip


_LAYER = "transformer.encoder.layers.{i}"
_DECODER_LAYER = "transformer.decoder.layers.{i}"
ORIGINAL = Source(
    name="detr",
    models=MODELS,
    signature=("backbone.0.body.conv1.weight", "transformer.encoder.layers.0.self_attn.in_proj_weight"),
    rules=(
        *_torchvision_body("backbone.0.body"),
        *conv("input_proj", "input_proj", POINTWISE2D),
        *_joined_attention(f"{_LAYER}.self_attn", "encoder.{i}.attn"),
        *_joined_attention(f"{_DECODER_LAYER}.self_attn", "decoder.{i}.attn"),
        *_joined_attention(f"{_DECODER_LAYER}.multihead_attn", "decoder.{i}.cross"),
        *(rule for key, path in ((_LAYER, "encoder.{i}"), (_DECODER_LAYER, "decoder.{i}")) for rule in (
            *layer_norm(f"{key}.norm{{n}}", f"{path}.norm{{n}}"),
            *dense(f"{key}.linear{{n}}", f"{path}.mlp.fc{{n}}"),
        )),
        *layer_norm("transformer.decoder.norm", "norm"),
        Rule("query_embed.weight", "queries"),
        *dense("class_embed", "head"),
        *dense("bbox_embed.layers.{i}", "boxes.{i}"),
    ),
    ignore=("*.num_batches_tracked",),
    read_only=True,
)  # fmt: skip

# Those in memory last: a network is written as files are.
SOURCES = (
    _transformers(own_resnet=False, in_file=True),
    _transformers(own_resnet=True, in_file=True),
    _transformers(own_resnet=False, in_file=False),
    _transformers(own_resnet=True, in_file=False),
    ORIGINAL,
)
