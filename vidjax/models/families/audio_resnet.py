"""Residual networks on spectrograms, as mmaction2 classifies sound with them.

- audio_r18_mm: ResNet-18 of pictures, of one channel.
- audio_r50_mm: the audio pathway of AVSlowFast by itself, with convolutions over time and over mel bands side by side.

Source: Xiao et al., Audiovisual SlowFast Networks for Video Recognition (2001.08740); mmaction2 1.2,
`models/backbones/resnet_audio.py`, `models/common/conv_audio.py` and `models/backbones/resnet.py`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import AudioInput
from vidjax.models.arguments import settles
from vidjax.models.base import Between, Features, unchanged
from vidjax.models.families.resnet import DEPTHS, ResNet, Stage, Stem, frame_conv, shortcut
from vidjax.models.registry import Variant
from vidjax.models.sound import SoundNetwork, as_picture
from vidjax.nn.conv import Conv3D
from vidjax.nn.grids import Triple
from vidjax.nn.norm import BatchNorm


class Along(nnx.Module):
    """Convolution along one axis, norm and ReLU."""

    def __init__(self, in_features: int, features: int, kernel: Triple, strides: Triple, *, dtype: Any, rngs: nnx.Rngs):
        padding = tuple(size // 2 for size in kernel)
        self.conv = Conv3D(in_features, features, kernel, strides, padding, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, 1, t, m, in) to (B, 1, t', m', features)."""
        return nnx.relu(self.norm(self.conv(x)))


class Parallel(nnx.Module):
    """A convolution along time and one along mel bands of the same input.

    Args:
      in_features: channels of the input.
      features: channels of each.
      size: extent of each.
      strides: strides of both along 1, time and bands.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self, in_features: int, features: int, size: int, strides: Triple = (1, 1, 1), *, dtype: Any, rngs: nnx.Rngs
    ):
        self.time = Along(in_features, features, (1, size, 1), strides, dtype=dtype, rngs=rngs)
        self.bands = Along(in_features, features, (1, 1, size), strides, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map (B, 1, t, m, in) to two maps (B, 1, t', m', features)."""
        return self.time(x), self.bands(x)


class ParallelStem(nnx.Module):
    """Two convolutions side by side whose sum is normalised."""

    in_channels = stride = 1

    def __init__(self, features: int, size: int = 9, *, dtype: Any = None, rngs: nnx.Rngs):
        self.conv = Parallel(self.in_channels, features, size, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, 1, t, m, 1) to (B, 1, t, m, features)."""
        time, bands = self.conv(x)
        return nnx.relu(self.norm(time + bands))


class AudioBottleneck(nnx.Module):
    """Bottleneck without norm and ReLU after its 3×3 convolution, which may be two side by side.

    Args:
      in_features: channels of the input.
      features: width of the block; the output has four times as many channels.
      strides: strides along 1, time and bands, taken by the second convolution.
      parallel: whether the second convolution is one along time and one along bands, each with norm and ReLU, whose
        outputs are joined.
      zero_init: whether to start the residual branch at zero.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    expansion = 4

    def __init__(
        self,
        in_features: int,
        features: int,
        strides: Triple,
        parallel: bool,
        *,
        zero_init: bool = False,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        out_features = features * self.expansion
        self.conv1 = Conv3D(in_features, features, 1, dtype=dtype, rngs=rngs)
        self.norm1 = BatchNorm(features, rngs=rngs)
        if parallel:
            self.conv2 = Parallel(features, features, 3, strides, dtype=dtype, rngs=rngs)
        else:
            self.conv2 = frame_conv(features, features, strides, in_features, dtype=dtype, rngs=rngs)
        self.conv3 = Conv3D(features * (2 if parallel else 1), out_features, 1, dtype=dtype, rngs=rngs)
        self.norm3 = BatchNorm(out_features, zero_init=zero_init, rngs=rngs)
        self.shortcut = shortcut(in_features, out_features, strides, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, 1, t, m, in) to (B, 1, t', m', 4 · features)."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = jnp.concatenate(self.conv2(y), axis=-1) if isinstance(self.conv2, Parallel) else self.conv2(y)
        y = self.norm3(self.conv3(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class AudioResNet(SoundNetwork, ResNet):
    """Residual network on spectrograms. Further arguments are those of `ResNet`; a frame is a row of its last map.

    Args:
      num_classes: K, number of classes.
      mels: number of mel bands.
      **kwargs: arguments of `ResNet`.
    """

    def __init__(self, num_classes: int, *, mels: int = 80, **kwargs: Any):
        super().__init__(num_classes, **kwargs)
        self.mels = mels

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None, between: Between = unchanged) -> Features:
        """Encode spectrograms (B, frames, mels) as features; their tokens are the places of the last stage's map."""
        maps = [jnp.swapaxes(x, 1, 2) for x in self.maps(as_picture(video), between)]
        return Features.of_maps(self.by_stride(maps), self.pooling(self._frames(maps), rngs=rngs))


def _stages(depths: tuple[int, ...], width: int, kinds: tuple[Any, ...]) -> list[Stage]:
    """Stages that double the width, and halve time and bands in all but the first."""
    return [
        Stage(depth, width * 2**index, (1, 2, 2) if index else (1, 1, 1), kind)
        for index, (depth, kind) in enumerate(zip(depths, kinds, strict=True))
    ]


@settles("grid")
def picture_resnet(
    num_classes: int, *, depths: tuple[int, ...] = DEPTHS[18], dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any
) -> AudioResNet:
    """Build a ResNet of basic blocks on spectrograms. Further arguments are those of `AudioResNet`.

    Args:
      num_classes: K, number of classes.
      depths: blocks of each stage.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """
    stem = Stem(64, (1, 7, 7), max_pool=True, in_channels=1, dtype=dtype, rngs=rngs)
    stages = _stages(depths, 64, (frame_conv,) * len(depths))
    return AudioResNet(num_classes, stem=stem, stem_features=64, stages=stages, dtype=dtype, rngs=rngs, **kwargs)


@settles("grid")
def pathway_resnet(
    num_classes: int,
    *,
    depths: tuple[int, ...] = DEPTHS[50],
    width: int = 32,
    parallel: tuple[bool, ...] = (True, True, False, False),
    zero_init: bool = True,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> AudioResNet:
    """Build a network of convolutions side by side. Further arguments are those of `AudioResNet`.

    Args:
      num_classes: K, number of classes.
      depths: blocks of each stage.
      width: channels of the stem.
      parallel: whether the stages' 3×3 convolutions are two side by side, stage by stage.
      zero_init: whether to start every residual branch at zero.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """
    return AudioResNet(
        num_classes,
        stem=ParallelStem(width, dtype=dtype, rngs=rngs),
        stem_features=width,
        stages=_stages(depths, width, parallel),
        block=AudioBottleneck,
        zero_init=zero_init,
        dtype=dtype,
        rngs=rngs,
        **kwargs,
    )


_PAPER = "https://arxiv.org/abs/2001.08740"
_spec = partial(Spec, paper=_PAPER, sources=("mmaction2",))
_CLIP = {"audio": AudioInput("mmaction2", 1.008)}  # 64 frames

VARIANTS = {
    "audio_r18_mm": Variant(
        picture_resnet,
        _spec("audio_r18_mm", _CLIP, published="K400 13.7 / 27.3, 1 view (mmaction2)"),
        {"dropout": 0.5},
    ),
    "audio_r50_mm": Variant(pathway_resnet, _spec("audio_r50_mm", _CLIP), {"dropout": 0.5}),
    "audio_resnet_tiny": Variant(
        pathway_resnet,
        Spec("audio_resnet_tiny", _CLIP, num_classes=6, paper=_PAPER),
        {"depths": (1, 1), "parallel": (True, False), "width": 16},
    ),
}
