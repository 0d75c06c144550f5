"""X3D: a tiny 2D network expanded step by step along the best of the axes frames, size, depth and width.

Paper: Feichtenhofer, X3D: Expanding Architectures for Efficient Video Recognition (2004.04730). Reference code:
`slowfast/models/video_model_builder.py` in facebookresearch/SlowFast and `models/x3d.py` in pytorchvideo. Only
depthwise convolutions span more than one pixel and frame; time is never strided, so that all frames reach the head.

The two references differ in one layer. SlowFast's, and mmaction2's after it, has a norm on every shortcut with a
convolution; pytorchvideo's has none where the width stays the same, which is the first. The named models are
pytorchvideo's; `norm_every_shortcut=True` builds the other, and `load_pretrained` does so by itself for a checkpoint
of those two. Neither can replace the other: a norm adds a shift, unlike the convolution, and changes in training.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.base import Between, Features, VideoNetwork, Widths, unchanged
from vidjax.models.families.resnet import Shortcut
from vidjax.models.heads import Dense
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.conv import Conv3D
from vidjax.nn.grids import Triple
from vidjax.nn.init import whole_normal_001
from vidjax.nn.maps import cuboid_means
from vidjax.nn.norm import BatchNorm
from vidjax.nn.remat import check_remat, keeping
from vidjax.nn.squeeze import SqueezeExcitation

WIDTHS = (24, 48, 96, 192)  # channels between the blocks of each stage
DEPTHS = (1, 2, 5, 3)  # blocks of each stage, before the depth factor
EXPANSION = 2.25  # inner width of a block, over its output width
FEATURES = 2048  # width of the classifier's input
STRIDE = 32  # stride of the last map, pixels


class Stem(nnx.Module):
    """Stem: a 1×3×3 convolution of stride 2, then depthwise 5×1×1, norm, ReLU."""

    def __init__(self, in_channels: int, features: int, *, dtype: Any = None, rngs: nnx.Rngs):
        self.spatial = Conv3D(in_channels, features, (1, 3, 3), (1, 2, 2), (0, 1, 1), dtype=dtype, rngs=rngs)
        self.temporal = Conv3D(
            features, features, (5, 1, 1), padding=(2, 0, 0), feature_group_count=features, dtype=dtype, rngs=rngs
        )
        self.norm = BatchNorm(features, rngs=rngs)

    def __call__(self, video: jax.Array) -> jax.Array:
        """Map (B, T, H, W, C) to (B, T, H', W', features)."""
        return nnx.relu(self.norm(self.temporal(self.spatial(video))))


class Block(nnx.Module):
    """Bottleneck: 1×1×1 up, depthwise 3×3×3 with squeeze-and-excitation and Swish, 1×1×1 down, and a shortcut.

    Args:
      in_features: channels of the input.
      features: channels of the output.
      strides: strides along T, H, W, taken by the depthwise convolution.
      squeeze: whether to weight the channels by squeeze-and-excitation.
      norm_shortcut: whether to normalise a convolutional shortcut that keeps the width; others are always normalised.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        strides: Triple,
        *,
        squeeze: bool,
        norm_shortcut: bool,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        inner = int(EXPANSION * features)
        self.conv1 = Conv3D(in_features, inner, 1, dtype=dtype, rngs=rngs)
        self.norm1 = BatchNorm(inner, rngs=rngs)
        self.conv2 = Conv3D(inner, inner, 3, strides, 1, feature_group_count=inner, dtype=dtype, rngs=rngs)
        self.norm2 = BatchNorm(inner, rngs=rngs)
        self.squeeze = SqueezeExcitation(inner, squeezed_width(inner), rngs=rngs) if squeeze else None
        self.conv3 = Conv3D(inner, features, 1, dtype=dtype, rngs=rngs)
        self.norm3 = BatchNorm(features, zero_init=True, rngs=rngs)
        widens = in_features != features
        self.shortcut = (
            Shortcut(in_features, features, strides, normed=widens or norm_shortcut, dtype=dtype, rngs=rngs)
            if widens or strides != (1, 1, 1)
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', features)."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y = nnx.silu(y if self.squeeze is None else self.squeeze(y))
        y = self.norm3(self.conv3(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


def squeezed_width(features: int) -> int:
    """Units inside squeeze-and-excitation: a sixteenth, as a multiple of 8 that is at most 10 % too small."""
    wanted = features / 16
    width = max(8, int(wanted + 4) // 8 * 8)
    return width + 8 if width < 0.9 * wanted else width


class X3D(VideoNetwork):
    """X3D network.

    Args:
      num_classes: K, number of classes.
      in_channels: C, channels of the video.
      depth_factor: factor of the number of blocks, which is rounded up in each stage.
      num_frames: T, frames of the clips for which the network is made.
      size: height and width for which the network is made, pixels. The last map is averaged over windows of its size
        for such a clip; a larger clip has several, whose probabilities are averaged (`vidjax.models.heads.Dense`).
      widths: channels between the blocks of each stage; the first is also the stem's.
      depths: blocks of each stage, before the factor.
      out_features: D, width of the classifier's input.
      norm_every_shortcut: whether to normalise the first shortcut too, as SlowFast and mmaction2 do, not pytorchvideo.
      dropout: probability of dropping a feature before the classifier, in training mode.
      remat: rematerialisation policy of each block, one of `REMAT` except "attention", see `nn/remat.py`.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        depth_factor: float,
        num_frames: int,
        size: int,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] = DEPTHS,
        out_features: int = FEATURES,
        norm_every_shortcut: bool = False,
        dropout: float = 0.5,
        remat: str = "",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.channels = in_channels
        self.stem = Stem(in_channels, widths[0], dtype=dtype, rngs=rngs)
        self.stages = nnx.List()
        features = widths[0]
        for width, depth in zip(widths, depths, strict=True):
            blocks = nnx.List()
            for index in range(math.ceil(depth_factor * depth)):
                block = Block(
                    features,
                    width,
                    (1, 2, 2) if index == 0 else (1, 1, 1),
                    squeeze=index % 2 == 0,
                    norm_shortcut=norm_every_shortcut,
                    dtype=dtype,
                    rngs=rngs,
                )
                blocks.append(block)
                features = width
            self.stages.append(blocks)
        inner = int(EXPANSION * features)
        self.conv5 = Conv3D(features, inner, 1, dtype=dtype, rngs=rngs)
        self.norm5 = BatchNorm(inner, rngs=rngs)
        self.lin5 = Conv3D(inner, out_features, 1, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = Dense(out_features, num_classes, kernel_init=whole_normal_001, rngs=rngs)
        maps = {4 * 2**stage: width for stage, width in enumerate(widths)}
        self.widths = Widths.of_maps(maps | {max(maps): inner}, out_features, windows=True)
        self.window = (num_frames, -(-size // STRIDE), -(-size // STRIDE))
        self.remat = check_remat(remat, attention=False)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None, between: Between = unchanged) -> Features:
        """Encode normalised clips (B, T, H, W, C) as features.

        The last map, whose places are the tokens, is that of `conv5`; windows are (B, T', H', W', D), one for each
        position, pooled and projected.

        Args:
          video: the clips.
          rngs: not used.
          between: change of each stage's map.
        """
        del rngs  # nothing random comes before the classifier
        x, run, maps = self.stem(video), keeping(self.remat), {}
        for stage, blocks in enumerate(self.stages):
            for block in blocks:
                x = run(block, x)
            maps[4 * 2**stage] = x = between(4 * 2**stage, x)
        maps[max(maps)] = x = nnx.relu(self.norm5(self.conv5(x)))
        windows = nnx.relu(self.lin5(cuboid_means(x, self.window)))
        return Features.of_maps(maps, windows.mean(axis=(1, 2, 3), dtype=jnp.float32), windows)


def _variant(
    letter: str, num_frames: int, stride: int, size: int, resize: int, depth_factor: float, published: str
) -> Variant:
    spec = Spec.of_video(
        name=f"x3d_{letter}",
        num_frames=num_frames,
        stride=stride,
        size=size,
        resize=(resize,),
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
        num_classes=400,
        paper="https://arxiv.org/abs/2004.04730",
        sources=("pytorchvideo", "slowfast", "mmaction2"),
        published=f"K400 {published}, 10×3 views of {resize}² (pytorchvideo)",
    )
    return Variant(X3D, spec, {"depth_factor": depth_factor, "num_frames": num_frames, "size": size})


VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant("xs", 4, 12, 160, 182, 2.2, "69.12 / 88.63"),
        _variant("s", 13, 6, 160, 182, 2.2, "73.33 / 91.27"),
        _variant("m", 16, 5, 224, 256, 2.2, "75.94 / 92.72"),
        _variant("l", 16, 5, 312, 356, 5.0, "77.44 / 93.31"),
    )
} | {
    "x3d_tiny": Variant(
        X3D,
        tiny_spec("x3d_tiny", "https://arxiv.org/abs/2004.04730"),
        {
            "widths": (16, 24, 48, 96), "depths": (1, 1, 2, 1), "depth_factor": 1.0, "num_frames": 8, "size": 64,
            "out_features": 128, "dropout": 0.0,
        },
    ),
}  # fmt: skip
