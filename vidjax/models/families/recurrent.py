"""Recurrent networks over a 2D network: LSTM or GRU over the frames' features, or over their maps.

- cnn_lstm, cnn_gru: the frames' vectors go through dense recurrent layers, and their outputs are pooled into one.
  Paper: Donahue et al., Long-term Recurrent Convolutional Networks (1411.4389), which averages over frames.
- rcn_gru, rcn_lstm: the maps of the last three stages go through a convolutional cell each; the classifier reads the
  spatial means of the last states. Paper: Ballas et al., Delving Deeper into Convolutional Networks for Learning Video
  Representations (1511.06432), GRU-RCN, with a single classifier in place of its sum of one per level; with
  `stacked=True` its Stacked GRU-RCN.

Every network also processes streams: `step` maps one frame and the state to logits and the next state; after t frames
its logits are those of the clip of these t frames.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.config import Spec
from vidjax.models.arguments import settles
from vidjax.models.base import Between, Features, unchanged
from vidjax.models.families.efficientnet import efficientnet_spec
from vidjax.models.families.frame_networks import body
from vidjax.models.families.resnet import ResNet
from vidjax.models.registry import Variant, tiny_spec
from vidjax.nn.pooling import max_pool3d
from vidjax.nn.pooling import temporal_pooling as make_temporal_pooling
from vidjax.nn.recurrent import CONV_CELLS, Recurrent, cell_of, unroll


class RecurrentPooling(nnx.Module):
    """Recurrent layers over the frames' vectors, and a pooling of their outputs: `(B, T, D)` → `(B, out_features)`.

    Args:
      features: D, width of a frame's vector.
      cell: kind of cell, "lstm" or "gru".
      hidden: width of a layer.
      layers: number of layers.
      bidirectional: whether the layers run in both directions.
      dropout: dropout probability between layers, in training mode.
      pooling: pooling of the outputs, see `vidjax.nn.pooling.temporal_pooling`. "last" takes each direction's own last
        output.
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
        """Map one frame (B, D) and the state to the pooled vectors so far, (B, out_features), and the next state."""
        rnn, pool = (None, None) if state is None else state
        output, rnn = self.rnn.step(x, rnn)
        vector, pool = self.pool.step(output, pool)
        return vector, (rnn, pool)


class RecurrentResNet(ResNet):
    """2D ResNet with recurrent layers over its frames' features."""

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
    encoder: str,
    cell: str,
    encoder_options: Mapping[str, Any] | None = None,
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
    """Build a 2D network with recurrent layers over its frames. Further arguments are those of `ResNet`.

    Args:
      num_classes: K, number of classes.
      encoder: name of the image network, one of `vidjax.models.families.frame_networks.ENCODERS`.
      cell: kind of cell, "lstm" or "gru".
      encoder_options: further arguments of the image network, see `vidjax.models.families.frame_networks.body`.
      hidden: width of a recurrent layer.
      recurrent_layers: number of recurrent layers.
      bidirectional: whether the recurrent layers run in both directions.
      recurrent_dropout: probability of dropping an output between recurrent layers, in training mode.
      temporal_pooling: pooling of the last layer's outputs: "mean", "max", "last", "attention", "netvlad" or "pyramid".
      dropout: probability of dropping a feature before the classifier, in training mode.
      in_channels: C, channels of the video.
      dtype: dtype of the image network's activations; None: float32. The recurrence is float32.
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
    network = body(encoder, encoder_options, in_channels=in_channels, dtype=dtype, rngs=rngs)
    return RecurrentResNet(num_classes, **network, temporal_pooling=pooling, dropout=dropout, **kwargs)


class MapRecurrence(nnx.Module):
    """Convolutional cells over several maps: `[(B, T, H', W', C')]` → the spatial means of the last states.

    Args:
      widths: channels of the maps.
      hidden: channels of the states.
      cell: kind of cell, "lstm" or "gru".
      kernel_size: kernel size of the cells' convolutions.
      stacked: whether each cell but the first also reads the state of the one before, pooled to its map's size, so that
        motion can be composed of motions of parts.
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
        """Map the feature maps to (B, sum(hidden)) float32."""
        del rngs  # nothing is random
        states, outputs = [], None
        for cell, x in zip(self.cells, maps, strict=True):
            outputs, state = unroll(cell, self._with_states(x, outputs))
            states.append(state)
        return jnp.concatenate([state[0].mean(axis=(1, 2)) for state in states], axis=-1)

    def step(self, maps: Sequence[jax.Array], state: Any = None) -> tuple[jax.Array, Any]:
        """Map the feature maps of one frame, T = 1, and the state to (B, sum(hidden)) and the next state."""
        states = []
        for index, (cell, x) in enumerate(zip(self.cells, maps, strict=True)):
            projected = cell.project(self._with_states(x, states[-1][0][:, None] if states else None))[:, 0]
            states.append(cell(projected, cell.start(projected) if state is None else state[index]))
        return jnp.concatenate([s[0].mean(axis=(1, 2)) for s in states], axis=-1), tuple(states)

    def _with_states(self, x: jax.Array, below: jax.Array | None) -> jax.Array:
        """Concatenate a map (B, T, H, W, C) and, if cells are stacked, states (B, T, H', W', F) of the cell below."""
        if below is None or not self.stacked:
            return x
        while below.shape[2:4] != x.shape[2:4]:  # a ResNet's stages halve the picture, rounding up
            below = max_pool3d(below, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        return jnp.concatenate([x, below], axis=-1)


class RecurrentConvNet(ResNet):
    """2D ResNet with a convolutional cell over the maps of each of its last stages.

    Args:
      num_classes: K, number of classes.
      hidden: channels of the states, an entry for each of the last stages.
      cell: kind of cell, "gru" or "lstm".
      kernel_size: kernel size of the cells' convolutions.
      stacked: whether the cells are stacked, see `MapRecurrence`.
      dtype: dtype of activations; None: float32. States are float32.
      rngs: random streams for the initial weights.
      **kwargs: stem, stages and other arguments of `ResNet`, except `temporal_pooling` and `grid`.

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
            del features  # of the last stage only
            return MapRecurrence(
                widths, hidden, cell=cell, kernel_size=kernel_size, stacked=stacked, dtype=dtype, rngs=rngs
            )

        super().__init__(num_classes, temporal_pooling=pooling, grid=1, dtype=dtype, rngs=rngs, **kwargs)
        self.levels = len(hidden)

    def encode(self, video: jax.Array, rngs: nnx.Rngs | None = None, between: Between = unchanged) -> Features:
        """Encode clips as `ResNet` does."""
        del rngs  # nothing random comes before the classifier
        maps = self.maps(video, between)
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
    encoder: str,
    encoder_options: Mapping[str, Any] | None = None,
    dropout: float = 0.5,
    in_channels: int = 3,
    dtype: Any = None,
    rngs: nnx.Rngs,
    **kwargs: Any,
) -> RecurrentConvNet:
    """Build a `RecurrentConvNet`. Further arguments are its.

    Args:
      num_classes: K, number of classes.
      encoder: name of the image network, one of `vidjax.models.families.frame_networks.ENCODERS`.
      encoder_options: further arguments of the image network, see `vidjax.models.families.frame_networks.body`.
      dropout: probability of dropping a feature before the classifier, in training mode.
      in_channels: C, channels of the video.
      dtype: dtype of activations; None: float32. States are float32.
      rngs: random streams for the initial weights.
    """
    network = body(encoder, encoder_options, in_channels=in_channels, dtype=dtype, rngs=rngs)
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
            cnn_rnn, _spec(f"cnn_{cell}_r{layers}", _LRCN), {"encoder": f"r{layers}", "cell": cell}
        )
        for cell in ("lstm", "gru")
        for layers in (18, 50)
    },
    **{
        f"cnn_{cell}_effnet_lite0": Variant(
            cnn_rnn,
            efficientnet_spec(f"cnn_{cell}_effnet_lite0", "lite0", _LRCN, num_frames=16, stride=4),
            {"encoder": "effnet_lite0", "cell": cell},
        )
        for cell in ("lstm", "gru")
    },
    **{
        f"rcn_{cell}_r18": Variant(rcn, _spec(f"rcn_{cell}_r18", _RCN), {"encoder": "r18", "cell": cell})
        for cell in ("gru", "lstm")
    },
    **{
        f"cnn_{cell}_tiny": Variant(
            cnn_rnn,
            tiny_spec(f"cnn_{cell}_tiny", _LRCN),
            # The small pictures' maps are 4×4; one mean over them would lose the positions.
            {"encoder": "small", "cell": cell, "hidden": 64, "grid": 4, "dropout": 0.0},
        )
        for cell in ("lstm", "gru")
    },
    "rcn_gru_tiny": Variant(
        rcn,
        tiny_spec("rcn_gru_tiny", _RCN),
        {"encoder": "small", "cell": "gru", "hidden": (16, 16, 32), "stacked": True, "dropout": 0.0},
    ),
}
