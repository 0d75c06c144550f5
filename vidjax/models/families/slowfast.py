"""SlowFast networks: a wide pathway over few frames, and a narrow one over all of them.

Both are bottleneck ResNets (`vidjax.models.families.slow`). The Slow pathway takes one frame in α; the Fast one takes
all, never strides time and has 1/β of the channels. Before every stage, a convolution strided by α in time passes
Fast's features to Slow, which concatenates them with its own. The classifier reads the means of both, side by side.

Paper: Feichtenhofer et al., SlowFast Networks for Video Recognition (1812.03982). Reference code:
facebookresearch/SlowFast `models/video_model_builder.py`; pytorchvideo `models/slowfast.py`; mmaction2
`models/backbones/resnet3d_slowfast.py` for the names that end in `_mm`.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.errors import UserError
from vidjax.models.arguments import by_field
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.families.resnet import DEPTHS, ConvKind
from vidjax.models.families.slow import ALL, MM, STRIDES, NonLocalBlocks, Pathway, variant
from vidjax.models.heads import Dense
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.conv import Conv3D
from vidjax.nn.grids import Triple
from vidjax.nn.init import normal_001
from vidjax.nn.maps import window_means
from vidjax.nn.norm import BatchNorm
from vidjax.nn.packed import columns_for, pack, packed_maps, unpack
from vidjax.nn.remat import ConvExecution

SLOW_FRAMES = ("spread", "every")


class ClipLengthError(UserError):
    """Error: α does not divide the number of frames of a clip."""


def slow_frames(num_frames: int, alpha: int, rule: str = "spread") -> np.ndarray:
    """Indices of the clip's frames that the Slow pathway takes, (T / α,).

    Args:
      num_frames: T, frames of the clip.
      alpha: α, frames of the clip per frame of the Slow pathway.
      rule: choice of frames. "spread" (the SlowFast repository, pytorchvideo): evenly from the first to the last one,
        rounded down, so 0 4 8 13 17 22 26 31 of 32 with α = 4; "every" (mmaction2): every α-th from the first one.

    Raises:
      ClipLengthError: if α does not divide T, so that the two pathways would not match.
      ValueError: for an unknown rule.
    """
    if rule not in SLOW_FRAMES:
        raise ValueError(f"slow_frames = {rule!r}: must be one of {', '.join(SLOW_FRAMES)}")
    if num_frames % alpha or not num_frames:
        raise ClipLengthError(
            f"a clip of {num_frames} frames: the Slow pathway takes one in {alpha}, so their number must be a multiple "
            f"of {alpha}. Set data.clip.num_frames."
        )
    count = num_frames // alpha
    if rule == "every":
        return np.arange(count) * alpha
    return np.arange(count) * (num_frames - 1) // max(count - 1, 1)


class Lateral(nnx.Module):
    """Lateral connection from Fast to Slow: a convolution over time with stride α, norm and ReLU.

    Args:
      in_features: channels of the Fast pathway.
      out_features: channels passed to the Slow pathway.
      kernel: extent in time, odd.
      alpha: α, stride in time.
      normed: whether to have the norm and the ReLU; mmaction2 has neither.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel: int,
        alpha: int,
        normed: bool,
        *,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        size, strides, padding = (kernel, 1, 1), (alpha, 1, 1), (kernel // 2, 0, 0)
        self.conv = Conv3D(in_features, out_features, size, strides, padding, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(out_features, rngs=rngs) if normed else None
        self.features = out_features

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T / α, H, W, out)."""
        x = self.conv(x)
        return x if self.norm is None else nnx.relu(self.norm(x))


@dataclass(frozen=True)
class PathwayPair:
    """Sizes of the two pathways.

    Attributes:
      depths: bottlenecks of each stage, of both pathways.
      fast_depths: bottlenecks of each stage of the Fast pathway; None: `depths`.
      alpha: α, frames of Fast for each one of Slow.
      fast_stride: frames of the clip for each one of Fast.
      beta: channels of Slow for each one of Fast, 1/β in the paper.
      width: channels of Slow's stem, see `PathwayShape`.
      slow_kernels: Slow's `temporal_kernels`, see `PathwayShape`.
      fast_kernels: Fast's `temporal_kernels`.
      strides: strides of each stage's first bottleneck, of both pathways.
      last_conv: kind of the middle convolutions of the last stage, see `PathwayShape`.
      slow_frames: choice of Slow's frames: "spread" or "every", see `slow_frames`.
      fast_frames: what stands for Fast's α frames beside each of Slow's in maps and tokens: their "mean" or "max".

    Raises:
      ValueError: for an unknown `slow_frames` or `fast_frames`.
    """

    depths: Sequence[int]
    fast_depths: Sequence[int] | None = None
    alpha: int = 4
    fast_stride: int = 1
    beta: int = 8
    width: int = 64
    slow_kernels: Sequence[Sequence[int]] = ((1,), (1,), (3,), (3,))
    fast_kernels: Sequence[Sequence[int]] = ((3,), (3,), (3,), (3,))
    strides: Sequence[Triple] = STRIDES
    last_conv: ConvKind | None = None
    slow_frames: str = "spread"
    fast_frames: str = "mean"

    def __post_init__(self) -> None:
        if self.fast_frames not in ("mean", "max"):
            raise ValueError(f"fast_frames = {self.fast_frames!r}: must be 'mean' or 'max'")
        if self.slow_frames not in SLOW_FRAMES:
            raise ValueError(f"slow_frames = {self.slow_frames!r}: must be one of {', '.join(SLOW_FRAMES)}")

    @property
    def fast_width(self) -> int:
        """Channels of Fast's stem."""
        return self.width // self.beta

    def fast_channels(self) -> list[int]:
        """Channels of Fast before each stage: its stem's, then those of the stage before."""
        return [self.fast_width, *(4 * self.fast_width * 2**stage for stage in range(len(self.depths) - 1))]


@dataclass(frozen=True)
class LateralShape:
    """Sizes of the lateral convolutions.

    Attributes:
      lateral_kernel: extent in time.
      lateral_ratio: output channels for each channel of Fast.
      lateral_norm: whether they have a norm and a ReLU.
    """

    lateral_kernel: int = 5
    lateral_ratio: int = 2
    lateral_norm: bool = True


class SlowFast(VideoNetwork):
    """SlowFast network. It takes one clip, usually the Fast pathway's, and chooses the Slow pathway's frames itself.

    Args:
      num_classes: K, number of classes.
      pathways: sizes of the pathways, passed as the fields of `PathwayPair`.
      lateral: sizes of the lateral convolutions, passed as the fields of `LateralShape`.
      nonlocals: non-local blocks of the Slow pathway, passed as the fields of `NonLocalBlocks`.
      window: height and width of the windows of the last maps that are classified, see `vidjax.models.heads.Dense`;
        0: the whole maps.
      in_channels: C, channels of the video.
      dropout: probability of dropping a feature before the classifier, in training mode.
      zero_init: whether to start every residual branch at zero.
      execution: options `remat` and `dtype`, see `vidjax.nn.remat.ConvExecution`.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: for an unknown `slow_frames` or `fast_frames`.
    """

    @by_field
    def __init__(
        self,
        num_classes: int,
        *,
        pathways: PathwayPair,
        lateral: LateralShape,
        nonlocals: NonLocalBlocks,
        window: int = 7,
        in_channels: int = 3,
        dropout: float = 0.5,
        zero_init: bool = True,
        execution: ConvExecution,
        rngs: nnx.Rngs,
    ):
        alpha, channels = pathways.alpha, pathways.fast_channels()
        given = tuple(lateral.lateral_ratio * c for c in channels)
        shared = {
            "in_channels": in_channels, "zero_init": zero_init, "strides": pathways.strides,
            "last_conv": pathways.last_conv, "rngs": rngs, **dataclasses.asdict(execution),
        }  # fmt: skip
        self.slow = Pathway(
            depths=pathways.depths,
            temporal_kernels=pathways.slow_kernels,
            width=pathways.width,
            extra_features=given,
            nonlocal_blocks=nonlocals.nonlocal_blocks,
            nonlocal_options=nonlocals.nonlocal_options,
            **shared,
        )
        self.fast = Pathway(
            depths=pathways.fast_depths or pathways.depths,
            temporal_kernels=pathways.fast_kernels,
            width=pathways.fast_width,
            stem_kernel=(5, 7, 7),
            **shared,
        )
        self.laterals = nnx.List(
            Lateral(c, extra, lateral.lateral_kernel, alpha, lateral.lateral_norm, dtype=execution.dtype, rngs=rngs)
            for c, extra in zip(channels, given, strict=True)
        )
        self.dropout = nnx.Dropout(dropout)
        features = self.slow.out_features + self.fast.out_features
        self.head = Dense(features, num_classes, kernel_init=normal_001, rngs=rngs)
        maps = zip(self.slow.map_widths, self.fast.map_widths, strict=True)
        self.widths = Widths.of_maps({stride: slow + fast for (stride, slow), (_, fast) in maps}, windows=True)
        self.channels = in_channels
        self.strides = (alpha * pathways.fast_stride, pathways.fast_stride)
        self.slow_frames = pathways.slow_frames
        self.fast_frames = pathways.fast_frames
        self.window = window

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised clips (B, T, H, W, C) as features, Slow's then Fast's; windows are (B, 1, H', W', D).

        In maps and tokens, each of Slow's frames is concatenated with the mean, or maximum, of Fast's α frames.

        Raises:
          ClipLengthError: if α does not divide T.
        """
        del rngs  # nothing random comes before the classifier
        maps, windows = self.seen(video)
        return Features.of_maps(maps, windows.mean(axis=(1, 2, 3)), windows)

    def seen(self, video: jax.Array, added: Sequence[jax.Array] = ()) -> tuple[dict[int, jax.Array], jax.Array]:
        """Run both pathways: maps by stride, and windows (B, 1, H', W', D).

        Args:
          video: normalised clips (B, T, H, W, C).
          added: for each stage, an array to add to the input of Slow's; empty: nothing.

        Raises:
          ClipLengthError: if α does not divide T.
        """
        slow, fast = (
            video if stride == 1 else video[:, slow_frames(video.shape[1], stride, self.slow_frames)]
            for stride in self.strides
        )
        slow, fast, maps = self.slow.stem(slow), self.fast.stem(fast), {}
        columns = columns_for(fast.shape[3], fast.shape[4])
        fast = pack(fast, columns)
        for index, ((stride, _), lateral) in enumerate(zip(self.slow.map_widths, self.laterals, strict=True)):
            with packed_maps():
                given, fast = lateral(fast), self.fast.stage(index, fast)
            slow = jnp.concatenate([slow, unpack(given, lateral.features)], axis=-1)
            slow = slow + added[index] if added else slow
            slow = self.slow.stage(index, slow)
            maps[stride] = self._side_by_side(slow, unpack(fast, self.fast.map_widths[index][1]))
        fast = unpack(fast, self.fast.out_features)
        return maps, jnp.concatenate([window_means(x, self.window) for x in (slow, fast)], axis=-1)

    def _side_by_side(self, slow: jax.Array, fast: jax.Array) -> jax.Array:
        """Concatenate both pathways' maps: (B, T, H, W, C) and (B, α·T, H, W, C') → (B, T, H, W, C + C')."""
        fast = fast.reshape(*slow.shape[:2], -1, *fast.shape[2:])
        fast = fast.max(axis=2) if self.fast_frames == "max" else fast.mean(axis=2, dtype=jnp.float32)
        return jnp.concatenate([slow, fast.astype(slow.dtype)], axis=-1)


R50_4X16 = {"depths": DEPTHS[50], "alpha": 8, "lateral_kernel": 5}
R50_8X8 = {"depths": DEPTHS[50], "alpha": 4, "lateral_kernel": 7}
R101_8X8 = {"depths": DEPTHS[101], "alpha": 4, "lateral_kernel": 5}
# "R101_50_50": the third stage has as many kernels that span frames as that of a ResNet-50.
SIX_OF_23 = (3,) * 6 + (1,) * 17
R101_16X8 = R101_8X8 | {
    "slow_kernels": ((1,), (1,), SIX_OF_23, (3,)),
    "fast_kernels": ((3,), (3,), SIX_OF_23, (3,)),
}
# A Slow pathway of 101 layers, a Fast one of 50.
R101_R50_4X16 = R50_4X16 | {"depths": DEPTHS[101], "fast_depths": DEPTHS[50]}
MMACTION2 = {"lateral_norm": False, "slow_frames": "every", "window": 0}


# name: arguments, T, sources, published accuracy
_TABLE = {
    "slowfast_r50_4x16": (R50_4X16, 32, ALL, "75.34 / 91.89"),
    "slowfast_r50_8x8": (R50_8X8, 32, ALL, "76.94 / 92.69"),
    "slowfast_r101_8x8": (R101_8X8, 32, ALL, "77.90 / 93.27"),
    "slowfast_r101_16x8": (R101_16X8, 64, ALL, "78.70 / 93.61"),
    "slowfast_r50_4x16_mm": (R50_4X16 | MMACTION2, 32, MM, "75.55 / 92.35"),
    "slowfast_r50_8x8_mm": (R50_8X8 | MMACTION2, 32, MM, "76.80 / 92.99"),
    "slowfast_r101_8x8_mm": (R101_8X8 | MMACTION2 | {"lateral_kernel": 7}, 32, MM, "78.65 / 93.88"),
    "slowfast_r101_r50_4x16_mm": (R101_R50_4X16 | MMACTION2, 32, MM, "77.03 / 92.99"),
}
# For experiments on a CPU. β = 4 leaves the Fast pathway 8 channels; β = 8 would leave 4.
TINY = {
    "depths": (1, 1, 1), "alpha": 4, "beta": 4, "width": 32, "slow_kernels": ((1,), (1,), (3,)),
    "fast_kernels": ((3,),) * 3, "window": 0, "dropout": 0.0,
}  # fmt: skip
VARIANTS = {
    name: variant(
        SlowFast, name, kwargs, frames=(num_frames, 2), paper="1812.03982", sources=sources, published=published
    )
    for name, (kwargs, num_frames, sources, published) in _TABLE.items()
} | {
    "slowfast_tiny": Variant(SlowFast, tiny_spec("slowfast_tiny", "https://arxiv.org/abs/1812.03982"), TINY),
}
