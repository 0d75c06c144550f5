"""TSM: a 2D network that shifts parts of the features between neighbouring frames, at no cost in arithmetic.

Before the first convolution of every residual branch, one eighth of the channels is taken from the next frame, one
eighth from the previous one. The causal form takes channels only from the previous frame, so that it can run on a
stream: `step` takes one frame and the channels kept of the last one.

Paper: Lin et al., TSM: Temporal Shift Module for Efficient Video Understanding (1811.08383). Reference code: mmaction2
`models/backbones/resnet_tsm.py` and `models/heads/tsm_head.py`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import settles
from vidjax.models.base import Between, Head, unchanged
from vidjax.models.families.efficientnet import SCALES, efficientnet_spec
from vidjax.models.families.frame_networks import body
from vidjax.models.families.resnet import ResNet
from vidjax.models.heads import Drop
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.init import normal
from vidjax.nn.pooling import StreamPooling
from vidjax.nn.remat import keeping

# State of a stream: per block the channels kept of the last frame, and the mean of the frames' features.
StreamState = dict[str, Any]


def temporal_shift(x: jax.Array, share: int = 8) -> jax.Array:
    """Shift channels over time: C // share from the next frame, as many from the previous one, the rest unchanged.

    Args:
      x: input, (B, T, H, W, C); zero beyond the ends of the clip.
      share: reciprocal of the part of the channels shifted each way.

    Returns:
      (B, T, H, W, C).
    """
    fold = x.shape[-1] // share
    blank = jnp.zeros_like(x[:, :1, ..., :fold])
    following = jnp.concatenate([x[:, 1:, ..., :fold], blank], axis=1)
    before = jnp.concatenate([blank, x[:, :-1, ..., fold : 2 * fold]], axis=1)
    return jnp.concatenate([following, before, x[..., 2 * fold :]], axis=-1)


def causal_shift(x: jax.Array, share: int = 8, kept: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Shift channels over time: the first C // share from the previous frame, the rest unchanged.

    Args:
      x: input, (B, T, H, W, C).
      share: reciprocal of the part of the channels that is shifted.
      kept: shifted channels of the frame before the first, (B, 1, H, W, C // share); None: zeros.

    Returns:
      (B, T, H, W, C), and the channels to keep for the next frames.
    """
    fold = x.shape[-1] // share
    moving = x[..., :fold]
    kept = jnp.zeros_like(moving[:, :1]) if kept is None else kept
    before = jnp.concatenate([kept, moving[:, :-1]], axis=1)
    return jnp.concatenate([before, x[..., fold:]], axis=-1), moving[:, -1:]


class MeanOfFrames(Head, nnx.Linear):
    """Linear classifier of each frame, with averaged logits. Arguments are those of `nnx.Linear`."""

    sees: ClassVar[str] = "windows"

    def __call__(self, x: jax.Array, drop: Drop | None = None) -> jax.Array:
        """Map (B, T, D) to float32 (B, K)."""
        x = x if drop is None else drop(x)
        return super().__call__(x.mean(axis=1))


class TemporalShiftResNet(ResNet):
    """2D ResNet with temporal shifts. Every frame is classified, and the logits are averaged.

    Args:
      num_classes: K, number of classes.
      share: reciprocal of the part of a block's channels shifted each way.
      causal: whether to shift channels only from the previous frame.
      dropout: probability of dropping a feature of a frame before the classifier, in training mode.
      rngs: random streams for the initial weights.
      **kwargs: stem, stages and other arguments of `ResNet`.
    """

    head_type = MeanOfFrames

    def __init__(
        self,
        num_classes: int,
        *,
        share: int = 8,
        causal: bool = False,
        dropout: float = 0.5,
        rngs: nnx.Rngs,
        **kwargs: Any,
    ):
        super().__init__(num_classes, temporal_pooling="mean", dropout=dropout, rngs=rngs, **kwargs)
        self.share = share
        self.causal = causal
        # As in mmaction2, only every other block shifts if a stage has many.
        self.every = 2 if any(len(blocks) >= 23 for blocks in self.stages) else 1
        assert isinstance(self.head, MeanOfFrames)  # as just built
        self.head.kernel.set_value(normal(rngs.params(), self.head.kernel.shape, 0.001))

    def maps(self, video: jax.Array, between: Between = unchanged) -> list[jax.Array]:
        """Map normalised clips (B, T, H, W, C) to the stages' outputs, (B, T, H', W', C'), changed by `between`."""
        return self._run(video, {}, between)[0]

    def _run(
        self, video: jax.Array, kept: dict[str, jax.Array], between: Between = unchanged
    ) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        x, run = self.stem(video), keeping(self.remat)
        maps, keep = [], {}
        for stage, blocks in enumerate(self.stages):
            for index, block in enumerate(blocks):
                shifted = x
                if index % self.every == 0 and block.shifts:
                    name = f"{stage}.{index}"
                    if self.causal:
                        shifted, keep[name] = causal_shift(x, self.share, kept.get(name))
                    else:
                        shifted = temporal_shift(x, self.share)
                x = run(block, x, shifted)
            x = between(self.strides[stage], x)
            maps.append(x)
        return self.finished(maps), keep

    def step(self, frame: jax.Array, state: StreamState | None = None) -> tuple[jax.Array, StreamState]:
        """Process one frame of a stream, in evaluation mode: after t frames the logits are those of the clip of these t
        frames.

        Args:
          frame: one normalised frame of each clip, (B, H, W, C).
          state: state returned by the previous step; None: start of the stream.

        Returns:
          `(logits (B, K), state)`.

        Raises:
          ValueError: if the network is not causal.
        """
        if not self.causal:
            raise ValueError("a stream has no next frame to take channels from: build the network with causal=True")
        state = {"kept": {}, "pooling": None} if state is None else state
        maps, kept = self._run(frame[:, None], state["kept"])
        pooling = cast(StreamPooling, self.pooling)  # the mean
        vector, pooled = pooling.step(self._frames(maps)[:, 0], state["pooling"])
        assert self.head is not None, "a stream gives logits: build the network with a classifier"
        return self.head(vector[:, None]), {"kept": kept, "pooling": pooled}


@settles("temporal_pooling")
def tsm(
    num_classes: int,
    *,
    encoder: str,
    encoder_options: Mapping[str, Any] | None = None,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> TemporalShiftResNet:
    """Build a `TemporalShiftResNet`. Further arguments are its.

    Args:
      num_classes: K, number of classes.
      encoder: name of the image network, one of `vidjax.models.families.frame_networks.ENCODERS`.
      encoder_options: further arguments of the image network, see `vidjax.models.families.frame_networks.body`.
      in_channels: C, channels of the video.
      dtype: dtype of activations; None: float32.
      rngs: random streams for the initial weights.
    """
    network = body(encoder, encoder_options, in_channels=in_channels, dtype=dtype, rngs=rngs)
    return TemporalShiftResNet(num_classes, **network, **kwargs)


_PAPER = "https://arxiv.org/abs/1811.08383"

VARIANTS = {
    "tsm_r50": Variant(
        tsm,
        Spec.of_video(
            name="tsm_r50",
            num_frames=8,
            stride=8,
            size=224,
            resize=(256,),
            num_classes=400,
            paper=_PAPER,
            sources=("mmaction2", "torchvision2d"),
            published="K400 73.18 / 90.56, 10 crops (mmaction2)",
        ),
        {"encoder": "r50"},
    ),
    "tsm_effnet_lite0": Variant(
        tsm,
        efficientnet_spec("tsm_effnet_lite0", "lite0", _PAPER),
        {"encoder": "effnet_lite0", "dropout": SCALES["lite0"].dropout},
    ),
    "tsm_tiny": Variant(tsm, tiny_spec("tsm_tiny", _PAPER), {"encoder": "small", "dropout": 0.0}),
}
