"""Pooling over space-time windows, and from one vector per frame to one per clip."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from vidjax.nn.conv import Padding, pads_of, triple
from vidjax.nn.formulations import out_size
from vidjax.nn.target_backend import backend as traced_for

# Parts of the clip at each level of a temporal pyramid.
PYRAMID_LEVELS = (1, 2, 4, 8)

# Score given to masked frames. Finite rather than -inf, so that gradients stay finite.
_LOWEST = -1e30


def max_pool3d(
    x: jax.Array, window: int | Sequence[int], strides: int | Sequence[int] | None = None, padding: Padding = 0
) -> jax.Array:
    """Maximum over windows; padding never counts, as in PyTorch.

    Args:
      x: input, (B, T, H, W, C).
      window: size (kt, kh, kw), or one int.
      strides: strides along T, H, W; None: the window, so that windows do not overlap.
      padding: padding along T, H, W, as for `vidjax.nn.conv.conv3d`.

    Returns:
      (B, T', H', W', C).
    """
    window, strides, pads = _window(x, window, strides, padding)
    if traced_for() != "cpu":
        return nnx.max_pool(x, window, strides, pads)
    # XLA's CPU compiler goes through each window value by value, and for the gradient once more. Axis by axis is less
    # work. The innermost first: the first of equal values wins, in the order of memory.
    for axis in (3, 2, 1):
        size, stride, pad = window[axis - 1], strides[axis - 1], pads[axis - 1]
        if (size, stride) != (1, 1) or any(pad):
            widths = [pad if a == axis else (0, 0) for a in range(x.ndim)]
            x = _max_along(axis, size, stride, jnp.pad(x, widths, constant_values=-jnp.inf))
    return x


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _max_along(axis: int, size: int, stride: int, x: jax.Array) -> jax.Array:
    """Maximum over windows along one axis, without padding."""
    return reduce(jnp.maximum, _taps(axis, size, stride, x))


def _taps(axis: int, size: int, stride: int, x: jax.Array) -> list[jax.Array]:
    """First values of all windows, second values, and so on."""
    count = out_size(x.shape[axis], size, stride)
    return [lax.slice_in_dim(x, tap, tap + (count - 1) * stride + 1, stride, axis) for tap in range(size)]


def _max_along_forward(axis: int, size: int, stride: int, x: jax.Array):
    y = _max_along(axis, size, stride, x)
    return y, (x, y)


def _max_along_backward(axis: int, size: int, stride: int, saved: tuple[jax.Array, jax.Array], dy: jax.Array):
    x, y = saved
    length, count = x.shape[axis], y.shape[axis]
    rows = -(-length // stride)
    # Gradients at positions 0, stride, 2 · stride …, at those one further, and so on.
    phases = [jnp.zeros_like(x, shape=(*x.shape[:axis], rows, *x.shape[axis + 1 :]))] * stride
    free = jnp.ones(y.shape, bool)
    for tap, value in enumerate(_taps(axis, size, stride, x)):
        first = free & (value == y)
        free &= ~first
        later = tap // stride
        widths = [(later, rows - count - later) if a == axis else (0, 0) for a in range(x.ndim)]
        phases[tap % stride] = phases[tap % stride] + jnp.pad(jnp.where(first, dy, 0), widths)
    dx = jnp.stack(phases, axis=axis + 1).reshape(*x.shape[:axis], rows * stride, *x.shape[axis + 1 :])
    return (lax.slice_in_dim(dx, 0, length, axis=axis),)


_max_along.defvjp(_max_along_forward, _max_along_backward)


def avg_pool3d(
    x: jax.Array,
    window: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = 0,
    *,
    count_padding: bool = True,
) -> jax.Array:
    """Mean over windows.

    Args:
      x: input, (B, T, H, W, C).
      window: size (kt, kh, kw), or one int.
      strides: strides along T, H, W; None: the window.
      padding: padding along T, H, W, as for `vidjax.nn.conv.conv3d`.
      count_padding: whether the zeros of the padding count in the mean (PyTorch's default) or are left out of it.

    Returns:
      (B, T', H', W', C).
    """
    window, strides, pads = _window(x, window, strides, padding)
    return nnx.avg_pool(x, window, strides, pads, count_include_pad=count_padding)


def grid_mean(x: jax.Array, grid: int) -> jax.Array:
    """Means over the cells of a grid on each frame, which keep rough places in the picture.

    Cell i of n covers the rows (columns) from ⌊i·H/n⌋ up to ⌈(i + 1)·H/n⌉.

    Args:
      x: input, (B, T, H, W, C).
      grid: cells along height and width; 1: the mean over the whole frame.

    Returns:
      (B, T, grid²·C), row by row.
    """
    if grid == 1:
        return x.mean(axis=(2, 3))
    height, width = x.shape[2:4]
    rows = [slice(i * height // grid, -(-(i + 1) * height // grid)) for i in range(grid)]
    columns = [slice(i * width // grid, -(-(i + 1) * width // grid)) for i in range(grid)]
    return jnp.concatenate([x[:, :, row, column].mean(axis=(2, 3)) for row in rows for column in columns], axis=-1)


def temporal_mean(x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Mean over time.

    Args:
      x: vectors of the frames, (B, T, D).
      mask: boolean mask (B, T), true where a frame counts; None: all. A clip without any frame gives 0.

    Returns:
      (B, D).
    """
    if mask is None:
        return x.mean(axis=1)
    weight = mask.astype(x.dtype)[..., None]
    return jnp.where(weight > 0, x, 0).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1)


def temporal_max(x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Maximum over time, per channel. Arguments and result as for `temporal_mean`."""
    if mask is None:
        return x.max(axis=1)
    mask = mask.astype(bool)[..., None]
    best = jnp.where(mask, x, -jnp.inf).max(axis=1)
    return jnp.where(mask.any(axis=1), best, 0)


def temporal_last(x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Vector of the last frame. Arguments and result as for `temporal_mean`."""
    if mask is None:
        return x[:, -1]
    mask = mask.astype(bool)
    last = x.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
    vector = jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
    return jnp.where(mask.any(axis=1)[:, None], vector, 0)


def temporal_pyramid(x: jax.Array, mask: jax.Array | None = None, levels: Sequence[int] = PYRAMID_LEVELS) -> jax.Array:
    """Means over the parts of finer and finer divisions of the clip, side by side.

    Part i of n covers the frames from ⌊i·T/n⌋ up to ⌈(i + 1)·T/n⌉, so that clips of any length have n parts; where n
    does not divide T, neighbours share a frame.

    Args:
      x: vectors of the frames, (B, T, D).
      mask: boolean mask (B, T), true where a frame counts; None: all. The clip is divided as if others were cut out. A
        clip without any frame gives 0.
      levels: number of parts of each division.

    Returns:
      (B, sum(levels)·D), level after level, part after part.

    Source: temporal pyramid pooling (1503.01224), with means as each part's vector.
    """
    mask = jnp.ones(x.shape[:2], bool) if mask is None else mask.astype(bool)
    place = jnp.cumsum(mask, axis=1) - 1  # of each frame among those that count
    length = mask.sum(axis=1, keepdims=True)
    parts = []
    for level in levels:
        for part in range(level):
            first, end = part * length // level, -(-(part + 1) * length // level)
            parts.append(temporal_mean(x, mask & (place >= first) & (place < end)))
    return jnp.concatenate(parts, axis=-1)


# Poolings without parameters.
TEMPORAL_POOLING = {
    "mean": temporal_mean,
    "max": temporal_max,
    "last": temporal_last,
    "pyramid": temporal_pyramid,
}


class ClipPooling(Protocol):
    """Module that reduces each clip to one vector.

    Attributes:
      out_features: length of that vector.
    """

    out_features: int

    def __call__(self, x: Any, /, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map the frames of whole clips, usually vectors (B, T, D), to (B, out_features)."""
        ...


class StreamPooling(ClipPooling, Protocol):
    """Pooling that also takes a clip frame by frame."""

    def step(self, x: Any, state: Any = None, /) -> tuple[jax.Array, Any]:
        """Add one frame to the last state (None: first frame); return the vector so far, and the state."""
        ...


class TemporalPooling(StreamPooling, Protocol):
    """Result of `temporal_pooling`: a module that pools (B, T, D), with a mask (B, T) of what counts.

    Attributes:
      name: its name in `temporal_pooling`.
    """

    name: str

    def __call__(self, x: jax.Array, mask: jax.Array | None = None, /, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Pool (B, T, D) to (B, out_features), counting frames where `mask` (B, T) is true, or all."""
        ...


class PlainPooling(nnx.Module):
    """One of `TEMPORAL_POOLING` as a module, from `(B, T, D)`, mask `(B, T)` or None, to `(B, out_features)`."""

    def __init__(self, name: str, features: int):
        self.name = name
        self.out_features = features * (sum(PYRAMID_LEVELS) if name == "pyramid" else 1)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Map (B, T, D) to (B, out_features)."""
        del rngs  # nothing is random
        return TEMPORAL_POOLING[self.name](x, mask)

    def step(self, x: jax.Array, state: Any = None) -> tuple[jax.Array, Any]:
        """Add one frame (B, D) to the last state (None: first frame); return the vector so far, and the state.

        Raises:
          ValueError: for the pyramid, whose parts move as the clip grows.
        """
        if self.name == "pyramid":
            raise ValueError("the pyramid needs whole clips: for a stream choose mean, max, last, attention or netvlad")
        if self.name == "last":
            return x, ()
        if self.name == "max":
            best = x if state is None else jnp.maximum(state, x)
            return best, best
        total, count = (x, jnp.float32(1)) if state is None else (state[0] + x, state[1] + 1)
        return total / count, (total, count)


class AttentionPooling(nnx.Module):
    """Mean over time with learned weights: the softmax over frames of v·tanh(W·x + b) (additive attention, 1409.0473).

    Args:
      features: D, length of the vectors.
      hidden: number of rows of W.
      rngs: random streams for the initial weights. v starts at 0: the plain mean.
    """

    name = "attention"

    def __init__(self, features: int, hidden: int = 128, *, rngs: nnx.Rngs):
        self.out_features = features
        self.hidden = nnx.Linear(features, hidden, rngs=rngs)
        self.score = nnx.Linear(hidden, 1, use_bias=False, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)

    def scores(self, x: jax.Array) -> jax.Array:
        """Map (…, D) to (…), before the softmax."""
        return self.score(jnp.tanh(self.hidden(x)))[..., 0]

    def __call__(self, x: jax.Array, mask: jax.Array | None = None, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Pool (B, T, D) to (B, D), counting frames where `mask` (B, T) is true, or all. A clip without any frame gives
        0.
        """
        del rngs  # nothing is random
        if mask is None:
            return jnp.einsum("bt,btd->bd", jax.nn.softmax(self.scores(x), axis=1), x)
        mask = mask.astype(bool)
        x = jnp.where(mask[..., None], x, 0)
        scores = jnp.where(mask, self.scores(x), _LOWEST)
        # A clip without any frame has equal weights, of zeros only.
        return jnp.einsum("bt,btd->bd", jax.nn.softmax(scores, axis=1), x)

    def step(self, x: jax.Array, state: Any = None) -> tuple[jax.Array, Any]:
        """Add one frame (B, D) to the last state (None: first frame); return the vector so far, and the state: the
        highest score, the sum of the weights relative to it, and the weighted sum."""
        score = self.scores(x)[:, None]
        if state is None:
            return x, (score, jnp.ones_like(score), x)
        top, weights, total = state
        higher = jnp.maximum(top, score)
        old, new = jnp.exp(top - higher), jnp.exp(score - higher)
        weights, total = old * weights + new, old * total + new * x
        return total / weights, (higher, weights, total)


class NetVLAD(nnx.Module):
    """Residuals of the frames' vectors to learned centres, each frame assigned softly to the centres.

    For centre c_k: V_k = Σ_t a_k(x_t)·(x_t - c_k), where a(x) is the softmax of a linear layer. Every V_k is scaled to
    length 1 (intra-normalisation), then all of them together.

    It starts without k-means: the centres are random vectors of length 1, and the shares the softmax over
    2·α·c_k·x - α·‖c_k‖² with α = √D, which makes them neither equal nor all or nothing. Vectors are first scaled to
    length 1, so that this holds for all.

    Args:
      features: D, length of the vectors.
      clusters: K, number of centres.
      rngs: random streams for the initial weights.

    Source: NetVLAD (1511.07247), sections 3.1 and 5.1.
    """

    name = "netvlad"

    def __init__(self, features: int, clusters: int = 8, *, rngs: nnx.Rngs):
        self.out_features = clusters * features
        alpha = features**0.5
        centres = jax.random.normal(rngs.params(), (clusters, features))
        centres = _unit(centres)
        self.centres = nnx.Param(centres)
        self.assign = nnx.Linear(features, clusters, rngs=rngs)
        self.assign.kernel.set_value(2 * alpha * centres.T)
        assert self.assign.bias is not None  # layers have one by default
        self.assign.bias.set_value(-alpha * (centres**2).sum(axis=1))

    def residuals(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Map (B, T, D), mask (B, T) or None, to V (B, K, D), before normalisation."""
        x = _unit(x if mask is None else jnp.where(mask.astype(bool)[..., None], x, 0))
        shares = jax.nn.softmax(self.assign(x), axis=-1)
        shares = shares if mask is None else shares * mask.astype(x.dtype)[..., None]
        return jnp.einsum("btk,btd->bkd", shares, x) - shares.sum(axis=1)[..., None] * self.centres[...][None]

    def normalised(self, residuals: jax.Array) -> jax.Array:
        """Map (B, K, D) to (B, K·D), each centre's part scaled to length 1, then all."""
        return _unit(_unit(residuals).reshape(residuals.shape[0], -1))

    def __call__(self, x: jax.Array, mask: jax.Array | None = None, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Pool (B, T, D) to (B, K·D), counting frames where `mask` (B, T) is true, or all. A clip without any frame
        gives 0.
        """
        del rngs  # nothing is random
        return self.normalised(self.residuals(x, mask))

    def step(self, x: jax.Array, state: Any = None) -> tuple[jax.Array, Any]:
        """Add one frame (B, D) to the last state (None: first frame); return the vector so far, and V."""
        residuals = self.residuals(x[:, None])
        residuals = residuals if state is None else state + residuals
        return self.normalised(residuals), residuals


def temporal_pooling(name: str, features: int, *, rngs: nnx.Rngs) -> TemporalPooling:
    """Pooling module by name: `pooling(x, mask=None)` maps (B, T, D) to (B, `pooling.out_features`).

    Args:
      name: kind of pooling, "mean", "max", "last", "pyramid" (no parameters), "attention" or "netvlad".
      features: D, length of the vectors.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: for any other name.
    """
    if name in TEMPORAL_POOLING:
        return PlainPooling(name, features)
    learned = {"attention": AttentionPooling, "netvlad": NetVLAD}
    if name not in learned:
        known = ", ".join((*TEMPORAL_POOLING, *learned))
        raise ValueError(f"temporal_pooling = {name!r}: must be one of {known}")
    return learned[name](features, rngs=rngs)


def _unit(x: jax.Array) -> jax.Array:
    """Scale to length 1 along the last axis; 0 stays 0, with gradient 0."""
    squares = (x**2).sum(axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))


def _window(x: jax.Array, window: int | Sequence[int], strides: int | Sequence[int] | None, padding: Padding):
    window = triple(window, "window")
    strides = window if strides is None else triple(strides, "strides")
    return window, strides, pads_of(padding, x.shape[1:4], window, strides)
