"""Weights of ActionFormer, as named by happyharrycn/actionformer_release.

Its `.pth.tar` files hold the weights twice, and the reader takes the moving average, `state_dict_ema`.
"""

from vidjax.weights.layer_rules import conv
from vidjax.weights.layouts import CHANNELS, CONV1D, COPY, POINTWISE1D
from vidjax.weights.table import Rule, Source


def channel_norm(key: str, path: str) -> tuple[Rule, Rule]:
    """Rules for a norm over channels, stored as `(1, C, 1)` → `nnx.LayerNorm`."""
    return Rule(f"{key}.weight", f"{path}.scale", CHANNELS), Rule(f"{key}.bias", f"{path}.bias", CHANNELS)


def time_conv(key: str, path: str) -> tuple[Rule, Rule]:
    """Rules for a convolution along time, and its bias, if there is one → `TimeConv`."""
    return conv(key, f"{path}.conv", CONV1D)


def pointwise(key: str, path: str) -> tuple[Rule, Rule]:
    """Rules for a convolution of a single place → `nnx.Linear`."""
    return conv(key, path, POINTWISE1D)


def tower(key: str, out: str, path: str) -> tuple[Rule, ...]:
    """Rules for one of the head's towers → `MaskedTower`; `out` names its last convolution."""
    return (
        *time_conv(f"{key}.head.{{i}}.conv", f"{path}.convs.{{i}}"),
        *channel_norm(f"{key}.norm.{{i}}", f"{path}.norms.{{i}}"),
        *time_conv(f"{key}.{out}.conv", f"{path}.out"),
    )


# Shared by TriDet and TemporalMaxer, whose code began as ActionFormer's.
EMBEDDING = (
    *time_conv("backbone.embd.{i}.conv", "embedding.convs.{i}"),
    *channel_norm("backbone.embd_norm.{i}", "embedding.norms.{i}"),
)
HEAD = (
    *tower("cls_head", "cls_head", "head.classes"),
    *tower("reg_head", "offset_head", "head.offsets"),
    Rule("reg_head.scale.{l}.scale", "head.scales.{l}", COPY),
)
CLASSIFIER = "head.classes.out.conv"
KEPT = ("positives",)


def _block(key: str, path: str) -> tuple[Rule, ...]:
    return (
        *channel_norm(f"{key}.ln1", f"{path}.norm1"),
        *channel_norm(f"{key}.ln2", f"{path}.norm2"),
        *(
            rule
            for name, short in (("query", "q"), ("key", "k"), ("value", "v"))
            for rule in (
                *time_conv(f"{key}.attn.{name}_conv.conv", f"{path}.attn.{short}_conv"),
                *channel_norm(f"{key}.attn.{name}_norm", f"{path}.attn.{short}_norm"),
                *pointwise(f"{key}.attn.{name}", f"{path}.attn.{short}"),
            )
        ),
        *pointwise(f"{key}.attn.proj", f"{path}.attn.proj"),
        *pointwise(f"{key}.mlp.0", f"{path}.mlp.fc1"),
        *pointwise(f"{key}.mlp.3", f"{path}.mlp.fc2"),
        Rule(f"{key}.drop_path_attn.scale", f"{path}.attn_scale", CHANNELS),
        Rule(f"{key}.drop_path_mlp.scale", f"{path}.mlp_scale", CHANNELS),
    )


SOURCES = (
    Source(
        name="actionformer",
        models=("actionformer_*",),
        signature=("backbone.stem.0.attn.query_conv.conv.weight", "cls_head.cls_head.conv.weight"),
        rules=(
            *EMBEDDING,
            *_block("backbone.stem.{i}", "stem.{i}"),
            *_block("backbone.branch.{i}", "branch.{i}"),
            *channel_norm("neck.fpn_norms.{l}", "norms.{l}"),
            *HEAD,
        ),
        head=CLASSIFIER,
        kept=KEPT,
    ),
)
