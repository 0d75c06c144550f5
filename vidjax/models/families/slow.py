"""C2D, Slow, I3D, non-local and R(2+1)D networks of 50 layers: one pathway of bottlenecks, some spanning frames.

All are a 2D ResNet-50 with some kernels that span frames: none (C2D), those of the last two stages (Slow), every other
one and the first (I3D), the middle of every bottleneck (R(2+1)D). Time is never strided, except by one max-pool.

Papers: Feichtenhofer et al., SlowFast Networks (1812.03982), for Slow; Wang et al., Non-local Neural Networks
(1711.07971), for C2D, I3D and the blocks; Tran et al. (1711.11248) for R(2+1)D. Reference code: pytorchvideo
`models/hub/resnet.py`, `models/hub/r2plus1d.py`; facebookresearch/SlowFast `models/video_model_builder.py`; mmaction2
`models/backbones/resnet3d.py` for the names that end in `_mm`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import FlowFields
from vidjax.models.arguments import by_field
from vidjax.models.base import Between, Features, VideoNetwork, Widths, unchanged
from vidjax.models.families.resnet import DEPTHS, Bottleneck, ConvKind, Stem, frame_conv
from vidjax.models.heads import Dense
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.conv import Conv3D
from vidjax.nn.grids import Triple
from vidjax.nn.init import normal_001
from vidjax.nn.maps import window_means
from vidjax.nn.nonlocal_ import NonLocal
from vidjax.nn.norm import BatchNorm
from vidjax.nn.pooling import max_pool3d
from vidjax.nn.remat import ConvExecution, keeping

STRIDES = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 2, 2))


class TemporalFirstConv(nnx.Module):
    """Factorised 3×3×3 convolution of `r2plus1d_r50`: 3×1×1, norm, ReLU, then 1×3×3, all of one width.

    The order is the reverse of torchvision's R(2+1)D, without its rule for the width between the two.
    """

    def __init__(self, in_features: int, out_features: int, strides: Triple, *, dtype: Any = None, rngs: nnx.Rngs):
        st, sh, sw = strides
        layer = {"dtype": dtype, "rngs": rngs}
        self.temporal = Conv3D(in_features, out_features, (3, 1, 1), (st, 1, 1), (1, 0, 0), **layer)
        self.norm = BatchNorm(out_features, rngs=rngs)
        self.spatial = Conv3D(out_features, out_features, (1, 3, 3), (1, sh, sw), (0, 1, 1), **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', out)."""
        return self.spatial(nnx.relu(self.norm(self.temporal(x))))


def temporal_first_conv(
    in_features: int, out_features: int, strides: Triple, block_features: int, **kwargs: Any
) -> TemporalFirstConv:
    """Make a `TemporalFirstConv`, as a kind of convolution of `vidjax.models.families.resnet`."""
    del block_features
    return TemporalFirstConv(in_features, out_features, strides, **kwargs)


@dataclass(frozen=True)
class PathwayShape:
    """Sizes and strides of a pathway.

    Attributes:
      depths: bottlenecks of each stage.
      temporal_kernels: temporal extents of the bottlenecks' first convolutions in each stage, repeated cyclically.
      width: channels of the stem, and inside the first stage's bottlenecks; each further stage has twice as many.
      stem_kernel: extents (kt, kh, kw) of the first convolution.
      stem_strides: strides of the first convolution along T, H, W.
      pool_strides: strides of the stem's 3×3 max-pool along T, H, W; None: no max-pool.
      strides: strides of each stage's first bottleneck.
      time_first: whether its first convolution, not the middle one, strides time.
      stem_conv: kind of the stem's convolution, with the arguments of `Conv3D`.
      conv: kind of the bottlenecks' middle convolution, or one kind for each stage.
      last_conv: its kind in the last stage; None: `conv`.
      frame_pool: number of frames max-pooled into one after the first stage; 1: no pooling.
    """

    depths: Sequence[int]
    temporal_kernels: Sequence[Sequence[int]]
    width: int = 64
    stem_kernel: Triple = (1, 7, 7)
    stem_strides: Triple = (1, 2, 2)
    pool_strides: Triple | None = (1, 2, 2)
    strides: Sequence[Triple] = STRIDES
    time_first: bool = False
    stem_conv: Callable[..., nnx.Module] = Conv3D
    conv: ConvKind | Sequence[ConvKind] = frame_conv
    last_conv: ConvKind | None = None
    frame_pool: int = 1

    def conv_of(self, stage: int) -> ConvKind:
        """Kind of the middle convolutions of a stage, counted from 0."""
        if stage == len(self.depths) - 1 and self.last_conv is not None:
            return self.last_conv
        return self.conv if callable(self.conv) else self.conv[stage]


@dataclass(frozen=True)
class NonLocalBlocks:
    """Places and options of a pathway's non-local blocks.

    Attributes:
      nonlocal_blocks: indices of each stage's bottlenecks that a non-local block follows.
      nonlocal_options: arguments of `vidjax.nn.nonlocal_.NonLocal`; None: its defaults.
    """

    nonlocal_blocks: Sequence[Sequence[int]] = ((), (), (), ())
    nonlocal_options: Mapping[str, Any] | None = None


class Pathway(nnx.Module):
    """Stem and four stages of bottlenecks.

    Args:
      shape: sizes and strides, passed as the fields of `PathwayShape`.
      nonlocals: non-local blocks, passed as the fields of `NonLocalBlocks`.
      extra_features: input channels of each stage besides those of the one before it.
      in_channels: C, channels of the video.
      zero_init: whether to start every residual branch at zero.
      execution: options `remat` and `dtype`, see `vidjax.nn.remat.ConvExecution`.
      rngs: random streams for the initial weights.
    """

    @by_field
    def __init__(
        self,
        *,
        shape: PathwayShape,
        nonlocals: NonLocalBlocks,
        extra_features: Sequence[int] = (0, 0, 0, 0),
        in_channels: int = 3,
        zero_init: bool = True,
        execution: ConvExecution,
        rngs: nnx.Rngs,
    ):
        width, layer = shape.width, {"dtype": execution.dtype, "rngs": rngs}
        pool: dict[str, Any] = {}
        if shape.pool_strides is not None:
            pool = {"max_pool": True, "pool_strides": shape.pool_strides}
        stem = pool | {"conv": shape.stem_conv, "in_channels": in_channels}
        self.stem = Stem(width, shape.stem_kernel, shape.stem_strides, **stem, **layer)
        self.stages = nnx.List()
        self.nonlocals = nnx.List()
        features, stride, widths = width, self.stem.stride, []
        for stage, depth in enumerate(shape.depths):
            kernels, conv = shape.temporal_kernels[stage], shape.conv_of(stage)
            features += extra_features[stage]
            blocks, behind = nnx.List(), nnx.List()
            for index in range(depth):
                block = Bottleneck(
                    features,
                    width * 2**stage,
                    shape.strides[stage] if index == 0 else (1, 1, 1),
                    conv,
                    temporal_kernel=kernels[index % len(kernels)],
                    time_first=shape.time_first,
                    zero_init=zero_init,
                    **layer,
                )
                features = width * 2**stage * Bottleneck.expansion
                wanted = index in nonlocals.nonlocal_blocks[stage]
                blocks.append(block)
                behind.append(NonLocal(features, **(nonlocals.nonlocal_options or {}), **layer) if wanted else None)
            self.stages.append(blocks)
            self.nonlocals.append(behind)
            stride *= shape.strides[stage][2]
            widths.append((stride, features))
        self.map_widths = tuple(widths)  # stride in pixels and channels of each stage's map
        self.out_features = features
        self.channels = in_channels
        self.frame_pool = shape.frame_pool
        self.remat = execution.remat

    def stage(self, index: int, x: jax.Array) -> jax.Array:
        """Apply the stage of an index (from 0): map (B, T, H, W, in) to (B, T', H', W', out)."""
        run = keeping(self.remat)
        for block, nonlocal_block in zip(self.stages[index], self.nonlocals[index], strict=True):
            x = run(block, x)
            if nonlocal_block is not None:
                x = run(nonlocal_block, x)
        return max_pool3d(x, (self.frame_pool, 1, 1)) if index == 0 and self.frame_pool > 1 else x


class VideoResNet(Pathway, VideoNetwork):
    """Network of one pathway.

    Args:
      num_classes: K, number of classes.
      window: height and width of the windows of the last map that are classified, see `vidjax.models.heads.Dense`;
        0: the whole map.
      nonlocal_mode: mode of any non-local blocks: "softmax" or "dot_product".
      dropout: probability of dropping a feature before the classifier, in training mode.
      **kwargs: further arguments of `Pathway`.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        window: int = 7,
        nonlocal_mode: str = "softmax",
        nonlocal_options: Mapping[str, Any] | None = None,
        dropout: float = 0.5,
        rngs: nnx.Rngs,
        **kwargs: Any,
    ):
        super().__init__(nonlocal_options={"mode": nonlocal_mode, **(nonlocal_options or {})}, rngs=rngs, **kwargs)
        self.dropout = nnx.Dropout(dropout)
        self.head = Dense(self.out_features, num_classes, kernel_init=normal_001, rngs=rngs)
        self.widths = Widths.of_maps(dict(self.map_widths), windows=True)
        self.window = window

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None, between: Between = unchanged) -> Features:
        """Encode normalised clips (B, T, H, W, C) as features; windows are (B, 1, H', W', D).

        Args:
          video: the clips.
          rngs: not used.
          between: change of each stage's map.
        """
        del rngs  # nothing random comes before the classifier
        x, maps = self.stem(video), {}
        for index, (stride, _) in enumerate(self.map_widths):
            maps[stride] = x = between(stride, self.stage(index, x))
        windows = window_means(x, self.window)
        return Features.of_maps(maps, windows.mean(axis=(1, 2, 3)), windows)


C2D = {"depths": DEPTHS[50], "temporal_kernels": ((1,),) * 4}
SLOW = {"depths": DEPTHS[50], "temporal_kernels": ((1,), (1,), (3,), (3,))}
I3D = {
    "depths": DEPTHS[50],
    "temporal_kernels": ((3,), (3, 1), (3, 1), (1, 3)),
    "stem_kernel": (5, 7, 7),
    "frame_pool": 2,
}
R2PLUS1D = {
    "depths": DEPTHS[50],
    "temporal_kernels": ((1,),) * 4,
    "pool_strides": None,
    "strides": ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)),
    "conv": temporal_first_conv,
}
NONLOCAL = {"nonlocal_blocks": ((), (1, 3), (1, 3, 5), ())}
# mmaction2 averages the whole map. Its I3D starts from ImageNet weights, and its residual branches not at zero.
MMACTION2 = {"window": 0}
MMACTION2_I3D = I3D | MMACTION2 | {"stem_strides": (2, 2, 2), "pool_strides": (2, 2, 2), "zero_init": False}
MMACTION2_NONLOCAL = NONLOCAL | {
    "nonlocal_options": {"scaled": False, "pool_first": False, "out_bias": False, "kernel_init": normal_001}
}

# Names of the sources of published accuracies.
ZOOS = {
    "pytorchvideo": "pytorchvideo",
    "slowfast": "SlowFast",
    "mmaction2": "mmaction2",
}


def variant(
    build: Callable[..., VideoNetwork],
    name: str,
    kwargs: Mapping[str, Any],
    *,
    frames: tuple[int, int],
    paper: str,
    sources: tuple[str, ...],
    published: str,
    **content: Any,
) -> Variant:
    """Named network trained on Kinetics-400: `frames` are T and τ, `published` top-1 / top-5 of its first source, and
    `content` further fields of its video."""
    # Kernels of an image network fit all but factorised convolutions.
    images = () if "conv" in kwargs else ("torchvision2d",)
    statistics = {} if sources == ("mmaction2",) else {"mean": (0.45,) * 3, "std": (0.225,) * 3}
    spec = Spec.of_video(
        name=name,
        num_frames=frames[0],
        stride=frames[1],
        size=224,
        resize=(256,),
        num_classes=400,
        paper=f"https://arxiv.org/abs/{paper}",
        sources=(*sources, *images),
        published=f"K400 {published}, 10×3 views of 256² ({ZOOS[sources[0]]})" if published else "",
        **statistics | content,
    )
    return Variant(build, spec, dict(kwargs))


# Small networks for learning and tests.
TINY = {
    "depths": (1, 1, 1),
    "width": 16,
    "pool_strides": None,
    "strides": ((1, 2, 2),) * 3,
    "window": 0,
    "dropout": 0.0,
}
TINY_I3D = TINY | {"temporal_kernels": ((3,), (3,), (1,)), "stem_kernel": (5, 7, 7), "frame_pool": 2}

ALL, REPOSITORY = ("pytorchvideo", "slowfast", "caffe2"), ("slowfast", "caffe2")
HUB, MM = ("pytorchvideo",), ("mmaction2",)
_SLOW, _NONLOCAL, _R2PLUS1D = "1812.03982", "1711.07971", "1711.11248"
_NL_MM = MMACTION2_I3D | MMACTION2_NONLOCAL
_DOT = {"nonlocal_mode": "dot_product"}

# name: arguments, (T, τ), paper, sources, published accuracy
_TABLE = {
    "c2d_r50": (C2D | {"frame_pool": 2}, (8, 8), _NONLOCAL, ("pytorchvideo", "slowfast"), "71.46 / 89.68"),
    "c2d_r50_nopool": (C2D, (8, 8), _NONLOCAL, REPOSITORY, "67.2 / 87.8"),
    "slow_r50": (SLOW, (8, 8), _SLOW, ALL, "74.58 / 91.63"),
    "slow_r50_4x16": (SLOW, (4, 16), _SLOW, ALL, "72.40 / 90.18"),
    "slow_r50_mm": (SLOW | MMACTION2, (8, 8), _SLOW, MM, "75.15 / 92.11"),
    "i3d_r50": (I3D, (8, 8), _NONLOCAL, ALL, "73.27 / 90.70"),
    "i3d_r50_nl": (I3D | NONLOCAL, (8, 8), _NONLOCAL, REPOSITORY, "74.0 / 91.1"),
    "i3d_r50_mm": (MMACTION2_I3D, (32, 2), _NONLOCAL, MM, "73.47 / 91.27"),
    "i3d_r50_nl_mm": (_NL_MM, (32, 2), _NONLOCAL, MM, "74.73 / 91.80"),
    "i3d_r50_nl_dot_mm": (_NL_MM | _DOT, (32, 2), _NONLOCAL, MM, "74.80 / 92.07"),
    "r2plus1d_r50": (R2PLUS1D, (16, 4), _R2PLUS1D, HUB, "76.01 / 92.23"),
}
VARIANTS = {
    name: variant(VideoResNet, name, kwargs, frames=frames, paper=paper, sources=sources, published=published)
    for name, (kwargs, frames, paper, sources, published) in _TABLE.items()
} | {
    name: Variant(VideoResNet, tiny_spec(name, f"https://arxiv.org/abs/{paper}"), kwargs)
    for name, kwargs, paper in (
        ("slow_tiny", TINY | {"temporal_kernels": ((1,), (3,), (3,))}, _SLOW),
        ("i3d_tiny", TINY_I3D, _NONLOCAL),
        ("i3d_nl_tiny", TINY_I3D | {"nonlocal_blocks": ((), (0,), ())}, _NONLOCAL),
    )
}
# mmaction2's network of flow: fields of neighbouring frames, 4 apart; no accuracy is published.
VARIANTS["slow_r50_flow_mm"] = variant(
    VideoResNet, "slow_r50_flow_mm", SLOW | MMACTION2, frames=(16, 4), paper=_SLOW, sources=MM, published="",
    content="flow", flow=FlowFields("tvl1", 1, 20.0, "truncated"), mean=(128 / 255,) * 2, std=(128 / 255,) * 2,
)  # fmt: skip
