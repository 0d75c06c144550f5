"""AVSlowFast: SlowFast with a third pathway, over the spectrogram of the sound, that feeds the Slow one.

The Audio pathway is a bottleneck ResNet over time and frequency, with half of Slow's channels. Its first two stages
convolve time and frequency side by side, the others jointly. Before every stage, its mean over frequency passes two
convolutions over time, the second strided down to Slow's frames, and is added to what Slow has from itself and Fast.
The classifier reads the means of all three, side by side. A clip without sound adds nothing: it is classified as by
SlowFast, with zeros for the Audio pathway's features.

Paper: Xiao et al., Audiovisual SlowFast Networks for Video Recognition (2001.08740). Reference code: pytorchvideo
`models/audio_visual_slowfast.py`, which has no published weights. Not here: the paper's loss of synchrony.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.inputs import AudioInput
from vidjax.models.arguments import by_field
from vidjax.models.audio_visual import DropPathway, seen_and_heard, where_heard
from vidjax.models.base import Features
from vidjax.models.families.resnet import DEPTHS
from vidjax.models.families.slow import HUB, Pathway
from vidjax.models.families.slowfast import R50_4X16, R50_8X8, TINY, ClipLengthError, SlowFast, slow_frames
from vidjax.models.heads import Dense
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.conv import Conv3D
from vidjax.nn.cross_conv import CrossConv
from vidjax.nn.grids import Triple
from vidjax.nn.init import normal_001
from vidjax.nn.norm import BatchNorm

STRIDES = ((1, 1, 1), (2, 1, 2), (2, 1, 2), (2, 1, 2))


def side_by_side(in_features: int, out_features: int, strides: Triple, block_features: int, **kwargs: Any) -> CrossConv:
    """Make a 3×1×1 and a 1×1×3 convolution, each with norm and ReLU, whose results are added."""
    del block_features
    return CrossConv(in_features, out_features, (3, 1, 3), strides, (1, 0, 1), activates=True, **kwargs)


def time_and_frequency(
    in_features: int, out_features: int, strides: Triple, block_features: int, **kwargs: Any
) -> Conv3D:
    """Make a 3×1×3 convolution of a spectrogram: time and frequency at once."""
    del block_features
    return Conv3D(in_features, out_features, (3, 1, 3), strides, (1, 0, 1), **kwargs)


@dataclass(frozen=True)
class SoundShape:
    """Sizes of the Audio pathway.

    Attributes:
      sound_ratio: channels of Slow for each one of Audio, 1/β in the paper.
      frames_of_sound: frames of the spectrogram for each of Slow's frames; halved wherever the pathway strides time.
      inner_ratio: channels of Audio for each one between the two convolutions of a fusion.
      drop_pathway: probability that a clip loses its sound, in training mode.
    """

    sound_ratio: int = 2
    frames_of_sound: int = 16
    inner_ratio: int = 4
    drop_pathway: float = 0.5


class SoundLateral(nnx.Module):
    """Fusion of Audio into Slow: the mean over frequency, and two convolutions over time with norm and ReLU.

    Args:
      in_features: channels of the Audio pathway.
      inner: channels between the convolutions.
      out_features: channels of Slow, those from Fast included.
      stride: stride in time of the second convolution.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self, in_features: int, inner: int, out_features: int, stride: int, *, dtype: Any = None, rngs: nnx.Rngs
    ):
        self.conv1 = Conv3D(in_features, inner, (5, 1, 1), 1, (2, 0, 0), dtype=dtype, rngs=rngs)
        self.norm1 = BatchNorm(inner, rngs=rngs)
        self.conv2 = Conv3D(inner, out_features, (5, 1, 1), (stride, 1, 1), (2, 0, 0), dtype=dtype, rngs=rngs)
        self.norm2 = BatchNorm(out_features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, 1, M, in) to (B, T / stride, 1, 1, out)."""
        x = x.mean(axis=3, keepdims=True)
        x = nnx.relu(self.norm1(self.conv1(x)))
        return nnx.relu(self.norm2(self.conv2(x)))


class AVSlowFast(SlowFast):
    """AVSlowFast network. It takes clips as "video", spectrograms (B, N, M) as "audio", and "heard".

    Of the spectrogram, `frames_of_sound` frames for each of Slow's are used; up to `frames_of_sound` - 1 more at the
    end are left out.

    Args:
      num_classes: K, number of classes.
      sound: sizes of the Audio pathway, passed as the fields of `SoundShape`.
      rngs: random streams for the initial weights.
      **kwargs: further arguments of `SlowFast`.

    Raises:
      ValueError: for a `drop_pathway` outside 0 ≤ rate < 1.
    """

    @by_field
    def __init__(self, num_classes: int, *, sound: SoundShape, rngs: nnx.Rngs, **kwargs: Any):
        super().__init__(num_classes, rngs=rngs, **kwargs)
        width, depth = self.slow.stages[0][0].conv2.kernel.shape[-1] // sound.sound_ratio, len(self.slow.stages)
        layer = {"dtype": kwargs.get("dtype"), "rngs": rngs}
        self.audio = Pathway(
            depths=[len(stage) for stage in self.slow.stages],
            temporal_kernels=((1,),) * depth,
            width=width,
            stem_kernel=(9, 1, 9),
            stem_strides=(1, 1, 1),
            stem_conv=CrossConv,
            pool_strides=None,
            strides=STRIDES[:depth],
            time_first=True,
            conv=[side_by_side] * 2 + [time_and_frequency] * (depth - 2),
            in_channels=1,
            **{name: kwargs[name] for name in ("zero_init", "remat", "dtype") if name in kwargs},
            rngs=rngs,
        )
        widths = [width, *(features for _, features in self.audio.map_widths[:-1])]
        self.sound_laterals = nnx.List()
        self.frames_of_sound, stride = sound.frames_of_sound, sound.frames_of_sound
        for index, features in enumerate(widths):
            stride //= STRIDES[max(index - 1, 0)][0]
            given = self.slow.stages[index][0].conv1.kernel.shape[3]
            self.sound_laterals.append(SoundLateral(features, features // sound.inner_ratio, given, stride, **layer))
        self.drop_pathway = DropPathway(sound.drop_pathway)
        features = self.widths.pooled + self.audio.out_features
        self.head = Dense(features, num_classes, kernel_init=normal_001, rngs=rngs)
        self.widths = dataclasses.replace(self.widths, pooled=features)

    def taken(self, inputs: Any) -> Mapping[str, jax.Array]:
        """Select clips and spectrograms, see `vidjax.models.audio_visual.seen_and_heard`."""
        return seen_and_heard(inputs, self.channels, type(self).__name__)

    def encode(self, video: Any, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised clips and spectrograms: features of Slow, Fast and Audio; windows are (B, 1, H', W', D).

        Maps and tokens are those of `SlowFast`.

        Args:
          video: "video" (B, T, H, W, C), "audio" (B, N, M) and, unless all have sound, "heard", bool (B,).
          rngs: random streams; `dropout` draws the clips that lose their sound in training mode.

        Raises:
          ClipLengthError: if α does not divide T, or the spectrogram's frames do not match Slow's.
        """
        heard = self.drop_pathway(video["heard"], rngs)
        frames = len(slow_frames(video["video"].shape[1], self.strides[0], self.slow_frames))
        added, sound = self.listened(video["audio"], frames)
        maps, windows = self.seen(video["video"], [where_heard(heard, x) for x in added])
        beside = jnp.broadcast_to(where_heard(heard, sound), (*windows.shape[:-1], sound.shape[-1]))
        windows = jnp.concatenate([windows, beside], axis=-1)
        return Features.of_maps(maps, windows.mean(axis=(1, 2, 3)), windows)

    def listened(self, audio: jax.Array, frames: int) -> tuple[list[jax.Array], jax.Array]:
        """Run the Audio pathway: what it adds before each of Slow's stages (B, `frames`, 1, 1, C), and its mean
        (B, 1, 1, 1, D).

        Raises:
          ClipLengthError: if the spectrogram (B, N, M) has not as many frames.
        """
        wanted, given = frames * self.frames_of_sound, audio.shape[1]
        if not wanted <= given < wanted + self.frames_of_sound:
            raise ClipLengthError(
                f"a spectrogram of {given} frames beside {frames} frames of the Slow pathway: expected {wanted}, "
                f"{self.frames_of_sound} for each. Set the length of the sound or of the clip accordingly."
            )
        x = self.audio.stem(audio[:, :wanted, None, :, None])
        added = []
        for index, lateral in enumerate(self.sound_laterals):
            added.append(lateral(x))
            x = self.audio.stage(index, x)
        return added, x.mean(axis=(1, 2, 3), keepdims=True, dtype=jnp.float32)


SOUND = AudioInput("avslowfast", seconds=2.048, frames=128)
_PAPER = "https://arxiv.org/abs/2001.08740"


def _with_sound(spec: Spec, sound: AudioInput = SOUND) -> Spec:
    """Add the spectrogram to the inputs of a network."""
    return dataclasses.replace(spec, inputs={**spec.inputs, "audio": sound})


def _variant(name: str, kwargs: dict[str, Any], sources: tuple[str, ...], published: str) -> Variant:
    spec = Spec.of_video(
        name=name, num_frames=32, stride=2, mean=(0.45,) * 3, std=(0.225,) * 3, paper=_PAPER, sources=sources,
        published=published,
    )  # fmt: skip
    return Variant(AVSlowFast, _with_sound(spec), kwargs)


_KERNEL = {"lateral_kernel": 7}
VARIANTS = {
    variant.spec.name: variant
    for variant in (
        _variant(
            "avslowfast_r50_4x16", R50_4X16 | _KERNEL | {"frames_of_sound": 32}, (), "K400 77.0, 10×3 views of 256²"
        ),
        _variant("avslowfast_r50_8x8", R50_8X8, HUB, ""),
        _variant("avslowfast_r101_8x8", R50_8X8 | {"depths": DEPTHS[101]}, HUB, "K400 78.8, 10×3 views of 256²"),
    )
} | {
    "avslowfast_tiny": Variant(
        AVSlowFast,
        _with_sound(tiny_spec("avslowfast_tiny", _PAPER), AudioInput("avslowfast", seconds=1.536, frames=96)),
        TINY | {"alpha": 2, "frames_of_sound": 24},
    )
}
