"""EfficientNet over frames and, inflated, over space and time: inverted residuals of depthwise convolutions.

One small network scaled in width, depth and size of the picture (B0 to B7), and its form for mobile devices (Lite0 to
Lite4), which has no squeeze-and-excitation, ReLU6 instead of Swish, and a stem and last layer of the same width in all
sizes. The frame-wise networks on it are in `frame_networks.py`, `shift.py` and `recurrent.py`; here it is inflated as
I3D inflates Inception (1705.07750): the first convolution and the depthwise ones span three frames, and time is never
strided. Border frames are repeated, so that a still clip gives exactly the image network's answer.

Papers: Tan & Le, EfficientNet (1905.11946); Sandler et al., MobileNetV2 (1801.04381), for the blocks. Reference code:
lukemelas/EfficientNet-PyTorch, whose form of TensorFlow's padding and epsilon is the default here; timm
`models/efficientnet.py`; torchvision `models/efficientnet.py`, which pads half a kernel on both sides.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from flax import nnx

from vidjax.config import Spec
from vidjax.models.families.resnet import Activation, ResNet, Stage, Stem
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.conv import Conv3D, Padding
from vidjax.nn.grids import Triple
from vidjax.nn.init import scaled_normal
from vidjax.nn.norm import BatchNorm
from vidjax.nn.squeeze import SqueezeExcitation

PADDINGS = ("same", "half")  # TensorFlow's, which pads more behind than before; half a kernel on both sides


@dataclass(frozen=True)
class MobileStage:
    """Stage of B0: number of blocks, output channels, stride, size of the depthwise kernel, factor of the width."""

    depth: int
    features: int
    stride: int
    kernel: int
    expand: int


STAGES = (
    MobileStage(1, 16, 1, 3, 1),
    MobileStage(2, 24, 2, 3, 6),
    MobileStage(2, 40, 2, 5, 6),
    MobileStage(3, 80, 2, 3, 6),
    MobileStage(3, 112, 1, 5, 6),
    MobileStage(4, 192, 2, 5, 6),
    MobileStage(1, 320, 1, 3, 6),
)


@dataclass(frozen=True)
class Scale:
    """Size of an EfficientNet.

    Attributes:
      width: factor of the channels.
      depth: factor of the number of blocks, which is rounded up.
      size: height and width of the pictures that it was made for, pixels.
      dropout: dropout probability in the training of the image network.
      lite: whether it is the form for mobile devices.
      stages: stages before scaling.
    """

    width: float
    depth: float
    size: int
    dropout: float
    lite: bool = False
    stages: tuple[MobileStage, ...] = STAGES

    def channels(self, count: int) -> int:
        """Scaled number of channels: a multiple of 8 that is at most a tenth too small."""
        wanted = count * self.width
        rounded = max(8, int(wanted + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * wanted else rounded

    def depths(self) -> list[int]:
        """Number of blocks of each stage; the first and last stage of a mobile form keep theirs."""
        last = len(self.stages) - 1
        kept = {0, last} if self.lite else ()
        return [
            stage.depth if index in kept else math.ceil(stage.depth * self.depth)
            for index, stage in enumerate(self.stages)
        ]

    @property
    def stem(self) -> int:
        """Channels of the first layer."""
        return 32 if self.lite else self.channels(32)

    @property
    def last(self) -> int:
        """Channels of the layer behind the stages."""
        return 1280 if self.lite else self.channels(1280)


SCALES = {
    "lite0": Scale(1.0, 1.0, 224, 0.2, lite=True),
    "lite1": Scale(1.0, 1.1, 240, 0.2, lite=True),
    "lite2": Scale(1.1, 1.2, 260, 0.3, lite=True),
    "lite3": Scale(1.2, 1.4, 280, 0.3, lite=True),
    "lite4": Scale(1.4, 1.8, 300, 0.3, lite=True),
    "b0": Scale(1.0, 1.0, 224, 0.2),
    "b1": Scale(1.0, 1.1, 240, 0.2),
    "b2": Scale(1.1, 1.2, 260, 0.3),
    "b3": Scale(1.2, 1.4, 300, 0.3),
    "b4": Scale(1.4, 1.8, 380, 0.4),
    "b5": Scale(1.6, 2.2, 456, 0.4),
    "b6": Scale(1.8, 2.6, 528, 0.5),
    "b7": Scale(2.0, 3.1, 600, 0.5),
}
# For learning and tests: both kinds of layers on small pictures.
TINY_SCALE = Scale(
    0.5, 1.0, 64, 0.0, stages=(MobileStage(1, 16, 1, 3, 1), MobileStage(2, 32, 2, 5, 4), MobileStage(1, 64, 2, 3, 4))
)


@dataclass(frozen=True)
class Layers:
    """Form of the layers, common to all blocks of a network.

    Attributes:
      activation: activation function.
      squeeze: whether blocks have squeeze-and-excitation.
      epsilon: epsilon of the norms.
      padding: padding of convolutions, one of `PADDINGS`.
      frames: extent in time of the first and the depthwise convolutions; 1: every frame by itself.
    """

    activation: Activation
    squeeze: bool
    epsilon: float = 1e-3
    padding: str = "same"
    frames: int = 1

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise ValueError(f"padding = {self.padding!r}: must be one of {', '.join(map(repr, PADDINGS))}")

    def around(self, kernel: int) -> Padding:
        """Padding of a convolution with a kernel of this height and width."""
        return "SAME" if self.padding == "same" else (self.frames // 2, kernel // 2, kernel // 2)


@dataclass(frozen=True)
class DepthwiseKind:
    """Kind of convolution of an `InvertedResidual`: size of its kernel, factor of the width, form of the layers."""

    kernel: int
    expand: int
    layers: Layers


class InvertedResidual(nnx.Module):
    """Inverted residual: 1×1×1 up, depthwise convolution, squeeze-and-excitation, 1×1×1 down, and the input again.

    The input is added only if the block changes neither its shape nor its channels; nothing follows the last norm.

    Args:
      in_features: channels of the input.
      features: channels of the output.
      strides: strides along T, H, W, taken by the depthwise convolution.
      conv: kernel, width and form of the layers.
      zero_init: whether to start the residual branch at zero.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.

    Attributes:
      shifts: whether a temporal shift moves channels of its branch's input, as in TSM's MobileNetV2: only where the
        input is added.
    """

    expansion = 1

    def __init__(
        self,
        in_features: int,
        features: int,
        strides: Triple,
        conv: DepthwiseKind,
        *,
        zero_init: bool = False,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        layers, inner = conv.layers, in_features * conv.expand
        norm = partial(BatchNorm, epsilon=layers.epsilon, rngs=rngs)
        widens = conv.expand > 1
        self.expand = Conv3D(in_features, inner, 1, dtype=dtype, rngs=rngs) if widens else None
        self.norm1 = norm(inner) if widens else None
        self.depthwise = Conv3D(
            inner,
            inner,
            (layers.frames, conv.kernel, conv.kernel),
            strides,
            layers.around(conv.kernel),
            feature_group_count=inner,
            padding_mode="replicate_time" if layers.frames > 1 else "zeros",
            kernel_init=scaled_normal(math.sqrt(2 / (layers.frames * conv.kernel**2))),
            dtype=dtype,
            rngs=rngs,
        )
        self.norm2 = norm(inner)
        narrow = {"activation": layers.activation, "each_frame": layers.frames == 1, "rngs": rngs}
        self.squeeze = SqueezeExcitation(inner, max(1, in_features // 4), **narrow) if layers.squeeze else None
        self.project = Conv3D(inner, features, 1, dtype=dtype, rngs=rngs)
        self.norm3 = norm(features, zero_init=zero_init)
        self.activation = layers.activation
        self.shifts = in_features == features and strides == (1, 1, 1)

    def __call__(self, x: jax.Array, shifted: jax.Array | None = None) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', features); `shifted`: input of the branch instead of `x`."""
        y = x if shifted is None else shifted
        if self.expand is not None and self.norm1 is not None:
            y = self.activation(self.norm1(self.expand(y)))
        y = self.activation(self.norm2(self.depthwise(y)))
        y = y if self.squeeze is None else self.squeeze(y)
        y = self.norm3(self.project(y))
        return x + y if self.shifts else y


class LastLayer(nnx.Module):
    """Layer behind the stages: 1×1×1 convolution, norm, activation.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      layers: form of the layers.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(self, in_features: int, out_features: int, layers: Layers, *, dtype: Any = None, rngs: nnx.Rngs):
        self.conv = Conv3D(in_features, out_features, 1, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(out_features, epsilon=layers.epsilon, rngs=rngs)
        self.activation, self.out_features = layers.activation, out_features

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T, H, W, out)."""
        return self.activation(self.norm(self.conv(x)))


def efficientnet(
    scale: str,
    *,
    frames: int = 1,
    padding: str = "same",
    epsilon: float = 1e-3,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
) -> dict[str, Any]:
    """Arguments of `ResNet` for an EfficientNet: stem, stages, kind of block, last layer.

    Args:
      scale: size of the network, a name in `SCALES`, or "tiny".
      frames: extent in time of the first and the depthwise convolutions, odd.
      padding: padding of convolutions, one of `PADDINGS`.
      epsilon: epsilon of the norms.
      in_channels: C, channels of the video.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: for an unknown padding.
    """
    size = TINY_SCALE if scale == "tiny" else SCALES[scale]
    layers = Layers(nnx.relu6 if size.lite else nnx.silu, not size.lite, epsilon, padding, frames)
    stem = Stem(
        size.stem,
        (frames, 3, 3),
        in_channels=in_channels,
        activation=layers.activation,
        padding=layers.around(3),
        padding_mode="replicate_time" if frames > 1 else "zeros",
        epsilon=epsilon,
        dtype=dtype,
        rngs=rngs,
    )
    stages = [
        Stage(
            depth,
            size.channels(stage.features),
            (1, stage.stride, stage.stride),
            DepthwiseKind(stage.kernel, stage.expand, layers),
        )
        for stage, depth in zip(size.stages, size.depths(), strict=True)
    ]
    return {
        "stem": stem,
        "stem_features": size.stem,
        "stages": stages,
        "block": InvertedResidual,
        "last": lambda features: LastLayer(features, size.last, layers, dtype=dtype, rngs=rngs),
        "conventions": {"padding": padding, "epsilon": epsilon},
        "dtype": dtype,
        "rngs": rngs,
    }


def inflated(
    num_classes: int,
    *,
    scale: str,
    frames: int = 3,
    encoder_options: Mapping[str, Any] | None = None,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> ResNet:
    """Build an EfficientNet over space and time. Further arguments are those of `ResNet`.

    Args:
      num_classes: K, number of classes.
      scale: size of the network, a name in `SCALES`, or "tiny".
      frames: extent in time of the first and the depthwise convolutions, odd.
      encoder_options: `padding` and `epsilon` of `efficientnet`.
      in_channels: C, channels of the video.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: for an unknown padding.
    """
    options = dict(encoder_options or {})
    network = efficientnet(scale, frames=frames, **options, in_channels=in_channels, dtype=dtype, rngs=rngs)
    return ResNet(num_classes, **network, **kwargs)


# Scaled to -1…1 as the mobile forms were trained, (x - 127) / 128; ImageNet's statistics for the others.
_MOBILE = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}


def efficientnet_spec(name: str, scale: str, paper: str, **changes: Any) -> Spec:
    """Specification of a network on an EfficientNet: clips at the size and scaling that its image network has."""
    size = SCALES[scale]
    settings: Mapping[str, Any] = {
        "num_frames": 8,
        "stride": 8,
        "size": size.size,
        "resize": (round(size.size * 256 / 224),),
        "sources": ("efficientnet", "timm_tf", "timm", *(() if size.lite else ("torchvision2d",))),
        **(_MOBILE if size.lite else {}),
    }
    return Spec.of_video(name=name, paper=paper, **{**settings, **changes})


_PAPER = "https://arxiv.org/abs/1905.11946"

VARIANTS = {
    **{
        f"i3d_effnet_{scale}": Variant(
            inflated, efficientnet_spec(f"i3d_effnet_{scale}", scale, _PAPER), {"scale": scale, "dropout": 0.2}
        )
        for scale in ("lite0", "lite1", "lite2", "b0")
    },
    "i3d_effnet_tiny": Variant(inflated, tiny_spec("i3d_effnet_tiny", _PAPER), {"scale": "tiny"}),
}
