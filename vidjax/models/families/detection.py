"""Detection networks: who does what, box by box. Networks of other families with a `RoiHead` instead of their own head.

The last map has a stride of 16 pixels: convolutional networks do not stride in their last stage. SlowFast and
pytorchvideo dilate its 3×3 convolutions by 2 instead, so that these see as much as in the trained classifier;
mmaction2 (names that end in `_mm`) does not. Boxes are the second input of a call, `network(video, boxes)`.

Papers: Feichtenhofer et al., SlowFast Networks (1812.03982), section 5; Tong et al., VideoMAE (2203.12602), table 7.
Reference code: facebookresearch/SlowFast `configs/AVA`; pytorchvideo `models/hub`; mmaction2 `configs/detection`.
"""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

from flax import nnx

from vidjax.inputs import BankInput, BoxInput
from vidjax.models.arguments import by_field
from vidjax.models.base import VideoNetwork
from vidjax.models.families import mvit, slow, slowfast, swin, videomae
from vidjax.models.families.resnet import DEPTHS, dilated_frame_conv
from vidjax.models.registry import Variant
from vidjax.models.roi_head import RoiHead, RoiOptions
from vidjax.nn.grids import Triple

AVA_CLASSES = 80
DEFAULTS = RoiOptions()


@cache
def with_boxes(build: type[VideoNetwork]) -> Callable[..., VideoNetwork]:
    """Constructor of detection networks from the class of a backbone.

    It takes the class's arguments and the fields of `vidjax.models.roi_head.RoiOptions`.
    """
    construct: Callable[..., VideoNetwork] = build

    @by_field
    def make(
        num_classes: int, *, roi: RoiOptions = DEFAULTS, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any
    ) -> build:  # type: ignore[valid-type]
        network = construct(1, dtype=dtype, rngs=rngs, **kwargs)
        network.head = RoiHead(network, num_classes, roi, dtype=dtype, rngs=rngs)
        network.conventions = (*network.conventions, ("roi_aligned", roi.roi_aligned))
        return network

    vars(make).update(positions=build.positions, hands_on=True)
    return make


_ZOO = slow.VARIANTS | slowfast.VARIANTS | videomae.VARIANTS | swin.VARIANTS | mvit.VARIANTS


def _variant(
    name: str,
    backbone: str,
    published: str = "",
    *,
    boxes: int = 32,
    video: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Variant:
    """Detection network of a named classifier.

    Args:
      name: name of the network.
      backbone: name of the classifier.
      published: data, mAP and source.
      boxes: most boxes per clip.
      video: fields of the video input that differ from the classifier's.
      **kwargs: further arguments, of the classifier's class or of `RoiOptions`.
    """
    base = _ZOO[backbone]
    assert isinstance(base.build, type)  # as all in these tables
    tiny = name.endswith("_tiny")
    spec = dataclasses.replace(
        base.spec.with_video(**(video or {})),
        name=name,
        task="detect",
        num_classes=base.spec.num_classes if tiny else AVA_CLASSES,
        published=published,
    )
    inputs = {**spec.inputs, "boxes": BoxInput(boxes)}
    if kwargs.get("roi_context") == "bank":
        width = kwargs.get("roi_bank", DEFAULTS.roi_bank)
        inputs["bank"] = BankInput(2 * 60 if tiny else 5 * 60, width)
    spec = dataclasses.replace(spec, inputs=inputs)
    return dataclasses.replace(base, build=with_boxes(base.build), spec=spec, kwargs={**base.kwargs, **kwargs})


# The last stage keeps the size of the third.
_STRIDES: tuple[Triple, ...] = (*slow.STRIDES[:3], (1, 1, 1))
DILATED = {"strides": _STRIDES, "last_conv": dilated_frame_conv, "dropout": 0.5}
# SlowFast's networks of 101 layers have non-local blocks in the third stage of the Slow pathway.
NONLOCAL = DILATED | {
    "nonlocal_blocks": ((), (), (6, 13, 20), ()),
    "nonlocal_options": {"mode": "dot_product", "pool": (2, 2, 2)},
}
PLAIN = {"strides": _STRIDES, "roi_size": 8, "dropout": 0.5}
MAXIMA = {"fast_frames": "max", "roi_time": "max"}
_SHORT = {"resize": (256,)}
_TINY = {"strides": ((1, 2, 2), (1, 2, 2), (1, 1, 1)), "last_conv": dilated_frame_conv, "dropout": 0.0}

# Name of a detection network → name of its backbone.
BACKBONES = {
    "slow_r50_ava": "slow_r50_4x16",
    "slow_r50_8x8_ava": "slow_r50",
    "slowfast_r50_8x8_ava": "slowfast_r50_8x8",
    "slowfast_r101_8x8_ava": "slowfast_r101_16x8",
    "slowfast_r101_16x8_ava": "slowfast_r101_16x8",
    "slow_r50_ava_mm": "slow_r50_mm",
    "slow_r50_8x8_ava_mm": "slow_r50_mm",
    "slow_r50_ava_global_mm": "slow_r50_mm",
    "slow_r50_ava_lfb_mm": "slow_r50_mm",
    "slow_r101_8x8_ava_mm": "slow_r50_mm",
    "slowfast_r50_4x16_ava_mm": "slowfast_r50_4x16_mm",
    "slowfast_r50_4x16_ava_global_mm": "slowfast_r50_4x16_mm",
    "slowfast_r50_8x8_ava_mm": "slowfast_r50_8x8_mm",
    "slowfast_r50_8x8_ava_max_mm": "slowfast_r50_8x8_mm",
    "slowfast_r50_8x8_ava_acrn_mm": "slowfast_r50_8x8_mm",
    "videomae_base_ava": "videomae_base",
    "videomae_large_ava": "videomae_large",
    "swin3d_t_ava": "swin3d_t",
    "mvit_v2_s_ava": "mvit_v2_s",
}
_FOUR = {**_SHORT, "num_frames": 4, "stride": 16}
_MAE = {"normalised_tokens": True, "position_mode": "cubic", "roi_size": 8, "dropout": 0.5}

# Name: published figure, changes of the video input, arguments.
_TABLE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "slow_r50_ava": ("AVA v2.2 mAP 19.5 (pytorchvideo)", _SHORT, DILATED),
    "slow_r50_8x8_ava": ("", _SHORT, DILATED),
    "slowfast_r50_8x8_ava": ("AVA v2.2 mAP 24.67 (pytorchvideo)", _SHORT, DILATED),
    "slowfast_r101_8x8_ava": ("AVA v2.2 mAP 29.1 from Kinetics-600 (SlowFast)", _SHORT | {"num_frames": 32}, NONLOCAL),
    "slowfast_r101_16x8_ava": ("AVA v2.2 mAP 29.4 from Kinetics-600 (SlowFast)", _SHORT, NONLOCAL),
    "slow_r50_ava_mm": ("", _FOUR, PLAIN),
    "slow_r50_8x8_ava_mm": ("", _SHORT, PLAIN),
    "slow_r50_ava_global_mm": ("", _FOUR, PLAIN | {"roi_context": "global"}),
    "slow_r50_ava_lfb_mm": ("", _FOUR, PLAIN | {"roi_context": "bank"}),
    "slow_r101_8x8_ava_mm": ("", _SHORT, PLAIN | {"depths": DEPTHS[101]}),
    "slowfast_r50_4x16_ava_mm": ("", _SHORT, PLAIN),
    "slowfast_r50_4x16_ava_global_mm": ("", _SHORT, PLAIN | {"roi_context": "global"}),
    "slowfast_r50_8x8_ava_mm": ("AVA v2.2 mAP 25.90 (mmaction2)", _SHORT, PLAIN),
    "slowfast_r50_8x8_ava_max_mm": ("AVA v2.2 mAP 26.41 (mmaction2)", _SHORT, PLAIN | MAXIMA),
    "slowfast_r50_8x8_ava_acrn_mm": (
        "AVA v2.2 mAP 27.71 with focal loss (mmaction2)", _SHORT, PLAIN | MAXIMA | {"roi_context": "relations"},
    ),
    "videomae_base_ava": ("AVA-Kinetics mAP 33.6 (mmaction2)", _SHORT, _MAE),
    "videomae_large_ava": ("AVA-Kinetics mAP 38.7 (mmaction2)", _SHORT, _MAE),
    "swin3d_t_ava": ("", _SHORT, {}),
    "mvit_v2_s_ava": ("", _SHORT, {}),
}  # fmt: skip

# Small networks for learning and tests. The last two are baselines: one sees the whole picture whatever the box, the
# other a single frame.
_I3D = _TINY | {"stem_kernel": (5, 7, 7), "temporal_kernels": ((3,), (3,), (3,)), "frame_pool": 1}
_SMALL: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "slow_detect_tiny": ("slow_tiny", {}, _TINY),
    "i3d_detect_tiny": ("i3d_tiny", {}, _I3D),
    "slow_lfb_detect_tiny": ("slow_tiny", {}, _TINY | {"roi_context": "bank", "roi_bank": 256}),
    "slowfast_detect_tiny": ("slowfast_tiny", {}, _TINY | MAXIMA | {"strides": ((1, 1, 1), (1, 2, 2), (1, 1, 1))}),
    "videomae_detect_tiny": ("videomae_tiny", {}, {"normalised_tokens": True}),
    "picture_detect_tiny": ("i3d_tiny", {}, _I3D | {"roi_region": "picture"}),
    "frame_detect_tiny": ("slow_tiny", {"num_frames": 1}, _TINY),
}

VARIANTS = {
    name: _variant(name, BACKBONES[name], published, video=video, **kwargs)
    for name, (published, video, kwargs) in _TABLE.items()
} | {
    name: _variant(name, backbone, boxes=8, video=video, **kwargs) for name, (backbone, video, kwargs) in _SMALL.items()
}
