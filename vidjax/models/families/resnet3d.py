"""R3D, MC3 and R(2+1)D: residual networks of 18 and 34 layers with 3D, mixed and factorised convolutions.

Paper: Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition (1711.11248).
Reference code: torchvision `models/video/resnet.py`; of `r2plus1d_34` mmaction2's `models/backbones/resnet2plus1d.py`.
"""

from typing import Any

import jax
from flax import nnx

from vidjax.config import Spec
from vidjax.models.families.resnet import ConvKind, ResNet, Stage, Stem, factorised_conv, frame_conv, joint_conv
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.factorised import Conv2Plus1D, mid_width
from vidjax.nn.grids import Triple
from vidjax.nn.norm import BatchNorm


def r3d_18(num_classes: int, *, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """R3D-18: 3×3×3 throughout. Further arguments are those of `ResNet`."""
    stem = Stem(64, (3, 7, 7), dtype=dtype, rngs=rngs)
    stages = (
        Stage(2, 64, (1, 1, 1), joint_conv),
        Stage(2, 128, (2, 2, 2), joint_conv),
        Stage(2, 256, (2, 2, 2), joint_conv),
        Stage(2, 512, (2, 2, 2), joint_conv),
    )
    return ResNet(num_classes, stem=stem, stem_features=64, stages=stages, dtype=dtype, rngs=rngs, **kwargs)


def r3d_34(num_classes: int, *, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """R3D-34: R3D-18 with more blocks in each stage. Further arguments are those of `ResNet`."""
    stem = Stem(64, (3, 7, 7), dtype=dtype, rngs=rngs)
    stages = (
        Stage(3, 64, (1, 1, 1), joint_conv),
        Stage(4, 128, (2, 2, 2), joint_conv),
        Stage(6, 256, (2, 2, 2), joint_conv),
        Stage(3, 512, (2, 2, 2), joint_conv),
    )
    return ResNet(num_classes, stem=stem, stem_features=64, stages=stages, dtype=dtype, rngs=rngs, **kwargs)


def mc3_18(num_classes: int, *, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """MC3-18: 3×3×3 in the stem and the first stage, 1×3×3 after. Further arguments are those of `ResNet`."""
    stem = Stem(64, (3, 7, 7), dtype=dtype, rngs=rngs)
    stages = (
        Stage(2, 64, (1, 1, 1), joint_conv),
        Stage(2, 128, (1, 2, 2), frame_conv),
        Stage(2, 256, (1, 2, 2), frame_conv),
        Stage(2, 512, (1, 2, 2), frame_conv),
    )
    return ResNet(num_classes, stem=stem, stem_features=64, stages=stages, dtype=dtype, rngs=rngs, **kwargs)


def r2plus1d_18(num_classes: int, *, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """R(2+1)D-18: every 3×3×3 as 1×3×3 and 3×1×1. Further arguments are those of `ResNet`."""
    stem = Stem(64, (3, 7, 7), mid_features=45, dtype=dtype, rngs=rngs)
    stages = (
        Stage(2, 64, (1, 1, 1), factorised_conv),
        Stage(2, 128, (2, 2, 2), factorised_conv),
        Stage(2, 256, (2, 2, 2), factorised_conv),
        Stage(2, 512, (2, 2, 2), factorised_conv),
    )
    return ResNet(num_classes, stem=stem, stem_features=64, stages=stages, dtype=dtype, rngs=rngs, **kwargs)


_OUTER_EPSILON = 1e-3  # of mmaction2's norms behind a factorised convolution; those inside have 1e-5


class MMShortcut(nnx.Module):
    """mmaction2's shortcut: a factorised convolution too, though its kernel is 1×1×1, and a norm.

    It is as wide between its parts as a kernel of temporal extent 3 would have it.
    """

    def __init__(self, in_features: int, out_features: int, strides: Triple, *, dtype: Any = None, rngs: nnx.Rngs):
        mid_features = mid_width(in_features, out_features, (3, 1, 1))
        self.conv = Conv2Plus1D(
            in_features, out_features, 1, strides, mid_features=mid_features, dtype=dtype, rngs=rngs
        )
        self.norm = BatchNorm(out_features, epsilon=_OUTER_EPSILON, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, in) → (B, T', H', W', out)."""
        return self.norm(self.conv(x))


class MMBlock(nnx.Module):
    """mmaction2's basic block: every convolution is factorised, each to the width of its own channels.

    Arguments as for `BasicBlock`, whose place it takes in a `ResNet`.
    """

    expansion = 1

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

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, H, W, in) → (B, T', H', W', features)."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


def r2plus1d_34(num_classes: int, *, dropout: float = 0.5, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """mmaction2's R(2+1)D-34. Further arguments are those of `ResNet`."""
    stem = Stem(
        64,
        (3, 7, 7),
        mid_features=mid_width(3, 64, (3, 7, 7)),
        max_pool=True,
        epsilon=_OUTER_EPSILON,
        dtype=dtype,
        rngs=rngs,
    )
    stages = (
        Stage(3, 64, (1, 1, 1), factorised_conv),
        Stage(4, 128, (2, 2, 2), factorised_conv),
        Stage(6, 256, (2, 2, 2), factorised_conv),
        Stage(3, 512, (2, 2, 2), factorised_conv),
    )
    return ResNet(
        num_classes,
        stem=stem,
        stem_features=64,
        stages=stages,
        block=MMBlock,
        dropout=dropout,
        dtype=dtype,
        rngs=rngs,
        **kwargs,
    )


def r3d_tiny(num_classes: int, *, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """A small R3D that trains on a CPU in minutes. Further arguments are those of `ResNet`."""
    stem = Stem(16, (3, 7, 7), dtype=dtype, rngs=rngs)
    stages = (
        Stage(1, 16, (1, 2, 2), joint_conv),
        Stage(1, 32, (2, 2, 2), joint_conv),
        Stage(1, 64, (2, 2, 2), joint_conv),
    )
    return ResNet(num_classes, stem=stem, stem_features=16, stages=stages, dtype=dtype, rngs=rngs, **kwargs)


def mc3_tiny(num_classes: int, *, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """A small MC3 that trains on a CPU in minutes. Further arguments are those of `ResNet`."""
    stem = Stem(16, (3, 7, 7), dtype=dtype, rngs=rngs)
    stages = (
        Stage(1, 16, (1, 2, 2), joint_conv),
        Stage(1, 32, (1, 2, 2), frame_conv),
        Stage(1, 64, (1, 2, 2), frame_conv),
    )
    return ResNet(num_classes, stem=stem, stem_features=16, stages=stages, dtype=dtype, rngs=rngs, **kwargs)


def r2plus1d_tiny(num_classes: int, *, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """A small R(2+1)D that trains on a CPU in minutes. Further arguments are those of `ResNet`."""
    stem = Stem(16, (3, 7, 7), mid_features=16, dtype=dtype, rngs=rngs)
    stages = (
        Stage(1, 16, (1, 2, 2), factorised_conv),
        Stage(1, 32, (2, 2, 2), factorised_conv),
        Stage(1, 64, (2, 2, 2), factorised_conv),
    )
    return ResNet(num_classes, stem=stem, stem_features=16, stages=stages, dtype=dtype, rngs=rngs, **kwargs)


_PAPER = "https://arxiv.org/abs/1711.11248"


def _torchvision(name: str, published: str, sources: tuple[str, ...] = ("torchvision", "torchvision2d")) -> Spec:
    return Spec(
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
    "r3d_18": Variant(r3d_18, _torchvision("r3d_18", "63.20 / 83.48")),
    "r3d_34": Variant(r3d_34, _torchvision("r3d_34", "", sources=("torchvision2d",))),
    "mc3_18": Variant(mc3_18, _torchvision("mc3_18", "63.96 / 84.13")),
    "r2plus1d_18": Variant(r2plus1d_18, _torchvision("r2plus1d_18", "67.46 / 86.18", sources=("torchvision",))),
    "r2plus1d_34": Variant(
        r2plus1d_34,
        Spec(
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
    ),
    "r3d_tiny": Variant(r3d_tiny, tiny_spec("r3d_tiny", _PAPER)),
    "mc3_tiny": Variant(mc3_tiny, tiny_spec("mc3_tiny", _PAPER)),
    "r2plus1d_tiny": Variant(
        r2plus1d_tiny,
        tiny_spec("r2plus1d_tiny", _PAPER),
    ),
}
