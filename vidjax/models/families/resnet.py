"""Residual networks over space and time: the ResNet from which several families are built.

Papers: He et al., Deep Residual Learning (1512.03385); Tran et al., A Closer Look at Spatiotemporal Convolutions
(1711.11248). Reference code: torchvision `models/resnet.py` (v1.5: a bottleneck strides in its 3×3) and
`models/video/resnet.py`. Networks differ in the kind of their 3×3 convolutions: with kernels of temporal extent 1 it
is a 2D ResNet over single frames.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.models.base import Between, Features, Head, VideoNetwork, Widths, unchanged
from vidjax.nn.conv import Conv3D, Padding
from vidjax.nn.dilated import DilatedConv3D
from vidjax.nn.factorised import Conv2Plus1D, mid_width
from vidjax.nn.grids import Triple
from vidjax.nn.init import normal_001
from vidjax.nn.norm import BatchNorm
from vidjax.nn.pooling import ClipPooling, grid_mean, max_pool3d
from vidjax.nn.pooling import temporal_pooling as make_temporal_pooling
from vidjax.nn.remat import check_remat, keeping

# Blocks of the four stages, by the number of layers.
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

# A kind of 3×3 convolution: `(in_features, out_features, strides, block_features, dtype=…, rngs=…)` builds the layer;
# `block_features` are the input channels of its block.
ConvKind = Callable[..., nnx.Module]
# A kind of block: `(in_features, features, strides, conv, zero_init=…, dtype=…, rngs=…)` builds one with
# `expansion · features` output channels.
BlockKind = Any
Activation = Callable[[jax.Array], jax.Array]


def frame_conv(in_features: int, out_features: int, strides: Triple, block_features: int, **kwargs: Any) -> Conv3D:
    """Make a 1×3×3 convolution: every frame by itself."""
    del block_features
    return Conv3D(in_features, out_features, (1, 3, 3), strides, (0, 1, 1), **kwargs)


def dilated_frame_conv(
    in_features: int, out_features: int, strides: Triple, block_features: int, **kwargs: Any
) -> Conv3D:
    """Make a 1×3×3 convolution of every second row and column of each frame.

    Raises:
      ValueError: for strides, which a dilation stands in for.
    """
    del block_features
    if strides != (1, 1, 1):
        raise ValueError(f"strides = {strides}: a dilated convolution has none")
    return DilatedConv3D(in_features, out_features, (1, 3, 3), 2, **kwargs)


def joint_conv(in_features: int, out_features: int, strides: Triple, block_features: int, **kwargs: Any) -> Conv3D:
    """Make a 3×3×3 convolution: space and time at once."""
    del block_features
    return Conv3D(in_features, out_features, (3, 3, 3), strides, (1, 1, 1), **kwargs)


def factorised_conv(
    in_features: int, out_features: int, strides: Triple, block_features: int, **kwargs: Any
) -> Conv2Plus1D:
    """Make a 1×3×3 then 3×1×1 convolution, with as many parameters as 3×3×3 at the block's start (1711.11248, 3.5)."""
    mid_features = mid_width(block_features, out_features)
    return Conv2Plus1D(in_features, out_features, strides=strides, mid_features=mid_features, **kwargs)


class BasicBlock(nnx.Module):
    """Two 3×3 convolutions and a shortcut.

    Args:
      in_features: channels of the input.
      features: width of the block.
      strides: strides along T, H, W, taken by the first convolution.
      conv: kind of the 3×3 convolutions.
      zero_init: whether to start the residual branch at zero.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    expansion = 1
    shifts = True  # whether a temporal shift moves channels of its branch's input
    shortcut: nnx.Module | None

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
        self.norm1 = BatchNorm(features, rngs=rngs)
        self.conv2 = conv(features, features, (1, 1, 1), in_features, dtype=dtype, rngs=rngs)
        self.norm2 = BatchNorm(features, zero_init=zero_init, rngs=rngs)
        self.shortcut = shortcut(in_features, features, strides, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, shifted: jax.Array | None = None) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', features); `shifted`: input of the residual branch instead of `x`."""
        y = nnx.relu(self.norm1(self.conv1(x if shifted is None else shifted)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Bottleneck(nnx.Module):
    """Bottleneck: 1×1 down to `features`, 3×3, 1×1 up to 4 · `features`, and a shortcut.

    Arguments as for `BasicBlock`; `temporal_kernel` is the extent in time of the first convolution, which also strides
    time if `time_first`. A middle convolution with the attribute `activates` has its own norms and activations.
    """

    expansion = 4
    shifts = True

    def __init__(
        self,
        in_features: int,
        features: int,
        strides: Triple,
        conv: ConvKind,
        *,
        temporal_kernel: int = 1,
        time_first: bool = False,
        zero_init: bool = False,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        out_features, (st, *in_space) = features * self.expansion, strides
        first, middle = ((st, 1, 1), (1, *in_space)) if time_first else ((1, 1, 1), strides)
        kernel_size, padding = (temporal_kernel, 1, 1), (temporal_kernel // 2, 0, 0)
        self.conv1 = Conv3D(in_features, features, kernel_size, first, padding, dtype=dtype, rngs=rngs)
        self.norm1 = BatchNorm(features, rngs=rngs)
        self.conv2 = conv(features, features, middle, in_features, dtype=dtype, rngs=rngs)
        self.norm2 = None if getattr(self.conv2, "activates", False) else BatchNorm(features, rngs=rngs)
        self.conv3 = Conv3D(features, out_features, 1, dtype=dtype, rngs=rngs)
        self.norm3 = BatchNorm(out_features, zero_init=zero_init, rngs=rngs)
        self.shortcut = shortcut(in_features, out_features, strides, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, shifted: jax.Array | None = None) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', 4 · features); `shifted`: input of the branch instead of `x`."""
        y = nnx.relu(self.norm1(self.conv1(x if shifted is None else shifted)))
        y = self.conv2(y)
        y = y if self.norm2 is None else nnx.relu(self.norm2(y))
        y = self.norm3(self.conv3(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Shortcut(nnx.Module):
    """Shortcut of a block that changes its input's shape: 1×1×1 convolution and norm.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      strides: strides along T, H, W.
      normed: whether to have the norm.
      epsilon: epsilon of the norm.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        strides: Triple,
        *,
        normed: bool = True,
        epsilon: float = 1e-5,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv3D(in_features, out_features, 1, strides, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(out_features, epsilon=epsilon, rngs=rngs) if normed else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', out)."""
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)


def shortcut(in_features: int, out_features: int, strides: Triple, **kwargs: Any) -> Shortcut | None:
    """Make a `Shortcut` if the block changes the shape of its input, else None: the input itself."""
    changes = in_features != out_features or strides != (1, 1, 1)
    return Shortcut(in_features, out_features, strides, **kwargs) if changes else None


class Stem(nnx.Module):
    """Stem: a convolution (full or factorised), norm, activation, and optionally a 3×3 max-pool of stride 2.

    Args:
      features: channels of the output.
      kernel_size: extents (kt, kh, kw) of the convolution.
      strides: strides along T, H, W.
      mid_features: channels between space and time of a factorised convolution; 0: one convolution.
      max_pool: whether to halve height and width once more.
      pool_strides: strides of the max-pool along T, H, W.
      in_channels: C, channels of the video.
      conv: kind of one convolution, with the arguments of `Conv3D`.
      activation: activation function after the norm.
      padding: padding of one convolution, as for `Conv3D`; None: half of the kernel on each side.
      padding_mode: values of its padding, as for `Conv3D`.
      epsilon: epsilon of the norm.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        features: int,
        kernel_size: Triple,
        strides: Triple = (1, 2, 2),
        *,
        mid_features: int = 0,
        max_pool: bool = False,
        pool_strides: Triple = (1, 2, 2),
        in_channels: int = 3,
        conv: Callable[..., nnx.Module] = Conv3D,
        activation: Activation = nnx.relu,
        padding: Padding | None = None,
        padding_mode: str = "zeros",
        epsilon: float = 1e-5,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        if mid_features:
            self.conv = Conv2Plus1D(
                in_channels, features, kernel_size, strides, mid_features=mid_features, dtype=dtype, rngs=rngs
            )
        else:
            padding = tuple(k // 2 for k in kernel_size) if padding is None else padding
            self.conv = conv(
                in_channels, features, kernel_size, strides, padding, padding_mode=padding_mode, dtype=dtype, rngs=rngs
            )
        self.norm = BatchNorm(features, epsilon=epsilon, rngs=rngs)
        self.activation = activation
        self.in_channels = in_channels
        self.stride = strides[2] * (pool_strides[2] if max_pool else 1)  # of height and width, in pixels
        self.max_pool = max_pool
        self.pool_strides = pool_strides

    def __call__(self, video: jax.Array) -> jax.Array:
        """Map (B, T, H, W, C) to (B, T', H', W', features)."""
        x = self.activation(self.norm(self.conv(video)))
        return max_pool3d(x, (1, 3, 3), self.pool_strides, (0, 1, 1)) if self.max_pool else x


@dataclass(frozen=True)
class Stage:
    """Run of blocks of one width.

    Attributes:
      depth: number of blocks.
      features: width of the blocks.
      strides: strides of the first block along T, H, W.
      conv: kind of the blocks' convolution over space, in the form that the kind of block takes.
    """

    depth: int
    features: int
    strides: Triple
    conv: Any


class ResNet(VideoNetwork):
    """Residual network over clips.

    Attributes:
      head_type: class of the classifier; a `Head` reads the frames' vectors one by one, before any pooling.

    Args:
      num_classes: K, number of classes.
      stem: layers before the stages.
      stem_features: output channels of the stem.
      stages: stages of blocks.
      block: kind of block, such as `BasicBlock` or `Bottleneck`.
      last: function that makes a layer behind the stages from the number of channels there; None: no layer. Its
        attribute `out_features` is the number of its output channels.
      temporal_pooling: pooling of the frames' vectors: a name accepted by `vidjax.nn.pooling.temporal_pooling`, or a
        function `(features, rngs=rngs)` that returns a module of the same kind.
      dropout: probability of dropping a feature before the classifier, in training mode.
      grid: cells along height and width; their means form a frame's vector. 1: one mean over the whole map.
      zero_init: whether to start every residual branch at zero.
      conventions: choices in which sources of weights differ although their arrays have the same shapes, see
        `VideoNetwork`.
      remat: rematerialisation policy of each block, one of `REMAT` except "attention", see `nn/remat.py`.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: for an unknown `temporal_pooling`.
    """

    head_type: ClassVar[type[nnx.Linear]] = nnx.Linear

    def __init__(
        self,
        num_classes: int,
        *,
        stem: Stem,
        stem_features: int,
        stages: Sequence[Stage],
        block: BlockKind = BasicBlock,
        last: Callable[[int], Any] | None = None,
        temporal_pooling: str | Callable[..., ClipPooling] = "mean",
        dropout: float = 0.0,
        grid: int = 1,
        zero_init: bool = False,
        conventions: Mapping[str, Any] | None = None,
        remat: str = "",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.conventions = tuple((conventions or {}).items())
        self.stem = stem
        self.channels = stem.in_channels
        self.stages = nnx.List()
        features, strides, widths = stem_features, [stem.stride], {}
        for stage in stages:
            blocks = nnx.List()
            for index in range(stage.depth):
                steps = stage.strides if index == 0 else (1, 1, 1)
                blocks.append(
                    block(features, stage.features, steps, stage.conv, zero_init=zero_init, dtype=dtype, rngs=rngs)
                )
                features = stage.features * block.expansion
            self.stages.append(blocks)
            strides.append(strides[-1] * stage.strides[2])
            widths[strides[-1]] = features
        self.strides = tuple(strides[1:])
        self.last = nnx.data(None)
        if last is not None:
            self.last = last(features)
            widths[strides[-1]] = features = self.last.out_features
        self.remat = check_remat(remat, attention=False)
        if isinstance(temporal_pooling, str):
            temporal_pooling = partial(make_temporal_pooling, temporal_pooling)
        self.grid = grid
        self.pooling: ClipPooling = temporal_pooling(features * grid**2, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = self.head_type(self.pooling.out_features, num_classes, kernel_init=normal_001, rngs=rngs)
        self.widths = Widths.of_maps(widths, self.pooling.out_features, windows=self.sees_frames)

    @property
    def sees_frames(self) -> bool:
        """Whether the head reads each frame's vector, not the pooled one."""
        return issubclass(self.head_type, Head)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None, between: Between = unchanged) -> Features:
        """Encode normalised clips (B, T, H, W, C) as features; their tokens are the places of the last stage's map.

        Args:
          video: the clips.
          rngs: random streams; `dropout` is used in training mode.
          between: change of each stage's map.
        """
        maps = self.maps(video, between)
        frames = self._frames(maps)
        pooled = self.pooling(frames, rngs=rngs)
        return Features.of_maps(self.by_stride(maps), pooled, frames if self.sees_frames else None)

    def maps(self, video: jax.Array, between: Between = unchanged) -> list[jax.Array]:
        """Map normalised clips (B, T, H, W, C) to the output of each stage, (B, T', H', W', C'), changed by `between`;
        the last has passed the layer behind the stages."""
        x, run = self.stem(video), keeping(self.remat)
        maps = []
        for stride, blocks in zip(self.strides, self.stages, strict=True):
            for block in blocks:
                x = run(block, x)
            x = between(stride, x)
            maps.append(x)
        return self.finished(maps)

    def finished(self, maps: list[jax.Array]) -> list[jax.Array]:
        """Apply the layer behind the stages, if there is one, to the last of their outputs."""
        return maps if self.last is None else [*maps[:-1], self.last(maps[-1])]

    def by_stride(self, maps: Sequence[jax.Array]) -> dict[int, jax.Array]:
        """Key the stages' maps by their strides in pixels, see `Features`."""
        return dict(zip(self.strides, maps, strict=True))

    def frames(self, video: jax.Array) -> jax.Array:
        """Map normalised clips (B, T, H, W, C) to a float32 vector for each remaining frame, (B, T', grid²·C')."""
        return self._frames(self.maps(video))

    def _frames(self, maps: Sequence[jax.Array]) -> jax.Array:
        return grid_mean(maps[-1].astype(jnp.float32), self.grid)
