"""Recurrence over frames: LSTM and GRU cells, dense and convolutional, and layers of them.

Every cell works in two parts. `project` computes the inputs' part of the gates, for all frames at once in one product
or one batched convolution; a call of the cell takes one frame's part and the state. So a clip costs one large product
and T small ones, and a stream can be fed frame by frame.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from vidjax.nn.conv import Conv3D
from vidjax.nn.init import normal
from vidjax.nn.target_backend import backend

# State of a cell between frames; its output comes first.
State = tuple[jax.Array, ...]

_ORTHOGONAL = nnx.initializers.orthogonal()


def _fan_in(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    """Normal kernel that keeps the inputs' variance."""
    return normal(key, shape, math.prod(shape[:-1]) ** -0.5).astype(dtype)


class Cell(Protocol):
    """Recurrent cell: the inputs' part for all frames at once, then frame by frame."""

    def project(self, x: jax.Array) -> jax.Array:
        """Compute the inputs' part of the gates."""
        ...

    def start(self, projected: jax.Array) -> State:
        """Initial state, for one frame's `projected`."""
        ...

    def __call__(self, projected: jax.Array, state: State) -> State:
        """Map one frame's `projected` and the state to the next state."""
        ...


class LSTMCell(nnx.Module):
    """Long short-term memory: gates i, f, g, o in PyTorch's order; f starts with bias 1, so that the cell remembers.

    Args:
      in_features: I, input features.
      features: F, features of the state.
      rngs: random streams for the initial weights; hidden kernels start orthogonal.

    Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000). PyTorch's two biases are
    summed here.
    """

    def __init__(self, in_features: int, features: int, *, rngs: nnx.Rngs):
        self.features = features
        self.input = nnx.Linear(in_features, 4 * features, kernel_init=_fan_in, rngs=rngs)
        self.hidden = nnx.Linear(features, 4 * features, use_bias=False, kernel_init=_ORTHOGONAL, rngs=rngs)
        assert self.input.bias is not None  # as built above
        self.input.bias.set_value(_forget_bias(features))

    def project(self, x: jax.Array) -> jax.Array:
        """Map (…, I) to (…, 4·F)."""
        return self.input(x)

    def start(self, projected: jax.Array) -> State:
        """Initial state, zeros, for one frame's `projected` (B, 4·F)."""
        zeros = jnp.zeros_like(projected[..., : self.features])
        return zeros, zeros

    def __call__(self, projected: jax.Array, state: State) -> State:
        """Map (B, 4·F) of one frame and (h, c) to (h, c), (B, F) each."""
        h, c = state
        return _lstm(projected + self.hidden(h), c)


class GRUCell(nnx.Module):
    """Gated recurrent unit: gates r, z, n, exactly PyTorch's, with both biases.

    Args:
      in_features: I, input features.
      features: F, features of the state.
      rngs: random streams for the initial weights; hidden kernels start orthogonal.

    Source: Cho et al. (1406.1078), in the form of `torch.nn.GRU`: r gates the hidden part of n after its product.
    """

    def __init__(self, in_features: int, features: int, *, rngs: nnx.Rngs):
        self.features = features
        self.input = nnx.Linear(in_features, 3 * features, kernel_init=_fan_in, rngs=rngs)
        self.hidden = nnx.Linear(features, 3 * features, kernel_init=_ORTHOGONAL, rngs=rngs)

    def project(self, x: jax.Array) -> jax.Array:
        """Map (…, I) to (…, 3·F)."""
        return self.input(x)

    def start(self, projected: jax.Array) -> State:
        """Initial state, zeros, for one frame's `projected` (B, 3·F)."""
        return (jnp.zeros_like(projected[..., : self.features]),)

    def __call__(self, projected: jax.Array, state: State) -> State:
        """Map (B, 3·F) of one frame and (h,) to (h,), (B, F)."""
        (h,) = state
        xr, xz, xn = jnp.split(projected, 3, axis=-1)
        hr, hz, hn = jnp.split(self.hidden(h), 3, axis=-1)
        n = jnp.tanh(xn + nnx.sigmoid(xr + hr) * hn)
        z = nnx.sigmoid(xz + hz)
        return ((1 - z) * n + z * h,)


class ConvLSTMCell(nnx.Module):
    """LSTM with convolutions for products, over maps (B, H, W, C); gates i, f, g, o, without peepholes.

    Args:
      in_features: I, channels of the input.
      features: F, channels of the state.
      kernel_size: k of the k×k convolutions, odd.
      dtype: dtype of the convolutions; None: float32. The state is float32.
      rngs: random streams for the initial weights.

    Source: Shi et al., Convolutional LSTM Network (1506.04214). Its peepholes, one weight per pixel, would tie the cell
    to one picture size.
    """

    def __init__(self, in_features: int, features: int, kernel_size: int = 3, *, dtype: Any = None, rngs: nnx.Rngs):
        self.features = features
        self.input = _conv(in_features, 4 * features, kernel_size, bias=True, dtype=dtype, rngs=rngs)
        self.hidden = _conv(features, 4 * features, kernel_size, dtype=dtype, rngs=rngs)
        assert self.input.bias is not None  # as built above
        self.input.bias.set_value(_forget_bias(features))

    def project(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, I) to (B, T, H, W, 4·F) float32."""
        return self.input(x).astype(jnp.float32)

    def start(self, projected: jax.Array) -> State:
        """Initial state, zeros, for one frame's `projected` (B, H, W, 4·F)."""
        zeros = jnp.zeros_like(projected[..., : self.features])
        return zeros, zeros

    def __call__(self, projected: jax.Array, state: State) -> State:
        """Map (B, H, W, 4·F) of one frame and (h, c) to (h, c), (B, H, W, F) each."""
        h, c = state
        return _lstm(projected + _of_frame(self.hidden, h), c)


class ConvGRUCell(nnx.Module):
    """GRU with convolutions for products, over maps (B, H, W, C); gates r, z, n.

    Args:
      in_features: I, channels of the input.
      features: F, channels of the state.
      kernel_size: k of the k×k convolutions, odd.
      dtype: dtype of the convolutions; None: float32. The state is float32.
      rngs: random streams for the initial weights.

    Source: Ballas et al., Delving Deeper into Convolutional Networks for Learning Video Representations (1511.06432),
    equations 4 to 7: r gates the state before the convolution.
    """

    def __init__(self, in_features: int, features: int, kernel_size: int = 3, *, dtype: Any = None, rngs: nnx.Rngs):
        self.features = features
        self.input = _conv(in_features, 3 * features, kernel_size, bias=True, dtype=dtype, rngs=rngs)
        self.gates = _conv(features, 2 * features, kernel_size, dtype=dtype, rngs=rngs)
        self.candidate = _conv(features, features, kernel_size, dtype=dtype, rngs=rngs)

    def project(self, x: jax.Array) -> jax.Array:
        """Map (B, T, H, W, I) to (B, T, H, W, 3·F) float32."""
        return self.input(x).astype(jnp.float32)

    def start(self, projected: jax.Array) -> State:
        """Initial state, zeros, for one frame's `projected` (B, H, W, 3·F)."""
        return (jnp.zeros_like(projected[..., : self.features]),)

    def __call__(self, projected: jax.Array, state: State) -> State:
        """Map (B, H, W, 3·F) of one frame and (h,) to (h,), (B, H, W, F)."""
        (h,) = state
        xr, xz, xn = jnp.split(projected, 3, axis=-1)
        hr, hz = jnp.split(_of_frame(self.gates, h), 2, axis=-1)
        n = jnp.tanh(xn + _of_frame(self.candidate, nnx.sigmoid(xr + hr) * h))
        z = nnx.sigmoid(xz + hz)
        return ((1 - z) * h + z * n,)


CELLS = {"lstm": LSTMCell, "gru": GRUCell}
CONV_CELLS = {"lstm": ConvLSTMCell, "gru": ConvGRUCell}


def unroll(
    cell: Cell, x: jax.Array, state: State | None = None, mask: jax.Array | None = None, *, reverse: bool = False
) -> tuple[jax.Array, State]:
    """Run a cell over all frames of a clip.

    Args:
      cell: recurrent cell, such as `LSTMCell`.
      x: input, (B, T, …, I).
      state: initial state; None: zeros.
      mask: boolean mask (B, T), true where a frame counts; others leave the state unchanged. None: all count.
      reverse: whether to run from the last frame to the first.

    Returns:
      Outputs (B, T, …, F), and the state after the last frame (in reverse: after the first).
    """
    projected = cell.project(x)
    state = cell.start(projected[:, 0]) if state is None else state
    mask = jnp.ones(x.shape[:2], bool) if mask is None else mask.astype(bool)

    def step(state: State, inputs: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
        frame, counts = inputs
        counts = counts.reshape(-1, *(1,) * (frame.ndim - 1))
        new = jax.tree.map(lambda new, old: jnp.where(counts, new, old), cell(frame, state), state)
        return new, new[0]

    # XLA's CPU library does not run the convolutions inside a loop.
    loose = x.ndim > 3 and backend() == "cpu"
    state, outputs = jax.lax.scan(
        step, state, (jnp.moveaxis(projected, 1, 0), mask.T), reverse=reverse, unroll=x.shape[1] if loose else 1
    )
    return jnp.moveaxis(outputs, 0, 1), state


class Recurrent(nnx.Module):
    """Stacked layers of dense cells, `(B, T, I)` to `(B, T, F)`, or `(B, T, 2·F)` in both directions.

    Args:
      cell: kind of cell, "lstm" or "gru".
      in_features: I, input features.
      features: F, features of every layer and direction.
      layers: number of layers.
      bidirectional: whether layers also run from the last frame to the first; outputs side by side.
      dropout: probability of dropping an output of a layer before the next layer, in training mode.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: for any other `cell`, or fewer than one layer.
    """

    def __init__(
        self,
        cell: str,
        in_features: int,
        features: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        kind = cell_of(cell, CELLS)
        if layers < 1:
            raise ValueError(f"layers = {layers}: must be 1 or more")
        directions = 2 if bidirectional else 1
        self.cells = nnx.List()
        for layer in range(layers):
            width = in_features if layer == 0 else features * directions
            self.cells.append(nnx.List([kind(width, features, rngs=rngs) for _ in range(directions)]))
        self.dropout = nnx.Dropout(dropout)
        self.out_features = features * directions

    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, rngs: nnx.Rngs | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map (B, T, I), mask (B, T) or None, to the last layer's outputs (B, T, F'), and its final ones in each
        direction's order (B, F'), which cover the whole clip."""
        runs: list[tuple[jax.Array, State]] = []
        for index, cells in enumerate(self.cells):
            x = self.dropout(x, rngs=rngs) if index else x
            runs = [unroll(cell, x, mask=mask, reverse=bool(way)) for way, cell in enumerate(cells)]
            x = jnp.concatenate([outputs for outputs, _ in runs], axis=-1)
        return x, jnp.concatenate([state[0] for _, state in runs], axis=-1)

    def step(self, x: jax.Array, state: tuple[State, ...] | None = None) -> tuple[jax.Array, tuple[State, ...]]:
        """Add one frame (B, I), in evaluation mode, to the last state (None: first frame); return the output (B, F)
        and the state.

        Raises:
          ValueError: if the layers run in both directions.
        """
        if any(len(cells) > 1 for cells in self.cells):
            raise ValueError("a stream cannot run backwards: build the network with bidirectional=False")
        states = []
        for index, (cell,) in enumerate(self.cells):
            projected = cell.project(x)
            states.append(cell(projected, cell.start(projected) if state is None else state[index]))
            x = states[-1][0]
        return x, tuple(states)


def cell_of(name: str, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """Look up a kind of cell by name.

    Raises:
      ValueError: for a name that is not among `known`.
    """
    if name not in known:
        raise ValueError(f"cell = {name!r}: must be one of {', '.join(known)}")
    return known[name]


def _lstm(gates: jax.Array, c: jax.Array) -> State:
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = nnx.sigmoid(f) * c + nnx.sigmoid(i) * jnp.tanh(g)
    return nnx.sigmoid(o) * jnp.tanh(c), c


def _forget_bias(features: int) -> jax.Array:
    return jnp.zeros(4 * features).at[features : 2 * features].set(1.0)


def _conv(in_features: int, out_features: int, size: int, *, bias: bool = False, **kwargs: Any) -> Conv3D:
    padding = (0, size // 2, size // 2)
    return Conv3D(in_features, out_features, (1, size, size), 1, padding, use_bias=bias, kernel_init=_fan_in, **kwargs)


def _of_frame(conv: Conv3D, x: jax.Array) -> jax.Array:
    """Convolve one frame's maps, (B, H, W, I) to (B, H, W, O) float32."""
    return conv(x[:, None])[:, 0].astype(jnp.float32)
