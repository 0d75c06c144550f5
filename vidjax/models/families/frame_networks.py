"""2D networks over frames, and simple ways to combine several frames into one prediction.

- frame_pool: every frame by itself, then a pooling of the frames' features. With "mean", "max" (and attention, NetVLAD)
  shuffling a clip does not change the prediction: appearance without motion.
- single_frame: every frame is classified by itself, and the probabilities are averaged.
- tsn: frames from all over the video, averaged (Wang et al., Temporal Segment Networks, 1608.00859).
- late_fusion: the frames' features side by side, in their order, into a small dense network.
- early_fusion: the frames side by side as channels of one picture: only the first layer sees motion. Both fusions are
  from Karpathy et al., Large-scale Video Classification with Convolutional Neural Networks (2014).

The network of a frame, the encoder, is a ResNet (He et al., 1512.03385; reference code: torchvision
`models/resnet.py`, mmaction2 for TSN) or an EfficientNet, see `efficientnet.py`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import FlowFields
from vidjax.models.arguments import settles
from vidjax.models.families.efficientnet import SCALES, efficientnet, efficientnet_spec
from vidjax.models.families.resnet import DEPTHS, BasicBlock, Bottleneck, ResNet, Stage, Stem, frame_conv
from vidjax.models.heads import Dense
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.clips import need_floats
from vidjax.nn.conv import Conv3D, conv3d
from vidjax.nn.grids import Triple
from vidjax.nn.init import kaiming_fan_out

# Kind of block, by the number of layers.
BLOCKS = {18: BasicBlock, 34: BasicBlock, 50: Bottleneck, 101: Bottleneck}


def image_network(layers: int, *, in_channels: int = 3, dtype: Any = None, rngs: nnx.Rngs) -> dict[str, Any]:
    """Arguments of `ResNet` for the image network of 18, 34, 50 or 101 layers: stem, stages and kind of block."""
    stages = [
        Stage(depth, 64 * 2**index, (1, 1, 1) if index == 0 else (1, 2, 2), frame_conv)
        for index, depth in enumerate(DEPTHS[layers])
    ]
    stem = Stem(64, (1, 7, 7), max_pool=True, in_channels=in_channels, dtype=dtype, rngs=rngs)
    return {"stem": stem, "stem_features": 64, "stages": stages, "block": BLOCKS[layers], "dtype": dtype, "rngs": rngs}


def small_network(*, in_channels: int = 3, dtype: Any = None, rngs: nnx.Rngs) -> dict[str, Any]:
    """Arguments of `ResNet` for a small network for learning and tests: `r2plus1d_tiny` without time."""
    stem = Stem(16, (1, 7, 7), in_channels=in_channels, dtype=dtype, rngs=rngs)
    stages = [Stage(1, width, (1, 2, 2), frame_conv) for width in (16, 32, 64)]
    return {"stem": stem, "stem_features": 16, "stages": stages, "dtype": dtype, "rngs": rngs}


# Functions that give the arguments of `ResNet` for an image network.
ENCODERS: dict[str, Callable[..., dict[str, Any]]] = {
    "small": small_network,
    **{f"r{layers}": partial(image_network, layers) for layers in BLOCKS},
    **{f"effnet_{scale}": partial(efficientnet, scale) for scale in (*SCALES, "tiny")},
}


def body(encoder: str, options: Mapping[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
    """Arguments of `ResNet` for the image network of a frame.

    Args:
      encoder: name of the image network, one of `ENCODERS`.
      options: further arguments of the image network: of EfficientNets `padding` and `epsilon`; None: none.
      **kwargs: `in_channels`, `dtype` and `rngs`.

    Raises:
      ValueError: for an unknown encoder.
    """
    if encoder not in ENCODERS:
        raise ValueError(f"encoder = {encoder!r}: must be one of {', '.join(map(repr, ENCODERS))}")
    return ENCODERS[encoder](**(options or {}), **kwargs)


def frame_pool(
    num_classes: int,
    *,
    encoder: str,
    encoder_options: Mapping[str, Any] | None = None,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> ResNet:
    """Build a 2D network over frames. Further arguments are those of `ResNet`, such as `temporal_pooling`.

    Args:
      num_classes: K, number of classes.
      encoder: name of the image network, one of `ENCODERS`.
      encoder_options: further arguments of the image network; of EfficientNets `padding` and `epsilon`.
      in_channels: C, channels of the video.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """
    network = body(encoder, encoder_options, in_channels=in_channels, dtype=dtype, rngs=rngs)
    return ResNet(num_classes, **network, **kwargs)


class SingleFrameResNet(ResNet):
    """2D ResNet that classifies each frame by itself; its logits are the log of the frames' mean probabilities."""

    head_type = Dense


@settles("temporal_pooling")
def single_frame(
    num_classes: int,
    *,
    encoder: str,
    encoder_options: Mapping[str, Any] | None = None,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> ResNet:
    """Build a `SingleFrameResNet`. Arguments are those of `frame_pool`, except `temporal_pooling`."""
    network = body(encoder, encoder_options, in_channels=in_channels, dtype=dtype, rngs=rngs)
    return SingleFrameResNet(num_classes, **network, temporal_pooling="mean", **kwargs)


class Concatenation(nnx.Module):
    """Concatenated frames' vectors, dense layer, LayerNorm and ReLU: `(B, T, D)` → `(B, hidden)`, for one T only.

    Without the norm, which is not in the paper, Adam's first steps move all outputs together, as none of the T · D
    inputs is negative, and may leave them at zero for good.

    Args:
      features: D, width of a frame's vector.
      num_frames: T, frames of a clip.
      hidden: width of the output.
      rngs: random streams for the initial weights.
    """

    def __init__(self, features: int, num_frames: int, hidden: int, *, rngs: nnx.Rngs):
        self.num_frames = num_frames
        self.out_features = hidden
        init = nnx.initializers.variance_scaling(2.0, "fan_in", "normal")
        self.dense = nnx.Linear(num_frames * features, hidden, kernel_init=init, rngs=rngs)
        self.norm = nnx.LayerNorm(hidden, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map (B, T, D) to (B, hidden); frames where `mask` (B, T) is false enter as zeros.

        Raises:
          ValueError: for another T than that of the weights.
        """
        del rngs  # nothing is random
        _check_frames(x.shape[1], self.num_frames, "late_fusion")
        x = x if mask is None else jnp.where(mask.astype(bool)[..., None], x, 0)
        return nnx.relu(self.norm(self.dense(rearrange(x, "b t d -> b (t d)"))))


@settles("temporal_pooling")
def late_fusion(
    num_classes: int,
    *,
    encoder: str,
    num_frames: int,
    encoder_options: Mapping[str, Any] | None = None,
    hidden: int = 512,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> ResNet:
    """Build a 2D network with concatenated features of the frames. Further arguments are those of `ResNet`.

    Args:
      num_classes: K, number of classes.
      encoder: name of the image network, one of `ENCODERS`.
      num_frames: T, frames of every clip.
      encoder_options: further arguments of the image network, see `body`.
      hidden: width of the dense layer before the classifier.
      in_channels: C, channels of the video.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """
    pooling = partial(Concatenation, num_frames=num_frames, hidden=hidden)
    network = body(encoder, encoder_options, in_channels=in_channels, dtype=dtype, rngs=rngs)
    return ResNet(num_classes, **network, temporal_pooling=pooling, **kwargs)


class StackConv(Conv3D):
    """2D convolution over T frames stacked in the channels, (B, T, H, W, I) → (B, 1, H', W', O).

    Its kernel is stored as that of a space-time convolution, (T, kh, kw, I, O), the same function for clips of T
    frames, so that image kernels are inflated and channels added as in other layers.
    """

    def __init__(self, num_frames: int, *args: Any, kernel_size: Triple, **kwargs: Any):
        def kernel_init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            frames, kh, kw, features, out = shape
            kernel = kaiming_fan_out(key, (1, kh, kw, frames * features, out), dtype)
            return rearrange(kernel[0], "kh kw (t i) o -> t kh kw i o", t=frames)

        _, kh, kw = kernel_size
        super().__init__(*args, kernel_size=(num_frames, kh, kw), kernel_init=kernel_init, **kwargs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, I) to (B, 1, H', W', O).

        Raises:
          ValueError: for another T than the kernel's.
          ClipError: for an input that is not floating-point.
        """
        need_floats(x)
        kernel = self.kernel[...]
        _check_frames(x.shape[1], kernel.shape[0], "early_fusion")
        x = x if self.dtype is None else x.astype(self.dtype)
        x = rearrange(x, "b t h w i -> b 1 h w (t i)")
        kernel = rearrange(kernel, "t kh kw i o -> 1 kh kw (t i) o").astype(x.dtype)
        return conv3d(x, kernel, strides=self.strides, padding=self.padding)


def early_fusion(
    num_classes: int,
    *,
    encoder: str,
    num_frames: int,
    encoder_options: Mapping[str, Any] | None = None,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> ResNet:
    """Build a 2D network on one picture of C·T channels. Further arguments are those of `ResNet`.

    Args:
      num_classes: K, number of classes.
      encoder: name of the image network, one of `ENCODERS`.
      num_frames: T, frames of every clip.
      encoder_options: further arguments of the image network, see `body`.
      in_channels: C, channels of the video.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """
    network = body(encoder, encoder_options, in_channels=in_channels, dtype=dtype, rngs=rngs)
    first = network["stem"].conv
    network["stem"].conv = StackConv(
        num_frames,
        in_channels,
        network["stem_features"],
        kernel_size=first.kernel.shape[:3],
        strides=first.strides,
        padding=first.padding,
        dtype=dtype,
        rngs=rngs,
    )
    return ResNet(num_classes, **network, **kwargs)


def _check_frames(given: int, wanted: int, name: str) -> None:
    if given != wanted:
        raise ValueError(
            f"{name} has weights for clips of {wanted} frames, but got {given}: build it with num_frames={given}"
        )


def _image_spec(name: str, **changes: Any) -> Spec:
    """Specification of frame-wise networks: 8 frames at 224², ImageNet's statistics."""
    settings: dict[str, Any] = {
        "num_frames": 8, "stride": 8, "paper": "https://arxiv.org/abs/1608.00859", "sources": ("torchvision2d",)
    } | changes  # fmt: skip
    return Spec.of_video(name=name, **settings)


_KARPATHY = "https://openaccess.thecvf.com/content_cvpr_2014/html/Karpathy_Large-scale_Video_Classification_2014_CVPR_paper.html"
# mmaction2: 8 segments in training, averaged scores of 25 frames × 10 crops in testing.
_TSN = {50: "74.12 / 91.34", 101: "75.89 / 92.07"}


def _tsn(layers: int) -> Variant:
    name = f"tsn_r{layers}"
    published = f"K400 {_TSN[layers]}, 25×10 views, trained on 8 segments (mmaction2)"
    spec = _image_spec(name, sources=("mmaction2", "torchvision2d"), published=published)
    return Variant(frame_pool, spec, {"encoder": f"r{layers}", "dropout": 0.4})


def _tsn_flow(name: str) -> Variant:
    """Two-stream TSN's network of flow, as mmaction2 trains it: 3 segments of 5 fields, tested on 25 × 10 views."""
    zero = (128 / 255,) * 10
    fields = FlowFields("tvl1", 5, 20.0, "truncated")
    spec = _image_spec(
        name, sources=("mmaction2", "torchvision2d"), num_frames=3, content="flow", flow=fields, mean=zero, std=zero
    )
    return Variant(frame_pool, spec, {"encoder": "r50", "dropout": 0.4})


def _effnet(build: Callable[..., ResNet], kind: str, scale: str, paper: str, **settings: Any) -> Variant:
    """Named network of a kind on an EfficientNet; `settings` are further fields of its spec."""
    name = f"{kind}_effnet_{scale}"
    spec = efficientnet_spec(name, scale, paper, **settings)
    return Variant(build, spec, {"encoder": f"effnet_{scale}", "dropout": SCALES[scale].dropout})


def fixed_length(variant: Variant) -> Variant:
    """The variant as one with weights for each frame of a clip."""
    frames = {"num_frames": variant.spec.video.num_frames}
    return dataclasses.replace(variant, kwargs=variant.kwargs | frames, fixed_length=True)


_AVERAGED = "https://arxiv.org/abs/1608.00859"

VARIANTS = {
    **{
        f"frame_pool_r{layers}": Variant(frame_pool, _image_spec(f"frame_pool_r{layers}"), {"encoder": f"r{layers}"})
        for layers in BLOCKS
    },
    "frame_pool_tiny": Variant(
        frame_pool, tiny_spec("frame_pool_tiny", "https://arxiv.org/abs/1608.00859"), {"encoder": "small"}
    ),
    **{f"frame_pool_effnet_{scale}": _effnet(frame_pool, "frame_pool", scale, _AVERAGED) for scale in SCALES},
    "frame_pool_effnet_tiny": Variant(
        frame_pool, tiny_spec("frame_pool_effnet_tiny", _AVERAGED), {"encoder": "effnet_tiny"}
    ),
    "single_frame_effnet_lite0": _effnet(single_frame, "single_frame", "lite0", _KARPATHY, num_frames=1, stride=1),
    "late_fusion_effnet_lite0": fixed_length(_effnet(late_fusion, "late_fusion", "lite0", _KARPATHY)),
    "early_fusion_effnet_lite0": fixed_length(_effnet(early_fusion, "early_fusion", "lite0", _KARPATHY)),
    "single_frame_r50": Variant(
        single_frame, _image_spec("single_frame_r50", num_frames=1, stride=1, paper=_KARPATHY), {"encoder": "r50"}
    ),
    "late_fusion_r50": Variant(
        late_fusion,
        _image_spec("late_fusion_r50", paper=_KARPATHY),
        {"encoder": "r50", "num_frames": 8},
        fixed_length=True,
    ),
    "early_fusion_r50": Variant(
        early_fusion,
        _image_spec("early_fusion_r50", paper=_KARPATHY),
        {"encoder": "r50", "num_frames": 8},
        fixed_length=True,
    ),
    "single_frame_tiny": Variant(
        single_frame, tiny_spec("single_frame_tiny", _KARPATHY, num_frames=1, stride=1), {"encoder": "small"}
    ),
    "late_fusion_tiny": Variant(
        late_fusion,
        tiny_spec("late_fusion_tiny", _KARPATHY),
        # The small pictures' maps are 4×4; one mean over them would lose the positions.
        {"encoder": "small", "num_frames": 8, "hidden": 64, "grid": 4},
        fixed_length=True,
    ),
    "early_fusion_tiny": Variant(
        early_fusion,
        tiny_spec("early_fusion_tiny", _KARPATHY),
        {"encoder": "small", "num_frames": 8},
        fixed_length=True,
    ),
    "tsn_r50": _tsn(50),
    "tsn_r101": _tsn(101),
    "tsn_r50_flow": _tsn_flow("tsn_r50_flow"),
}
