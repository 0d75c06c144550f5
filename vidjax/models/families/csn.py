"""CSN: channel-separated residual networks, whose 3×3×3 convolutions are depthwise.

Separate layers mix channels (1×1×1) and mix neighbouring positions (3×3×3, each channel by itself). "ir"
(interaction-reduced) puts a depthwise convolution in a bottleneck's middle; "ip" (interaction-preserved) keeps a 1×1×1
convolution before it, for the channel mixing otherwise lost.

Paper: Tran et al., Video Classification with Channel-Separated Convolutional Networks (1904.02811). Reference code:
`models/csn.py` in pytorchvideo (`csn_r101`) and `models/backbones/resnet3d_csn.py` in mmaction2 (the other ones).
"""

from typing import Any

import jax
from flax import nnx

from vidjax.config import Spec
from vidjax.models.base import Between, Features, VideoNetwork, Widths, unchanged
from vidjax.models.families.resnet import DEPTHS, Shortcut, shortcut
from vidjax.models.heads import Dense
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.conv import Conv3D
from vidjax.nn.grids import Triple
from vidjax.nn.init import whole_normal_001
from vidjax.nn.maps import cuboid_means
from vidjax.nn.norm import BatchNorm
from vidjax.nn.pooling import max_pool3d
from vidjax.nn.remat import check_remat, keeping

EXPANSION = 4  # output width of a block, over its inner width


class Stem(nnx.Module):
    """Stem: a 3×7×7 convolution of stride 2 in space, norm, ReLU, and a 1×3×3 max-pool of stride 2."""

    def __init__(self, in_channels: int, features: int, epsilon: float, *, dtype: Any = None, rngs: nnx.Rngs):
        self.conv = Conv3D(in_channels, features, (3, 7, 7), (1, 2, 2), (1, 3, 3), dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(features, epsilon=epsilon, rngs=rngs)

    def __call__(self, video: jax.Array) -> jax.Array:
        """Map (B, T, H, W, C) to (B, T, H', W', features)."""
        return max_pool3d(nnx.relu(self.norm(self.conv(video))), (1, 3, 3), (1, 2, 2), (0, 1, 1))


class Block(nnx.Module):
    """Bottleneck: 1×1×1 down to `features`, depthwise 3×3×3, 1×1×1 up to 4 · `features`, and a shortcut.

    Args:
      in_features: channels of the input.
      features: width of the block.
      strides: strides along T, H, W, taken by the depthwise convolution.
      preserved: whether to mix the channels once more before the depthwise convolution ("ip").
      zero_init: whether to start the residual branch at zero.
      epsilon: epsilon of the norms.
      dtype: dtype of the computation; None: the input's.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        strides: Triple,
        *,
        preserved: bool,
        zero_init: bool,
        epsilon: float,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        out_features = features * EXPANSION
        layer = {"epsilon": epsilon, "dtype": dtype, "rngs": rngs}
        self.conv1 = Conv3D(in_features, features, 1, dtype=dtype, rngs=rngs)
        self.norm1 = BatchNorm(features, epsilon=epsilon, rngs=rngs)
        self.mix = Shortcut(features, features, (1, 1, 1), **layer) if preserved else None
        self.conv2 = Conv3D(
            features, features, 3, strides, padding=1, feature_group_count=features, dtype=dtype, rngs=rngs
        )
        self.norm2 = BatchNorm(features, epsilon=epsilon, rngs=rngs)
        self.conv3 = Conv3D(features, out_features, 1, dtype=dtype, rngs=rngs)
        self.norm3 = BatchNorm(out_features, epsilon=epsilon, zero_init=zero_init, rngs=rngs)
        self.shortcut = shortcut(in_features, out_features, strides, **layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, in) to (B, T', H', W', 4 · features)."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = y if self.mix is None else self.mix(y)
        y = nnx.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class CSN(VideoNetwork):
    """Channel-separated network.

    Args:
      num_classes: K, number of classes.
      in_channels: C, channels of the video.
      depths: blocks of each stage; all but the first stage halve time, height and width.
      width: channels of the stem and of the first stage's blocks; doubled in each further stage.
      preserved: whether to build "ip" rather than "ir" blocks, see above.
      window: frames, rows and columns of the last map that are averaged for the classifier; a larger map has several
        such windows, whose probabilities are averaged (`vidjax.models.heads.Dense`). None: the mean of the whole map.
      zero_init: whether to start every residual branch at zero.
      epsilon: epsilon of the norms.
      dropout: probability of dropping a feature before the classifier, in training mode.
      remat: rematerialisation policy of each block, one of `REMAT` except "attention", see `nn/remat.py`.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        depths: tuple[int, ...],
        width: int = 64,
        preserved: bool = False,
        window: Triple | None = None,
        zero_init: bool = False,
        epsilon: float = 1e-5,
        dropout: float = 0.0,
        remat: str = "",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        self.channels = in_channels
        self.stem = Stem(in_channels, width, epsilon, dtype=dtype, rngs=rngs)
        self.stages = nnx.List()
        features = width
        for stage, depth in enumerate(depths):
            blocks = nnx.List()
            for index in range(depth):
                block = Block(
                    features,
                    width * 2**stage,
                    (2, 2, 2) if stage > 0 and index == 0 else (1, 1, 1),
                    preserved=preserved,
                    zero_init=zero_init,
                    epsilon=epsilon,
                    dtype=dtype,
                    rngs=rngs,
                )
                blocks.append(block)
                features = width * 2**stage * EXPANSION
            self.stages.append(blocks)
        self.dropout = nnx.Dropout(dropout)
        self.head = Dense(features, num_classes, kernel_init=whole_normal_001, rngs=rngs)
        self.widths = Widths.of_maps(
            {4 * 2**stage: width * 2**stage * EXPANSION for stage in range(len(depths))}, windows=True
        )
        self.window = window
        self.remat = check_remat(remat, attention=False)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None, between: Between = unchanged) -> Features:
        """Encode normalised clips (B, T, H, W, C) as features; windows are (B, T', H', W', D), one for each
        position.

        Args:
          video: the clips.
          rngs: not used.
          between: change of each stage's map.
        """
        del rngs  # nothing random comes before the classifier
        x, run, maps = self.stem(video), keeping(self.remat), {}
        for stage, blocks in enumerate(self.stages):
            for block in blocks:
                x = run(block, x)
            maps[4 * 2**stage] = x = between(4 * 2**stage, x)
        windows = cuboid_means(x, self.window)
        return Features.of_maps(maps, windows.mean(axis=(1, 2, 3)), windows)


def _spec(name: str, source: str, published: str, **preprocessing: Any) -> Spec:
    return Spec.of_video(
        name=name,
        num_frames=32,
        stride=2,
        size=224,
        resize=(256,),
        num_classes=400,
        paper="https://arxiv.org/abs/1904.02811",
        sources=(source,),
        published=f"K400 {published}, 10×3 views of 256² ({source})",
        **preprocessing,
    )


def _mmaction2(layers: int, preserved: bool, published: str) -> Variant:
    spec = _spec(f"csn_{'ip' if preserved else 'ir'}_r{layers}", "mmaction2", published)
    return Variant(CSN, spec, {"depths": DEPTHS[layers], "preserved": preserved, "epsilon": 1e-3, "dropout": 0.5})


VARIANTS = {
    "csn_r101": Variant(
        CSN,
        _spec("csn_r101", "pytorchvideo", "77.00 / 92.90", mean=(0.45,) * 3, std=(0.225,) * 3),
        {"depths": DEPTHS[101], "window": (4, 7, 7), "zero_init": True},
    ),
    # mmaction2's three networks, pre-trained on IG-65M.
    "csn_ir_r50": _mmaction2(50, False, "79.44 / 94.26"),
    "csn_ir_r152": _mmaction2(152, False, "82.87 / 95.90"),
    "csn_ip_r152": _mmaction2(152, True, "82.68 / 95.69"),
    "csn_tiny": Variant(
        CSN, tiny_spec("csn_tiny", "https://arxiv.org/abs/1904.02811"), {"depths": (1, 1, 1), "width": 16}
    ),
}
