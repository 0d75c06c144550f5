"""Recurrent networks over a 2D ResNet: LSTM or GRU over the frames' features, or over their maps.

- cnn_lstm, cnn_gru: the frames' vectors go through dense recurrent layers, and a pooling makes one of their outputs.
  Paper: Donahue et al., Long-term Recurrent Convolutional Networks (1411.4389), which averages over frames.
- rcn_gru, rcn_lstm: the maps of the last three stages go through a convolutional cell each; the classifier sees the
  spatial means of the last states. Paper: Ballas et al., Delving Deeper into Convolutional Networks for Learning Video
  Representations (1511.06432), GRU-RCN, whose sum of a classifier per level is one classifier here; with
  `stacked=True` its Stacked GRU-RCN.

Every network also takes a stream: `step` maps one frame and the state to logits and the state, and after t frames its
answer is that to the clip of these t frames.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import settles
from vidjax.models.base import Features
from vidjax.models.families.frame_networks import body
from vidjax.models.families.resnet import ResNet
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.pooling import max_pool3d
from vidjax.nn.pooling import temporal_pooling as make_temporal_pooling
from vidjax.nn.recurrent import CONV_CELLS, Recurrent, cell_of, unroll


class RecurrentPooling(nnx.Module):
    """Recurrent layers over the frames' vectors, and a pooling of their outputs: `(B, T, D)` → `(B, out_features)`.

    Args:
      features: D.
      cell: "lstm" or "gru".
      hidden: width of a layer.
      layers: how many.
      bidirectional: run them in both directions.
      dropout: between layers, in training mode.
      pooling: a name that `vidjax.nn.pooling.temporal_pooling` knows. "last" takes each direction's own last output.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        features: int,
        *,
        cell: str,
        hidden: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
        pooling: str,
        rngs: nnx.Rngs,
    ):
        self.rnn = Recurrent(
            cell, features, hidden, layers=layers, bidirectional=bidirectional, dropout=dropout, rngs=rngs
        )
        self.pool = make_temporal_pooling(pooling, self.rnn.out_features, rngs=rngs)
        self.out_features = self.pool.out_features

    def __call__(self, x: jax.Array, mask: jax.Array | None = None, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Pool (B, T, D) to (B, out_features), counting frames where `mask` (B, T) is true, or all."""
        outputs, last = self.rnn(x, mask, rngs)
        return last if self.pool.name == "last" else self.pool(outputs, mask)

    def step(self, x: jax.Array, state: Any = None) -> tuple[jax.Array, Any]:
        """One frame (B, D) and the state → the vector so far (B, out_features), and the state."""
        rnn, pool = (None, None) if state is None else state
        output, rnn = self.rnn.step(x, rnn)
        vector, pool = self.pool.step(output, pool)
        return vector, (rnn, pool)


class RecurrentResNet(ResNet):
    """A 2D ResNet with recurrent layers over its frames' features."""

    def step(self, frame: jax.Array, state: Any = None) -> tuple[jax.Array, Any]:
        """Process one frame of a stream, in evaluation mode.

        Args:
          frame: one normalised frame of each clip, (B, H, W, C).
          state: state returned by the previous step; None: start of the stream.

        Returns:
          `(logits (B, K), state)`.

        Raises:
          ValueError: if the layers run in both directions, or for a pooling that needs the whole clip.
        """
        vector, state = cast(RecurrentPooling, self.pooling).step(self.frames(frame[:, None])[:, 0], state)
        assert self.head is not None, "a stream gives logits: build the network with a classifier"
        return self.head(vector), state


def cnn_rnn(
    num_classes: int,
    *,
    layers: int,
    cell: str,
    hidden: int = 512,
    recurrent_layers: int = 1,
    bidirectional: bool = False,
    recurrent_dropout: float = 0.0,
    temporal_pooling: str = "mean",
    dropout: float = 0.5,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> RecurrentResNet:
    """A 2D ResNet, recurrent layers over its frames, and a pooling. Further arguments are those of `ResNet`.

    Args:
      num_classes: K, number of classes.
      layers: of the ResNet: 18, 34, 50 or 101; 0: the small network.
      cell: "lstm" or "gru".
      hidden: width of a recurrent layer.
      recurrent_layers: how many of them.
      bidirectional: run them in both directions.
      recurrent_dropout: probability of dropping an output between recurrent layers, in training mode.
      temporal_pooling: of the last layer's outputs: "mean", "max", "last", "attention", "netvlad" or "pyramid".
      dropout: probability of dropping a feature before the classifier, in training mode.
      in_channels: C, channels of the video.
      dtype: dtype of the ResNet's activations; None: float32. The recurrence is float32.
      rngs: random streams for the initial weights.
    """
    pooling = partial(
        RecurrentPooling,
        cell=cell,
        hidden=hidden,
        layers=recurrent_layers,
        bidirectional=bidirectional,
        dropout=recurrent_dropout,
        pooling=temporal_pooling,
    )
    network = body(layers, in_channels=in_channels, dtype=dtype, rngs=rngs)
    return RecurrentResNet(num_classes, **network, temporal_pooling=pooling, dropout=dropout, **kwargs)


class MapRecurrence(nnx.Module):
    """A convolutional cell for each of several maps, `[(B, T, H', W', C')]` → the spatial means of their last states.

    Args:
      widths: channels of the maps.
      hidden: channels of the states.
      cell: "lstm" or "gru".
      kernel_size: of the cells' convolutions.
      stacked: each cell but the first also sees the state of the one before, pooled to its map's size: motion can then
        be put together from motions of parts.
      dtype: dtype of the convolutions.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self,
        widths: Sequence[int],
        hidden: Sequence[int],
        *,
        cell: str,
        kernel_size: int,
        stacked: bool = False,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        kind = cell_of(cell, CONV_CELLS)
        below = [0, *(hidden[:-1] if stacked else [0] * (len(hidden) - 1))]
        self.cells = nnx.List(
            [
                kind(width + extra, features, kernel_size, dtype=dtype, rngs=rngs)
                for width, extra, features in zip(widths, below, hidden, strict=True)
            ]
        )
        self.stacked, self.out_features = stacked, sum(hidden)

    def __call__(self, maps: Sequence[jax.Array], rngs: nnx.Rngs | None = None) -> jax.Array:
        """The maps → (B, sum(hidden)) float32."""
        del rngs  # nothing is random
        states, outputs = [], None
        for cell, x in zip(self.cells, maps, strict=True):
            outputs, state = unroll(cell, self._with_states(x, outputs))
            states.append(state)
        return jnp.concatenate([state[0].mean(axis=(1, 2)) for state in states], axis=-1)

    def step(self, maps: Sequence[jax.Array], state: Any = None) -> tuple[jax.Array, Any]:
        """The maps of one frame, T = 1, and the state → (B, sum(hidden)), and the state."""
        states = []
        for index, (cell, x) in enumerate(zip(self.cells, maps, strict=True)):
            projected = cell.project(self._with_states(x, states[-1][0][:, None] if states else None))[:, 0]
            states.append(cell(projected, cell.start(projected) if state is None else state[index]))
        return jnp.concatenate([s[0].mean(axis=(1, 2)) for s in states], axis=-1), tuple(states)

    def _with_states(self, x: jax.Array, below: jax.Array | None) -> jax.Array:
        """A map (B, T, H, W, C) and beside it, if cells are stacked, the states (B, T, H', W', F) of the cell below."""
        if below is None or not self.stacked:
            return x
        while below.shape[2:4] != x.shape[2:4]:  # a ResNet's stages halve the picture, rounding up
            below = max_pool3d(below, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        return jnp.concatenate([x, below], axis=-1)


class RecurrentConvNet(ResNet):
    """A 2D ResNet with a convolutional cell over the maps of each of its last stages.

    Args:
      num_classes: K, number of classes.
      hidden: channels of the states, of as many of the last stages.
      cell: "gru" or "lstm".
      kernel_size: of the cells' convolutions.
      stacked: see `MapRecurrence`.
      dtype: dtype of activations; None: float32. States are float32.
      rngs: random streams for the initial weights.
      **kwargs: stem, stages and the rest, as for `ResNet` but `temporal_pooling` and `grid`.

    Raises:
      ValueError: if there are fewer stages than `hidden` has entries.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        hidden: Sequence[int] = (64, 128, 256),
        cell: str = "gru",
        kernel_size: int = 3,
        stacked: bool = False,
        dtype: Any = None,
        rngs: nnx.Rngs,
        **kwargs: Any,
    ):
        stages, expansion = kwargs["stages"], kwargs["block"].expansion if "block" in kwargs else 1
        if not 0 < len(hidden) <= len(stages):
            raise ValueError(f"hidden = {tuple(hidden)}: give a width for each of the last 1 to {len(stages)} stages")
        widths = [stage.features * expansion for stage in stages[-len(hidden) :]]

        def pooling(features: int, *, rngs: nnx.Rngs) -> MapRecurrence:
            del features  # of the last stage alone
            return MapRecurrence(
                widths, hidden, cell=cell, kernel_size=kernel_size, stacked=stacked, dtype=dtype, rngs=rngs
            )

        super().__init__(num_classes, temporal_pooling=pooling, grid=1, dtype=dtype, rngs=rngs, **kwargs)
        self.levels = len(hidden)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None) -> Features:
        """Encode normalised clips (B, T, H, W, C) as features; their tokens are the places of the last stage's map."""
        del rngs  # nothing random comes before the classifier
        maps = self.maps(video)
        return Features.of_maps(self.by_stride(maps), self.pooling(maps[-self.levels :]))

    def step(self, frame: jax.Array, state: Any = None) -> tuple[jax.Array, Any]:
        """Process one frame of a stream, in evaluation mode.

        Args:
          frame: one normalised frame of each clip, (B, H, W, C).
          state: state returned by the previous step; None: start of the stream.

        Returns:
          `(logits (B, K), state)`.
        """
        vector, state = cast(MapRecurrence, self.pooling).step(self.maps(frame[:, None])[-self.levels :], state)
        assert self.head is not None, "a stream gives logits: build the network with a classifier"
        return self.head(vector), state


@settles("temporal_pooling", "grid")
def rcn(
    num_classes: int,
    *,
    layers: int,
    dropout: float = 0.5,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> RecurrentConvNet:
    """`RecurrentConvNet` of 18, 34, 50 or 101 layers; 0: the small network. Further arguments are its."""
    network = body(layers, in_channels=in_channels, dtype=dtype, rngs=rngs)
    return RecurrentConvNet(num_classes, **network, dropout=dropout, **kwargs)


_LRCN = "https://arxiv.org/abs/1411.4389"
_RCN = "https://arxiv.org/abs/1511.06432"


def _spec(name: str, paper: str) -> Spec:
    return Spec.of_video(
        name=name,
        num_frames=16,
        stride=4,
        size=224,
        resize=(256,),
        num_classes=400,
        paper=paper,
        sources=("torchvision2d",),
    )


VARIANTS = {
    **{
        f"cnn_{cell}_r{layers}": Variant(
            cnn_rnn, _spec(f"cnn_{cell}_r{layers}", _LRCN), {"layers": layers, "cell": cell}
        )
        for cell in ("lstm", "gru")
        for layers in (18, 50)
    },
    **{
        f"rcn_{cell}_r18": Variant(rcn, _spec(f"rcn_{cell}_r18", _RCN), {"layers": 18, "cell": cell})
        for cell in ("gru", "lstm")
    },
    **{
        f"cnn_{cell}_tiny": Variant(
            cnn_rnn,
            tiny_spec(f"cnn_{cell}_tiny", _LRCN),
            # The small pictures' maps are 4×4; one mean over them would hide where things are.
            {"layers": 0, "cell": cell, "hidden": 64, "grid": 4, "dropout": 0.0},
        )
        for cell in ("lstm", "gru")
    },
    "rcn_gru_tiny": Variant(
        rcn,
        tiny_spec("rcn_gru_tiny", _RCN),
        {"layers": 0, "cell": "gru", "hidden": (16, 16, 32), "stacked": True, "dropout": 0.0},
    ),
}
