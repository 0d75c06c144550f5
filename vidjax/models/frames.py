"""Frame pooling: a 2D ResNet on every frame by itself, and the mean (or maximum) of the frames' features.

The baseline that sees appearance and no motion: shuffling a clip's frames does not change its answer. Paper of the
network: He et al. (1512.03385); of pooling frames: Wang et al., Temporal Segment Networks (1608.00859). Reference code:
torchvision `models/resnet.py`. With one frame the logits are those of the 2D network.
"""

from typing import Any

from flax import nnx

from vidjax.config import Spec
from vidjax.models.registry import Variant
from vidjax.models.resnet import BasicBlock, Bottleneck, ResNet, Stage, Stem, frame_conv

# Depth of the four stages and the kind of block, by the number of layers.
_LAYERS = {
    18: ((2, 2, 2, 2), BasicBlock),
    34: ((3, 4, 6, 3), BasicBlock),
    50: ((3, 4, 6, 3), Bottleneck),
    101: ((3, 4, 23, 3), Bottleneck),
}


def frame_pool(num_classes: int, *, layers: int, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """A 2D ResNet of 18, 34, 50 or 101 layers over frames. Further arguments are those of `ResNet`."""
    depths, block = _LAYERS[layers]
    stem = Stem(64, (1, 7, 7), max_pool=True, dtype=dtype, rngs=rngs)
    stages = [
        Stage(depth, 64 * 2**index, (1, 1, 1) if index == 0 else (1, 2, 2), frame_conv)
        for index, depth in enumerate(depths)
    ]
    return ResNet(
        num_classes, stem=stem, stem_features=64, stages=stages, block=block, dtype=dtype, rngs=rngs, **kwargs
    )


def frame_pool_tiny(num_classes: int, *, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any) -> ResNet:
    """`r2plus1d_tiny` without time: the same widths and strides, 2D convolutions. Further arguments are `ResNet`'s."""
    stem = Stem(16, (1, 7, 7), dtype=dtype, rngs=rngs)
    stages = [Stage(1, width, (1, 2, 2), frame_conv) for width in (16, 32, 64)]
    return ResNet(num_classes, stem=stem, stem_features=16, stages=stages, dtype=dtype, rngs=rngs, **kwargs)


def _variant(layers: int) -> Variant:
    spec = Spec(
        name=f"frame_pool_r{layers}",
        num_frames=8,
        stride=8,
        size=224,
        resize=(256,),
        num_classes=400,
        paper="https://arxiv.org/abs/1608.00859",
        sources=("torchvision2d",),
    )
    return Variant(frame_pool, spec, {"layers": layers})


VARIANTS = {f"frame_pool_r{layers}": _variant(layers) for layers in _LAYERS} | {
    "frame_pool_tiny": Variant(
        frame_pool_tiny,
        Spec(
            name="frame_pool_tiny",
            num_frames=8,
            stride=2,
            size=64,
            resize=(72,),
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            num_classes=6,
            paper="https://arxiv.org/abs/1608.00859",
        ),
    )
}
