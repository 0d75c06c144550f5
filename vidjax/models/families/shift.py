"""TSM: a 2D ResNet whose blocks see parts of the neighbouring frames' features, at no cost in arithmetic.

In front of the first convolution of every residual branch, one eighth of the channels comes from the next frame, one
eighth from the frame before. The causal form takes channels from the frame before only, so that it can run on a stream:
`step` takes one frame and what the blocks kept of the last one.

Paper: Lin et al., TSM: Temporal Shift Module for Efficient Video Understanding (1811.08383). Reference code: mmaction2
`models/backbones/resnet_tsm.py` and `models/heads/tsm_head.py`.
"""

from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import settles
from vidjax.models.base import Head
from vidjax.models.families.frame_networks import body
from vidjax.models.families.resnet import ResNet
from vidjax.models.heads import Drop
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.init import normal
from vidjax.nn.pooling import StreamPooling
from vidjax.nn.remat import keeping

# What a stream has gone through: per block the channels kept of the last frame, and the mean of the frames' features.
StreamState = dict[str, Any]


def temporal_shift(x: jax.Array, share: int = 8) -> jax.Array:
    """The first C // share channels of the next frame, as many of the frame before, the others of the frame itself.

    Args:
      x: (B, T, H, W, C). Beyond the ends of the clip there are zeros.
      share: one part in so many goes each way.

    Returns:
      (B, T, H, W, C).
    """
    fold = x.shape[-1] // share
    blank = jnp.zeros_like(x[:, :1, ..., :fold])
    following = jnp.concatenate([x[:, 1:, ..., :fold], blank], axis=1)
    before = jnp.concatenate([blank, x[:, :-1, ..., fold : 2 * fold]], axis=1)
    return jnp.concatenate([following, before, x[..., 2 * fold :]], axis=-1)


def causal_shift(x: jax.Array, share: int = 8, kept: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """The first C // share channels of the frame before, the others of the frame itself.

    Args:
      x: input, (B, T, H, W, C).
      share: one part in so many is shifted.
      kept: (B, 1, H, W, C // share), these channels of the frame before the first; None: zeros.

    Returns:
      (B, T, H, W, C), and what to keep for the frames that follow.
    """
    fold = x.shape[-1] // share
    moving = x[..., :fold]
    kept = jnp.zeros_like(moving[:, :1]) if kept is None else kept
    before = jnp.concatenate([kept, moving[:, :-1]], axis=1)
    return jnp.concatenate([before, x[..., fold:]], axis=-1), moving[:, -1:]


class MeanOfFrames(Head, nnx.Linear):
    """The classifier on each frame: the mean of its logits. Arguments are those of `nnx.Linear`."""

    sees: ClassVar[str] = "windows"

    def __call__(self, x: jax.Array, drop: Drop | None = None) -> jax.Array:
        """(B, T, D) → float32 (B, K)."""
        x = x if drop is None else drop(x)
        return super().__call__(x.mean(axis=1))


class TemporalShiftResNet(ResNet):
    """A 2D ResNet with temporal shifts. Every frame is classified, and the logits are averaged.

    Args:
      num_classes: K, number of classes.
      share: one part in so many of a block's channels goes each way.
      causal: take them from the frame before only.
      dropout: probability of dropping a feature of a frame before the classifier, in training mode.
      rngs: random streams for the initial weights.
      **kwargs: stem, stages and the rest, as for `ResNet`.
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
        # As in mmaction2, where blocks are many every other one shifts.
        self.every = 2 if any(len(blocks) >= 23 for blocks in self.stages) else 1
        assert isinstance(self.head, MeanOfFrames)  # as just built
        self.head.kernel.set_value(normal(rngs.params(), self.head.kernel.shape, 0.001))

    def maps(self, video: jax.Array) -> list[jax.Array]:
        """Map normalised clips (B, T, H, W, C) to the output of each stage, (B, T, H', W', C')."""
        return self._run(video, {})[0]

    def _run(self, video: jax.Array, kept: dict[str, jax.Array]) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        x, run = self.stem(video), keeping(self.remat)
        maps, keep = [], {}
        for stage, blocks in enumerate(self.stages):
            for index, block in enumerate(blocks):
                shifted = x
                if index % self.every == 0:
                    name = f"{stage}.{index}"
                    if self.causal:
                        shifted, keep[name] = causal_shift(x, self.share, kept.get(name))
                    else:
                        shifted = temporal_shift(x, self.share)
                x = run(block, x, shifted)
            maps.append(x)
        return maps, keep

    def step(self, frame: jax.Array, state: StreamState | None = None) -> tuple[jax.Array, StreamState]:
        """Process one frame of a stream, in evaluation mode: after t frames the answer is that to the clip of these t
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
    num_classes: int, *, layers: int, in_channels: int = 3, dtype: Any = None, rngs: nnx.Rngs, **kwargs: Any
) -> TemporalShiftResNet:
    """`TemporalShiftResNet` of 18, 34, 50 or 101 layers; 0: the small network. Further arguments are its."""
    network = body(layers, in_channels=in_channels, dtype=dtype, rngs=rngs)
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
        {"layers": 50},
    ),
    "tsm_tiny": Variant(tsm, tiny_spec("tsm_tiny", _PAPER), {"layers": 0, "dropout": 0.0}),
}
