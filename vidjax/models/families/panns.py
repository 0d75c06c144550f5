"""PANNs: convolutional networks for tagging sound, CNN14, CNN10 and CNN6.

Source: Kong et al., PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition (1912.10211), and
qiuqiangkong/audioset_tagging_cnn, `pytorch/models.py`, with the same layers, dropout and initial weights. Its networks
compute the spectrogram by themselves; here it is an input.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.errors import UserError
from vidjax.inputs import AudioInput
from vidjax.models.base import Features, Widths
from vidjax.models.registry import Variant
from vidjax.models.sound import SoundNetwork, as_picture, features_of
from vidjax.nn.conv import Conv3D
from vidjax.nn.maps import peaks
from vidjax.nn.norm import BatchNorm
from vidjax.nn.pooling import avg_pool3d
from vidjax.nn.remat import check_remat, keeping

XAVIER = nnx.initializers.xavier_uniform()


class Block(nnx.Module):
    """Convolutions over time and mel bands, each followed by norm and ReLU.

    Args:
      in_features: channels of the input.
      features: channels of the output.
      kernel: extent of a convolution along both axes, an odd number.
      depth: number of convolutions.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(self, in_features: int, features: int, *, kernel: int, depth: int, dtype: Any = None, rngs: nnx.Rngs):
        self.convs, self.norms = nnx.List(), nnx.List()
        for index in range(depth):
            width = features if index else in_features
            self.convs.append(
                Conv3D(
                    width, features, (1, kernel, kernel), padding=(0, kernel // 2, kernel // 2), dtype=dtype,
                    kernel_init=XAVIER, rngs=rngs,
                )
            )  # fmt: skip
            self.norms.append(BatchNorm(features, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, 1, t, m, in) to (B, 1, t, m, features)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = nnx.relu(norm(conv(x)))
        return x


class PANN(SoundNetwork):
    """Blocks of convolutions with 2×2 mean pools between, and one dense layer on the mean and maximum over time.

    The first layer normalises every mel band by itself. Spectrograms may have any length of at least 2^pools frames.
    In the published training two stripes of up to 64 frames and two of up to 8 bands are masked; the augmentation of
    the spectrogram does this before the first norm, the reference after it.

    Args:
      num_classes: K, number of classes.
      mels: number of mel bands.
      widths: channels of the blocks.
      kernel: extent of a block's convolutions along time and bands.
      depth: convolutions per block.
      pools: number of blocks, from the first on, that are followed by a pool.
      block_dropout: dropout probability after each block, in training mode.
      pooled_dropout: dropout probability before the dense layer, in training mode.
      dropout: dropout probability between the dense layer and the classifier, in training mode.
      remat: rematerialisation policy of each block, one of `REMAT` except "attention", see `nn/remat.py`.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        mels: int = 64,
        widths: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
        kernel: int = 3,
        depth: int = 2,
        pools: int = 5,
        block_dropout: float = 0.2,
        pooled_dropout: float = 0.5,
        dropout: float = 0.0,
        remat: str = "",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.mels, self.pools = mels, pools
        self.norm = BatchNorm(mels, rngs=rngs)
        self.blocks = nnx.List()
        for features, width in zip((1, *widths[:-1]), widths, strict=True):
            self.blocks.append(Block(features, width, kernel=kernel, depth=depth, dtype=dtype, rngs=rngs))
        self.block_dropout, self.pooled_dropout = nnx.Dropout(block_dropout), nnx.Dropout(pooled_dropout)
        features = widths[-1]
        self.fc = nnx.Linear(features, features, kernel_init=XAVIER, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(features, num_classes, kernel_init=XAVIER, rngs=rngs)
        self.strides = tuple(2 ** min(index + 1, pools) for index in range(len(widths)))
        self.widths = Widths.of_maps(dict(zip(self.strides, widths, strict=True)))
        self.dtype = dtype
        self.remat = check_remat(remat, attention=False)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode spectrograms (B, frames, mels), decibels, as features; `pooled` is the published embedding.

        Raises:
          UserError: if the sound is too short for the pools.
        """
        least = 2**self.pools
        if video.shape[1] < least:
            raise UserError(
                f"a sound of {video.shape[1]} frames is too short for {self.pools} pools: give {least} frames or more"
            )
        x = as_picture(self.norm(video))
        x, run, maps = x if self.dtype is None else x.astype(self.dtype), keeping(self.remat), {}
        for index, block in enumerate(self.blocks):
            x = run(block, x)
            x = avg_pool3d(x, (1, 2, 2)) if index < self.pools else x
            maps[self.strides[index]] = x = self.block_dropout(x, rngs=rngs)
        times = x.astype(jnp.float32).mean(axis=(1, 3))
        pooled = self.pooled_dropout(peaks(times, (1,)) + times.mean(axis=1), rngs=rngs)
        return features_of(maps, nnx.relu(self.fc(pooled)).astype(jnp.float32))


_PAPER = "https://arxiv.org/abs/1912.10211"
_FOUR = (64, 128, 256, 512)


def _variant(name: str, preset: str, published: str = "", **kwargs: Any) -> Variant:
    spec = Spec(
        name, {"audio": AudioInput(preset, 10.0)}, num_classes=527, paper=_PAPER, sources=("panns",),
        published=published,
    )  # fmt: skip
    return Variant(PANN, spec, kwargs)


VARIANTS = {
    "panns_cnn14": _variant("panns_cnn14", "panns", "AudioSet mAP 0.431 (PANNs)"),
    "panns_cnn14_16k": _variant("panns_cnn14_16k", "panns_16k", "AudioSet mAP 0.438 (PANNs)"),
    "panns_cnn10": _variant("panns_cnn10", "panns", "AudioSet mAP 0.380 (PANNs)", widths=_FOUR, pools=4),
    "panns_cnn6": _variant(
        "panns_cnn6", "panns", "AudioSet mAP 0.343 (PANNs)", widths=_FOUR, pools=4, kernel=5, depth=1
    ),
    "panns_tiny": Variant(
        PANN,
        Spec("panns_tiny", {"audio": AudioInput("panns_16k", 1.0)}, num_classes=6, paper=_PAPER),
        {"widths": (16, 32, 64), "pools": 3, "depth": 1, "block_dropout": 0.0, "pooled_dropout": 0.0},
    ),
}
