"""Plain stacks of 3×3×3 convolutions: C3D, and a two-layer network for learning.

Paper: Tran et al., Learning Spatiotemporal Features with 3D Convolutional Networks (1412.0767). Reference code:
mmaction2 `models/backbones/c3d.py`, DavideA/c3d-pytorch (the weights of the authors' Caffe network on Sports-1M).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.errors import UserError
from vidjax.models.base import Features, VideoNetwork, Widths
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.conv import Conv3D
from vidjax.nn.init import normal_001, scaled_normal
from vidjax.nn.maps import flat_map
from vidjax.nn.norm import BatchNorm
from vidjax.nn.pooling import max_pool3d
from vidjax.nn.remat import check_remat, keeping

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))  # channels of the convolutions between two pools


class C3D(VideoNetwork):
    """Eight convolutions without norm, five max-pools, two dense layers and a classifier.

    The first pool keeps time, the others halve all axes; the last pads height and width, so that 112 pixels become 4.
    The dense layers read the whole last map: a network is made for one clip length and size.

    Args:
      num_classes: K, number of classes.
      in_channels: C, channels of the video.
      num_frames: T, frames of the clips.
      size: height and width of the clips, pixels.
      stages: channels of the convolutions, one row per pool.
      hidden: D, features of the dense layers.
      dropout: probability of dropping a feature after each dense layer, in training mode.
      remat: rematerialisation policy of each stage, one of `REMAT` except "attention", see `nn/remat.py`.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: if the clips are too short or too small for the pools.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        num_frames: int = 16,
        size: int = 112,
        stages: Sequence[Sequence[int]] = STAGES,
        hidden: int = 4096,
        dropout: float = 0.5,
        remat: str = "",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        pools = len(stages)
        # After the last pool, the only one with padding: one pixel on both sides.
        frames, pixels = num_frames // 2 ** (pools - 1), (size // 2 ** (pools - 1) + 2) // 2
        if frames < 1 or size < 2 ** (pools - 1):
            least = 2 ** (pools - 1)
            raise ValueError(
                f"num_frames = {num_frames}, size = {size}: {pools} pools need {least} frames of {least} pixels"
            )
        self.stages = nnx.List()
        self.channels = features = in_channels
        for widths in stages:
            convs = nnx.List()
            for width in widths:
                convs.append(Conv3D(features, width, 3, padding=1, use_bias=True, dtype=dtype, rngs=rngs))
                features = width
            self.stages.append(convs)
        self.fc6 = nnx.Linear(
            frames * pixels**2 * features, hidden, kernel_init=scaled_normal(0.005), dtype=dtype, rngs=rngs
        )
        self.fc7 = nnx.Linear(hidden, hidden, kernel_init=scaled_normal(0.005), dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(hidden, num_classes, kernel_init=normal_001, rngs=rngs)
        maps = {2 ** (index + 1): widths[-1] for index, widths in enumerate(stages)}
        self.widths = Widths.of_maps(maps, hidden)
        self.clip = (num_frames, size, size)
        self.remat = check_remat(remat, attention=False)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised clips (B, T, H, W, C) as features: `pooled` is known as fc7, maps are the pools' outputs.

        Raises:
          UserError: if the clips have another length or size than the network is made for.
        """
        if video.shape[1:4] != self.clip:
            made, given = ("{} frames of {}×{} pixels".format(*shape) for shape in (self.clip, video.shape[1:4]))
            raise UserError(
                f"this C3D is made for clips of {made}, not {given}: build it with num_frames=… and size=…, or, from a "
                "config, model.kwargs.num_frames and model.kwargs.size"
            )
        x, run, maps = video, keeping(self.remat, _stage), {}
        for index, convs in enumerate(self.stages):
            x = run(convs, x)
            last = index == len(self.stages) - 1
            maps[2 ** (index + 1)] = x = max_pool3d(x, (2 if index else 1, 2, 2), padding=(0, 1, 1) if last else 0)
        x = nnx.relu(self.fc6(x.reshape(x.shape[0], -1)))
        x = nnx.relu(self.fc7(self.dropout(x, rngs=rngs)))
        return Features.of_maps(maps, x.astype(jnp.float32))


def _stage(convs: nnx.List, x: jax.Array) -> jax.Array:
    for conv in convs:
        x = nnx.relu(conv(x))
    return x


class Conv3DNet(VideoNetwork):
    """Minimal network that detects motion: per width a 3×3×3 convolution, norm, ReLU and a halving max-pool.

    The mean over the last map is classified, so that clips may have any length and size.

    Args:
      num_classes: K, number of classes.
      in_channels: C, channels of the video.
      widths: channels of the convolutions.
      dropout: probability of dropping a feature before the classifier, in training mode.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        widths: Sequence[int] = (12, 24),
        dropout: float = 0.0,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.convs, self.norms = nnx.List(), nnx.List()
        for features, width in zip((in_channels, *widths[:-1]), widths, strict=True):
            self.convs.append(Conv3D(features, width, 3, padding=1, dtype=dtype, rngs=rngs))
            self.norms.append(BatchNorm(width, rngs=rngs))
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(widths[-1], num_classes, rngs=rngs)
        self.channels = in_channels
        self.widths = Widths.of_maps({2 ** (index + 1): width for index, width in enumerate(widths)})

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised clips (B, T, H, W, C) as features; maps are the pools' outputs."""
        del rngs  # nothing random comes before the classifier
        x, maps = video, {}
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            # "SAME" keeps the last frame of an odd number: even a clip of one frame passes.
            maps[2 ** (index + 1)] = x = max_pool3d(nnx.relu(norm(conv(x))), 2, padding="SAME")
        return Features.of_maps(maps, flat_map(x).astype(jnp.float32).mean(axis=1))


VARIANTS = {
    "c3d": Variant(
        C3D,
        Spec.of_video(
            name="c3d",
            num_frames=16,
            size=112,
            resize=(128,),
            # Pixels stay in 0…255, less a mean in Caffe's order, blue first, that is applied to red first, as in
            # mmaction2's training and evaluation.
            mean=(104 / 255, 117 / 255, 128 / 255),
            std=(1 / 255, 1 / 255, 1 / 255),
            num_classes=101,
            paper="https://arxiv.org/abs/1412.0767",
            sources=("mmaction2", "c3d_pytorch"),
            published="UCF-101 83.08 / 95.93, 10×1 views, from Sports-1M weights (mmaction2)",
        ),
        fixed_length=True,
    ),
    "conv3d_tiny": Variant(
        Conv3DNet,
        tiny_spec("conv3d_tiny", "https://arxiv.org/abs/1412.0767"),
    ),
}
