"""Weights of detection networks, as named by SlowFast, pytorchvideo and mmaction2, and those of the classifiers from
which they start.

A classifier's weights are read into a detection network from every source of its backbone; the head starts anew. The
backbone's own sources are the tables of its family.

AVA's classes are numbered from 1, and mmaction2's classifiers have an output 0 that is never trained. It is left out on
reading, and zeros on writing.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from vidjax.models.families.detection import BACKBONES
from vidjax.nn.positions import sinusoid_table
from vidjax.weights.layer_rules import batch_norm, conv, dense, layer_norm
from vidjax.weights.layouts import CONV3D, POINTWISE, Transform
from vidjax.weights.table import Rule, Source
from vidjax.weights.tables import image_cnn, image_vit, mvit, slow, slowfast, swin, videomae
from vidjax.weights.tables.bottlenecks import IGNORE


def _named(pattern: str) -> tuple[str, ...]:
    """Detection networks with a part in their name."""
    return tuple(name for name in BACKBONES if name.startswith(pattern))


_MM = tuple(name for name in BACKBONES if name.endswith("_mm"))
_SLOW = tuple(name for name in _named("slow_") if name not in _MM)
_SLOWFAST = tuple(name for name in _named("slowfast_") if name not in _MM)
_ALIGNED, _LEGACY = {"roi_aligned": True}, {"roi_aligned": False}


def _without_head(source: Source) -> tuple[Rule, ...]:
    return tuple(rule for rule in source.rules if not rule.path.startswith("head."))


def _under(prefix: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules whose keys have a prefix."""

    def keys(rule: Rule) -> str | tuple[str, ...]:
        return prefix + rule.keys if isinstance(rule.keys, str) else tuple(prefix + key for key in rule.keys)

    return tuple(replace(rule, keys=keys(rule)) for rule in rules)


def _pytorchvideo(classifier: Source, models: tuple[str, ...]) -> Source:
    """pytorchvideo's detector: a classifier's backbone under `model`, and a head with the older RoIAlign."""
    return replace(
        classifier,
        models=models,
        signature=(f"model.{classifier.signature[0]}", "detection_head.proj.weight"),
        rules=(*_under("model.", _without_head(classifier)), *dense("detection_head.proj", "head")),
        kwargs=_LEGACY,
        conventions=_LEGACY,
    )


PYTORCHVIDEO = (
    _pytorchvideo(slow.PYTORCHVIDEO, _SLOW),
    _pytorchvideo(slowfast.PYTORCHVIDEO, ("slowfast_r50_8x8_ava",)),
)
# The names are those of the classifiers. Only the files of caffe2 have the older RoIAlign.
SLOWFAST = tuple(
    replace(source, models=models, kwargs=convention, conventions=convention)
    for source, models, convention in (
        (slow.SLOWFAST, _SLOW, _ALIGNED),
        (slowfast.SLOWFAST, _SLOWFAST, _ALIGNED),
        (slow.CAFFE2, _SLOW, _LEGACY),
        (slowfast.CAFFE2, _SLOWFAST, _LEGACY),
    )
)


def _with_unused(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(x[:1]), x])


KERNEL_OF_USED = Transform("(1 + O)·I → I·O", lambda x: x[1:].T, lambda x: (_with_unused(x.T),))
BIAS_OF_USED = Transform("1 + O → O", lambda x: x[1:], lambda x: (_with_unused(x),))
_NORM = Transform("O·1·1·1 → O", lambda x: x.reshape(-1), lambda x: (x[:, None, None, None],))
_SHARED, _BOXES = "roi_head.shared_head", "roi_head.bbox_head"


def _bank_layer(key: str, path: str) -> tuple[Rule, ...]:
    names = {"st_feat_conv": "query", "lt_feat_conv": "key", "global_conv": "value", "out_conv": "out"}
    layers = (conv(f"{key}.{theirs}.conv", f"{path}.{ours}", POINTWISE) for theirs, ours in names.items())
    norm = (replace(rule, transform=_NORM) for rule in layer_norm(f"{key}.ln", f"{path}.norm"))
    return (*(rule for pair in layers for rule in pair), *norm)


# ACRN, and the operator of a feature bank.
_CONTEXT = (
    Rule(f"{_SHARED}.conv1.conv.weight", "head.context.conv1.kernel", CONV3D),
    *batch_norm(f"{_SHARED}.conv1.bn", "head.context.norm1"),
    Rule(f"{_SHARED}.conv2.conv.weight", "head.context.conv2.kernel", CONV3D),
    *batch_norm(f"{_SHARED}.conv2.bn", "head.context.norm2"),
    *conv(f"{_SHARED}.fbo.st_feat_conv", "head.context.short", POINTWISE),
    *conv(f"{_SHARED}.fbo.lt_feat_conv", "head.context.long", POINTWISE),
    *_bank_layer(f"{_SHARED}.fbo.non_local_layer_{{n}}", "head.context.layers.{n-1}"),
)


def _classifier(key: str) -> tuple[Rule, Rule]:
    return (
        Rule(f"{key}.weight", "head.kernel", KERNEL_OF_USED),
        Rule(f"{key}.bias", "head.bias", BIAS_OF_USED),
    )


def _mmaction2(classifier: Source, models: tuple[str, ...], *own: Rule) -> tuple[Source, Source]:
    """mmaction2's detector, with a classifier of one layer or two."""
    body = (*_without_head(classifier), *own, *_CONTEXT)
    first = classifier.signature[0]
    one = replace(
        classifier,
        models=models,
        signature=(first, f"{_BOXES}.fc_cls.weight"),
        rules=(*body, *_classifier(f"{_BOXES}.fc_cls")),
        conventions=_ALIGNED,
        ignore=tuple(dict.fromkeys((*classifier.ignore, *IGNORE))),
    )
    two = replace(
        one,
        signature=(first, f"{_BOXES}.fc_cls.2.weight"),
        rules=(*body, *dense(f"{_BOXES}.fc_cls.0", "head.hidden"), *_classifier(f"{_BOXES}.fc_cls.2")),
    )
    return one, two


_VIDEOMAE = _named("videomae_")
MMACTION2 = (
    *_mmaction2(slow.MMACTION2, tuple(name for name in _MM if name.startswith("slow_"))),
    *_mmaction2(slowfast.MMACTION2, tuple(name for name in _MM if name.startswith("slowfast_"))),
    *_mmaction2(
        replace(
            videomae.MMACTION2,
            rules=tuple(rule for rule in videomae.MMACTION2.rules if "fc_norm" not in rule.path),
            buffers=lambda state: {"pos_embed": sinusoid_table(8 * 14 * 14, len(state["norm.weight"]))[None]},
        ),
        _VIDEOMAE,
        *layer_norm("norm", "fc_norm"),
    ),
)


def _starting() -> tuple[Source, ...]:
    """Sources of the backbones, with heads that start anew. SlowFast's and caffe2's serve both kinds as they are."""
    known = (slow, slowfast, videomae, swin, mvit, image_cnn, image_vit)
    found = []
    for source in (source for table in known for source in table.SOURCES):
        models = tuple(
            name
            for name, backbone in BACKBONES.items()
            if source.serves(backbone) and not any(s.serves(name) and s.name == source.name for s in SLOWFAST)
        )
        if models:
            found.append(
                replace(source, models=models, fresh=(*source.fresh, "slow.nonlocals.*", "head.*"), read_only=True)
            )
    return tuple(found)


SOURCES = (*PYTORCHVIDEO, *SLOWFAST, *MMACTION2, *_starting())
