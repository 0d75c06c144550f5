"""Weights of TriDet, as named by dingfengshi/TriDet.

Its `.pth.tar` files hold the weights twice, and the reader takes the moving average, `state_dict_ema`.
"""

from vidjax.weights.layer_rules import layer_norm
from vidjax.weights.layouts import CHANNELS
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.actionformer import (
    CLASSIFIER,
    EMBEDDING,
    HEAD,
    KEPT,
    channel_norm,
    pointwise,
    time_conv,
    tower,
)


def _block(key: str, path: str) -> tuple[Rule, ...]:
    convs = (("psi", "psi"), ("fc", "fc"), ("convw", "conv_w"), ("convkw", "conv_kw"), ("global_fc", "global_fc"))
    return (
        *channel_norm(f"{key}.ln", f"{path}.norm1"),
        *layer_norm(f"{key}.gn", f"{path}.norm2"),
        *(rule for theirs, ours in convs for rule in time_conv(f"{key}.{theirs}", f"{path}.{ours}")),
        *pointwise(f"{key}.mlp.0", f"{path}.mlp.fc1"),
        *pointwise(f"{key}.mlp.2", f"{path}.mlp.fc2"),
        Rule(f"{key}.drop_path_out.scale", f"{path}.out_scale", CHANNELS),
        Rule(f"{key}.drop_path_mlp.scale", f"{path}.mlp_scale", CHANNELS),
    )


SOURCES = (
    Source(
        name="tridet",
        models=("tridet_*",),
        signature=("backbone.stem.0.psi.weight", "start_head.cls_head.conv.weight"),
        rules=(
            *EMBEDDING,
            *_block("backbone.stem.{i}", "stem.{i}"),
            *_block("backbone.branch.{i}", "branch.{i}"),
            *channel_norm("neck.fpn_norms.{l}", "norms.{l}"),
            *HEAD,
            *tower("start_head", "cls_head", "head.start"),
            *tower("end_head", "cls_head", "head.end"),
        ),
        head=CLASSIFIER,
        heads=("head.start.out.conv", "head.end.out.conv"),
        kept=KEPT,
    ),
)
