"""R3D, MC3 and R(2+1)D: residual networks of 18 and 34 layers with 3D, mixed and factorised convolutions.

Paper: Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition (1711.11248).
Reference code: torchvision `models/video/resnet.py`; of `r2plus1d_34` mmaction2's `models/backbones/resnet2plus1d.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
from flax import nnx

from vidjax.config import Spec
from vidjax.models.families.resnet import (
    DEPTHS,
    BasicBlock,
    ConvKind,
    ResNet,
    Stage,
    Stem,
    factorised_conv,
    frame_conv,
    joint_conv,
)
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.factorised import Conv2Plus1D, mid_width
from vidjax.nn.grids import Triple
from vidjax.nn.norm import BatchNorm


@dataclass(frozen=True)
class Layout:
    """Layout of one of these networks, without its classes.

    Attributes:
      depths: blocks of each stage.
      conv: kind of the 3×3×3 convolutions; each further stage has twice as many channels.
      later: kind of the convolutions after the first stage; None: the same. `frame_conv` does not shorten time.
      width: channels of the stem and the first stage.
      halves_first: whether the first stage halves height and width too.
      stem: further arguments of `Stem`.
      block: kind of block.
    """

    depths: tuple[int, ...]
    conv: ConvKind
    later: ConvKind | None = None
    width: int = 64
    halves_first: bool = False
    stem: Mapping[str, Any] = field(default_factory=dict)
    block: type[BasicBlock] = BasicBlock

    def widened(self, width: int) -> "Layout":
        """The layout with another width of the first stage, and the channels inside the stem in proportion."""
        inside = {"mid_features"} & self.stem.keys()
        scaled = {name: max(1, self.stem[name] * width // self.width) for name in inside}
        return replace(self, width=width, stem={**self.stem, **scaled})

    def stages(self) -> list[Stage]:
        """Stages of the network: all but the first halve height and width, and time if their kernels span frames."""
        stages = []
        for index, depth in enumerate(self.depths):
            conv = self.conv if index == 0 else self.later or self.conv
            step = 2 if index or self.halves_first else 1
            strides = (2 if index and conv is not frame_conv else 1, step, step)
            stages.append(Stage(depth, self.width * 2**index, strides, conv))
        return stages


def spacetime_resnet(
    num_classes: int,
    *,
    layout: Layout,
    width: int | None = None,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> ResNet:
    """Build a network of this family. Further arguments are those of `ResNet`.

    Args:
      num_classes: K, number of classes.
      layout: layout of the network.
      width: channels of the stem and the first stage; None: the layout's.
      in_channels: C, channels of the video.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """
    layout = layout if width is None else layout.widened(width)
    stem = Stem(layout.width, (3, 7, 7), in_channels=in_channels, **layout.stem, dtype=dtype, rngs=rngs)
    network = {"stem": stem, "stem_features": layout.width, "stages": layout.stages(), "block": layout.block}
    return ResNet(num_classes, **network, dtype=dtype, rngs=rngs, **kwargs)


_OUTER_EPSILON = 1e-3  # of mmaction2's norms after a factorised convolution; those inside have 1e-5


class MMShortcut(nnx.Module):
    """mmaction2's shortcut: a factorised convolution, although its kernel is 1×1×1, and a norm.

    The width between its parts is that of a kernel of temporal extent 3.
    """

    def __init__(self, in_features: int, out_features: int, strides: Triple, *, dtype: Any = None, rngs: nnx.Rngs):
        mid_features = mid_width(in_features, out_features, (3, 1, 1))
        self.conv = Conv2Plus1D(
            in_features, out_features, 1, strides, mid_features=mid_features, dtype=dtype, rngs=rngs
        )
        self.norm = BatchNorm(out_features, epsilon=_OUTER_EPSILON, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', out)."""
        return self.norm(self.conv(x))


class MMBlock(BasicBlock):
    """mmaction2's basic block: every convolution is factorised, with a width given by its own channels.

    Arguments as for `BasicBlock`, which it replaces in a `ResNet`.
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        strides: Triple,
        conv: ConvKind,
        *,
        zero_init: bool = False,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.conv1 = conv(in_features, features, strides, in_features, dtype=dtype, rngs=rngs)
        self.norm1 = BatchNorm(features, epsilon=_OUTER_EPSILON, rngs=rngs)
        self.conv2 = conv(features, features, (1, 1, 1), features, dtype=dtype, rngs=rngs)
        self.norm2 = BatchNorm(features, epsilon=_OUTER_EPSILON, zero_init=zero_init, rngs=rngs)
        changes = in_features != features or strides != (1, 1, 1)
        self.shortcut = MMShortcut(in_features, features, strides, dtype=dtype, rngs=rngs) if changes else None


R3D_18 = Layout(DEPTHS[18], joint_conv)
R3D_34 = Layout(DEPTHS[34], joint_conv)
MC3_18 = Layout(DEPTHS[18], joint_conv, frame_conv)
R2PLUS1D_18 = Layout(DEPTHS[18], factorised_conv, stem={"mid_features": 45})
# mmaction2's.
R2PLUS1D_34 = Layout(
    DEPTHS[34],
    factorised_conv,
    stem={"mid_features": mid_width(3, 64, (3, 7, 7)), "max_pool": True, "epsilon": _OUTER_EPSILON},
    block=MMBlock,
)
# Small networks that train on a CPU in minutes.
TINY = {"depths": (1, 1, 1), "width": 16, "halves_first": True}
R3D_TINY = Layout(**TINY, conv=joint_conv)
MC3_TINY = Layout(**TINY, conv=joint_conv, later=frame_conv)
R2PLUS1D_TINY = Layout(**TINY, conv=factorised_conv, stem={"mid_features": 16})

_PAPER = "https://arxiv.org/abs/1711.11248"


def _torchvision(name: str, published: str, sources: tuple[str, ...] = ("torchvision", "torchvision2d")) -> Spec:
    return Spec.of_video(
        name=name,
        num_frames=16,
        fps=15,
        size=112,
        resize=(128, 171),
        mean=(0.43216, 0.394666, 0.37645),
        std=(0.22803, 0.22145, 0.216989),
        num_classes=400,
        paper=_PAPER,
        sources=sources,
        published=published and f"K400 {published}, 5×1 views (torchvision)",
    )


VARIANTS = {
    "r3d_18": Variant(spacetime_resnet, _torchvision("r3d_18", "63.20 / 83.48"), {"layout": R3D_18}),
    "r3d_34": Variant(spacetime_resnet, _torchvision("r3d_34", "", sources=("torchvision2d",)), {"layout": R3D_34}),
    "mc3_18": Variant(spacetime_resnet, _torchvision("mc3_18", "63.96 / 84.13"), {"layout": MC3_18}),
    "r2plus1d_18": Variant(
        spacetime_resnet,
        _torchvision("r2plus1d_18", "67.46 / 86.18", sources=("torchvision",)),
        {"layout": R2PLUS1D_18},
    ),
    "r2plus1d_34": Variant(
        spacetime_resnet,
        Spec.of_video(
            name="r2plus1d_34",
            num_frames=8,
            stride=8,
            size=224,
            resize=(256,),
            num_classes=400,
            paper=_PAPER,
            sources=("mmaction2",),
            published="K400 69.76 / 88.41, with 32 frames, every 2nd, 75.46 / 92.28; 10×3 views of 256² (mmaction2)",
        ),
        {"layout": R2PLUS1D_34, "dropout": 0.5},
    ),
    "r3d_tiny": Variant(spacetime_resnet, tiny_spec("r3d_tiny", _PAPER), {"layout": R3D_TINY}),
    "mc3_tiny": Variant(spacetime_resnet, tiny_spec("mc3_tiny", _PAPER), {"layout": MC3_TINY}),
    "r2plus1d_tiny": Variant(
        spacetime_resnet,
        tiny_spec("r2plus1d_tiny", _PAPER),
        {"layout": R2PLUS1D_TINY},
    ),
}
