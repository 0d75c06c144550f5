"""TV-L1 optical flow on the device: the motion that keeps grey values, of least total variation.

Papers: Zach et al., A Duality Based Approach for Realtime TV-L1 Optical Flow (2007); Sánchez Pérez et al., TV-L1
Optical Flow Estimation (IPOL 2013), whose names are used. Reference code: OpenCV's `DualTVL1OpticalFlow`, whose
defaults these are: it filters the flow by medians, and stops as soon as it hardly changes.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

_LEAST = 16  # rows and columns of the coarsest scale
_CUBIC = -0.75  # slope parameter of OpenCV's cubic interpolation
_TINY = jnp.finfo(jnp.float32).eps


@dataclass(frozen=True)
class TVL1:
    """Settings of TV-L1 flow.

    Attributes:
      tau: step of the dual variables; at most 0.25 converges.
      weight: λ, weight of grey values against smoothness.
      tightness: θ, how far the two parts of the problem may differ.
      scales: most scales of the pyramid.
      scale_step: size of a scale as a share of the one before.
      warps: number of times that the second picture is warped at each scale.
      stop: mean change of the flow in a step at which a warp ends, pixels.
      inner: steps between two median filters.
      outer: median filters per warp.
    """

    tau: float = 0.25
    weight: float = 0.15
    tightness: float = 0.3
    scales: int = 5
    scale_step: float = 0.8
    warps: int = 5
    stop: float = 0.01
    inner: int = 30
    outer: int = 10


def tvl1_flow(first: jax.Array, second: jax.Array, settings: TVL1 = TVL1()) -> jax.Array:
    """Estimate the flow from the first grey pictures to the second ones.

    Args:
      first: grey values in 0…255, `(B, H, W)`; H and W at least 16.
      second: the pictures that follow.
      settings: settings of the algorithm.

    Returns:
      float32 `(B, H, W, 2)`: dx, right positive, and dy, down positive, in pixels.

    Raises:
      ValueError: for smaller pictures, or if the two differ in shape.
    """
    if first.shape != second.shape or first.ndim != 3 or min(first.shape[1:]) < _LEAST:
        raise ValueError(
            f"pictures {first.shape} and {second.shape}: both must be (B, H, W) of {_LEAST} pixels or more"
        )
    return jax.vmap(partial(_of_pair, settings=settings))(first.astype(jnp.float32), second.astype(jnp.float32))


def _of_pair(first: jax.Array, second: jax.Array, settings: TVL1) -> jax.Array:
    pyramid = [(first, second)]
    for _ in range(settings.scales - 1):
        size = tuple(round(n * settings.scale_step) for n in pyramid[-1][0].shape)
        if min(size) < _LEAST:
            break
        smaller = partial(_resized, size=size, scale=settings.scale_step)
        pyramid.append((smaller(pyramid[-1][0]), smaller(pyramid[-1][1])))
    flow = jnp.zeros((2, *pyramid[-1][0].shape))
    for level in range(len(pyramid) - 1, -1, -1):
        flow = _at_scale(*pyramid[level], flow, settings)
        if level:
            size = pyramid[level - 1][0].shape
            flow = jnp.stack([_resized(part, size) for part in flow]) / settings.scale_step
    return jnp.moveaxis(flow, 0, -1)


def _resized(x: jax.Array, size: tuple[int, ...], scale: float | None = None) -> jax.Array:
    """Resize `(H, W)` bilinearly without antialiasing; `scale`: share of the size, if it is not the sizes' ratio."""
    if scale is None:
        return jax.image.resize(x, size, "linear", antialias=False)
    scales, still = jnp.full(2, scale, jnp.float32), jnp.zeros(2, jnp.float32)
    return jax.image.scale_and_translate(x, size, (0, 1), scales, still, "linear", antialias=False)


def _at_scale(first: jax.Array, second: jax.Array, flow: jax.Array, settings: TVL1) -> jax.Array:
    """Improve the flow `(2, H, W)` between pictures of one scale."""
    wide = jnp.pad(second, 1, mode="edge")
    across, down = (wide[1:-1, 2:] - wide[1:-1, :-2]) / 2, (wide[2:, 1:-1] - wide[:-2, 1:-1]) / 2
    layers = jnp.stack([second, across, down])
    limit = settings.stop**2 * first.size

    def warp(state: tuple[jax.Array, jax.Array], _: None):
        flow, dual = state
        moved = _warped(layers, flow)
        slope = moved[1:]
        steepness = (slope**2).sum(0)
        constant = moved[0] - (slope * flow).sum(0) - first

        def step(state):
            flow, dual, _, count = state
            residual = constant + (slope * flow).sum(0)
            bound = settings.weight * settings.tightness
            towards = jnp.where(steepness > _TINY, -residual / jnp.maximum(steepness, _TINY), 0)
            target = flow + jnp.clip(towards, -bound, bound)[None] * slope
            new = target + settings.tightness * _divergence(dual)
            gradient = _gradient(new)
            length = jnp.sqrt((gradient**2).sum(1, keepdims=True))
            rate = settings.tau / settings.tightness
            dual = (dual + rate * gradient) / (1 + rate * length)
            return new, dual, ((new - flow) ** 2).sum(), count + 1

        def filtered(_: int, state):
            flow, dual, change = state
            flow = jax.vmap(_median)(flow)
            start = flow, dual, change, jnp.int32(0)
            flow, dual, change, _ = jax.lax.while_loop(lambda s: (s[2] > limit) & (s[3] < settings.inner), step, start)
            return flow, dual, change

        flow, dual, _ = jax.lax.fori_loop(0, settings.outer, filtered, (flow, dual, jnp.float32(jnp.inf)))
        return (flow, dual), None

    start = flow, jnp.zeros((2, *flow.shape))
    (flow, _), _ = jax.lax.scan(warp, start, None, length=settings.warps)
    return flow


def _gradient(x: jax.Array) -> jax.Array:
    """Forward differences `(2, H, W)` → `(2, 2, H, W)`, the second axis across and down; 0 at the last place."""
    across = jnp.pad(x[:, :, 1:] - x[:, :, :-1], ((0, 0), (0, 0), (0, 1)))
    down = jnp.pad(x[:, 1:] - x[:, :-1], ((0, 0), (0, 1), (0, 0)))
    return jnp.stack([across, down], axis=1)


def _divergence(dual: jax.Array) -> jax.Array:
    """Backward differences, `(2, 2, H, W)` → `(2, H, W)`; what lies before the first place is 0."""
    across, down = dual[:, 0], dual[:, 1]
    before = jnp.pad(across[:, :, :-1], ((0, 0), (0, 0), (1, 0))), jnp.pad(down[:, :-1], ((0, 0), (1, 0), (0, 0)))
    return across - before[0] + down - before[1]


def _median(x: jax.Array) -> jax.Array:
    """Median of 5 × 5 places of `(H, W)`, the border repeated."""
    height, width = x.shape
    wide = jnp.pad(x, 2, mode="edge")
    near = [wide[row : row + height, column : column + width] for row in range(5) for column in range(5)]
    return jnp.sort(jnp.stack(near), axis=0)[12]


def _warped(layers: jax.Array, flow: jax.Array) -> jax.Array:
    """Read layers `(C, H, W)` where the flow `(2, H, W)` points, by cubic interpolation, 0 outside."""
    _, height, width = layers.shape
    places = [
        flow[0] + jnp.arange(width, dtype=jnp.float32)[None],
        flow[1] + jnp.arange(height, dtype=jnp.float32)[:, None],
    ]
    low = [jnp.floor(place) for place in places]
    (across, down), (left, top) = (
        [_cubic(place - whole) for place, whole in zip(places, low, strict=True)],
        [whole.astype(jnp.int32) for whole in low],
    )
    found = jnp.zeros_like(layers)
    for row in range(4):
        for column in range(4):
            x, y = left + column - 1, top + row - 1
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            weight = jnp.where(inside, across[column] * down[row], 0)
            found += weight[None] * layers[:, jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)]
    return found


def _cubic(part: jax.Array) -> list[jax.Array]:
    """Weights of the four samples around a place that lies `part` after the second."""
    a, t, rest = _CUBIC, part, 1 - part

    def near(t: jax.Array) -> jax.Array:
        return ((a + 2) * t - (a + 3)) * t * t + 1

    def far(t: jax.Array) -> jax.Array:  # of t + 1
        return ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a

    return [far(t), near(t), near(rest), far(rest)]
