"""R3D, MC3 and R(2+1)D: 18-layer residual networks with 3D, mixed and factorised convolutions.

Paper: Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition (1711.11248).
Reference code: torchvision `models/video/resnet.py`.
"""

from typing import Any

from flax import nnx

from vidjax.config import Spec
from vidjax.models.registry import Variant
from vidjax.models.resnet import ResNet, Stage, Stem, factorised_conv, frame_conv, joint_conv


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


def r2plus1d_tiny(num_classes: int, *, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """A small R(2+1)D that trains on a CPU in minutes. Further arguments are those of `ResNet`."""
    stem = Stem(16, (3, 7, 7), mid_features=16, dtype=dtype, rngs=rngs)
    stages = (
        Stage(1, 16, (1, 2, 2), factorised_conv),
        Stage(1, 32, (2, 2, 2), factorised_conv),
        Stage(1, 64, (2, 2, 2), factorised_conv),
    )
    return ResNet(num_classes, stem=stem, stem_features=16, stages=stages, dtype=dtype, rngs=rngs, **kwargs)


def _torchvision(name: str) -> Spec:
    return Spec(
        name=name,
        num_frames=16,
        fps=15,
        size=112,
        resize=(128, 171),
        mean=(0.43216, 0.394666, 0.37645),
        std=(0.22803, 0.22145, 0.216989),
        num_classes=400,
        paper="https://arxiv.org/abs/1711.11248",
        sources=("torchvision",),
    )


VARIANTS = {
    "r3d_18": Variant(r3d_18, _torchvision("r3d_18")),
    "mc3_18": Variant(mc3_18, _torchvision("mc3_18")),
    "r2plus1d_18": Variant(r2plus1d_18, _torchvision("r2plus1d_18")),
    "r2plus1d_tiny": Variant(
        r2plus1d_tiny,
        Spec(
            name="r2plus1d_tiny",
            num_frames=8,
            stride=2,
            size=64,
            resize=(72,),
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            num_classes=6,
            paper="https://arxiv.org/abs/1711.11248",
        ),
    ),
}
