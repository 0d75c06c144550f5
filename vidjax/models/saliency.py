"""What in a clip an answer depends on: places of inner layers, occluded blocks, and the order of frames.

Papers: Selvaraju et al., Grad-CAM (1610.02391); Draelos & Carin, HiResCAM (2011.08891), whose maps add up to the logit;
Zeiler & Fergus, Visualizing and Understanding Convolutional Networks (1311.2901), who occlude parts of the picture.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.errors import UserError
from vidjax.models.base import VideoNetwork
from vidjax.models.calls import intercepted
from vidjax.nn.packed import packing

METHODS = ("hirescam", "gradcam")
Grid = tuple[int, int, int]
Logits = Callable[[Mapping[str, jax.Array]], jax.Array]


def class_activation(
    network: VideoNetwork,
    inputs: Mapping[str, jax.Array],
    classes: jax.Array,
    *,
    layer: str = "",
    method: str = METHODS[0],
) -> tuple[np.ndarray, str]:
    """Share of each place of a layer's output in a clip's logit.

    Args:
      network: network in evaluation mode, with a classifier.
      inputs: B clips as they enter the network, "video" `(B, T, H, W, C)` among them.
      classes: class to explain for each clip, int `(B,)`.
      layer: path of a module, see `VideoNetwork.intermediates`; empty: the last one with places on which the logits
        depend.
      method: "hirescam", gradient times output, which adds up to the logit less the bias before a mean and a linear
        classifier; or "gradcam", the mean gradient of each channel times the output, where it is positive.

    Returns:
      Maps, float32 `(B, t, h, w)`, and the path of the layer.

    Raises:
      UserError: if the network has no such layer, or it has no places.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r}: must be one of {', '.join(METHODS)}")
    found = _places(network, inputs)
    if layer and layer not in found:
        near = ", ".join(list(found)[-3:])
        raise UserError(f"layer = {layer!r}: no module of that path gives maps or tokens; the last that do: {near}")
    chosen = {layer: found[layer]} if layer else found
    outputs, gradients = _with_gradients(network, inputs, classes, chosen)
    for path in reversed([path for path in chosen if path in outputs]):  # in the order of calls
        places, slope = (_of_grid(each[path], found[path]) for each in (outputs, gradients))
        if layer or float(jnp.abs(slope).max()) > 0:
            if method == "gradcam":
                slope = slope.mean(axis=(1, 2, 3), keepdims=True)
            maps = (places * slope).sum(axis=-1)
            return np.asarray(jax.nn.relu(maps) if method == "gradcam" else maps), path
    raise UserError(f"{type(network).__name__}: the logits depend on no layer with places")


def _places(network: VideoNetwork, inputs: Mapping[str, jax.Array]) -> dict[str, tuple[int, Grid]]:
    """Number of clips and grid of the outputs with places, by the path of the module, in the order of calls."""
    count = len(inputs["video"])
    shapes: dict[str, tuple[int, ...]] = {}

    def around(path: str, call: Callable[[], Any]) -> Any:
        out = call()
        shapes.pop(path, None)
        if path and isinstance(out, jax.Array):
            shapes[path] = out.shape
        return out

    def run(inputs: Mapping[str, jax.Array]) -> Any:
        with packing(1), intercepted(network, around):
            features = network.encode(inputs)
        return jnp.zeros(()) if features.grid is None else jnp.zeros(features.grid)

    grid = jax.eval_shape(run, inputs).shape
    found = {path: _grid(shape, count, grid) for path, shape in shapes.items()}
    return {path: (count, grid) for path, grid in found.items() if grid}


def _grid(shape: tuple[int, ...], count: int, tokens: tuple[int, ...]) -> Grid | None:
    """Grid of an output of this shape; None: it is none of places of whole clips."""
    if shape[0] % count:
        return None
    if len(shape) == 5 and shape[0] == count and math.prod(shape[2:4]) > 1:
        return shape[1], shape[2], shape[3]
    if len(shape) == 4 and math.prod(shape[1:3]) > 1:
        return shape[0] // count, shape[1], shape[2]  # frame by frame
    if len(shape) == 3 and len(tokens) == 3:
        time, *plane = tokens
        if shape[0] == count and 0 <= shape[1] - math.prod(tokens) <= 2:
            return time, plane[0], plane[1]
        if shape[0] == count * time and 0 <= shape[1] - math.prod(plane) <= 2:
            return time, plane[0], plane[1]
    return None


def _of_grid(output: jax.Array, place: tuple[int, Grid]) -> jax.Array:
    """Output as `(B, t, h, w, C)`, without tokens for the whole clip or frame, which come first."""
    count, grid = place
    if output.ndim == 3:
        per = math.prod(grid) // (output.shape[0] // count)
        output = output[:, output.shape[1] - per :]
    return output.astype(jnp.float32).reshape(count, *grid, output.shape[-1])


def _with_gradients(
    network: VideoNetwork, inputs: Mapping[str, jax.Array], classes: jax.Array, places: Mapping[str, tuple[int, Grid]]
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Outputs with places by module, of several calls the last one's, and the gradients of the classes' logits."""

    def score(shifts: Mapping[str, jax.Array], calls: Mapping[str, int], inputs: Mapping[str, jax.Array]) -> Any:
        seen: dict[str, list[jax.Array]] = {path: [] for path in places}

        def around(path: str, call: Callable[[], Any]) -> Any:
            out = call()
            # A norm may run on the class token alone, besides the tokens.
            if path not in places or out.ndim < 3 or math.prod(out.shape[:-1]) < _number(places[path]):
                return out
            seen[path].append(out)
            return out + shifts[path].astype(out.dtype) if len(seen[path]) == calls.get(path) else out

        with packing(1), intercepted(network, around):
            logits = network(inputs)
        own = jnp.take_along_axis(logits, classes[:, None], axis=1)
        return own.sum(), seen

    shapes = jax.eval_shape(lambda inputs: score({}, {}, inputs)[1], inputs)
    calls = {path: len(each) for path, each in shapes.items()}
    zeros = {path: jnp.zeros(each[-1].shape, jnp.float32) for path, each in shapes.items() if each}
    run = jax.jit(jax.grad(lambda shifts, inputs: score(shifts, calls, inputs), has_aux=True))
    gradients: dict[str, jax.Array]
    gradients, seen = run(zeros, inputs)
    outputs: dict[str, jax.Array] = {path: seen[path][-1] for path in zeros}
    if len(inputs) > 1:  # what other inputs alone decide has no places of the clip
        dark = {**inputs, "video": jnp.zeros_like(inputs["video"])}
        changed = jax.jit(lambda inputs: score({}, {}, inputs)[1])(dark)
        outputs = {path: x for path, x in outputs.items() if bool(jnp.any(x != changed[path][-1]))}
    return outputs, gradients


def _number(place: tuple[int, Grid]) -> int:
    return place[0] * math.prod(place[1])


def occluded(logits: Logits, inputs: Mapping[str, jax.Array], classes: np.ndarray, grid: Grid) -> np.ndarray:
    """Loss of the logit when a block of the clip is covered by its mean colour.

    Args:
      logits: network as a function of its inputs.
      inputs: B clips as they enter the network, "video" `(B, T, H, W, C)` among them.
      classes: class to explain for each clip, int `(B,)`.
      grid: number of blocks along T, H and W, at most the clip's own size.

    Returns:
      Losses, float32 `(B, t, h, w)`; `grid=(T, 1, 1)` covers frame by frame.
    """
    video = inputs["video"]
    _, *size, _ = video.shape
    edges = [np.linspace(0, length, parts + 1).round().astype(int) for length, parts in zip(size, grid, strict=True)]
    cover = video.mean(axis=(1, 2, 3), keepdims=True)

    def own(given: jax.Array) -> np.ndarray:
        return np.asarray(logits({**inputs, "video": given}))[np.arange(len(classes)), classes]

    whole, losses = own(video), np.zeros((len(video), *grid), np.float32)
    axes = [np.arange(length) for length in size]
    for place in np.ndindex(*grid):
        bounds = [(edge[i] <= axis) & (axis < edge[i + 1]) for axis, edge, i in zip(axes, edges, place, strict=True)]
        inside = bounds[0][:, None, None] & bounds[1][None, :, None] & bounds[2][None, None, :]
        losses[(slice(None), *place)] = whole - own(jnp.where(inside[None, ..., None], cover, video))
    return losses


def reordered(
    logits: Logits, inputs: Mapping[str, jax.Array], classes: np.ndarray, *, shuffles: int = 8, seed: int = 0
) -> dict[str, np.ndarray]:
    """Probability of the classes when the frames come in another order.

    Args:
      logits: network as a function of its inputs.
      inputs: B clips as they enter the network, "video" `(B, T, H, W, C)` among them.
      classes: class to explain for each clip, int `(B,)`.
      shuffles: number of random orders.
      seed: seed of the random orders.

    Returns:
      Probabilities, float32 `(B,)` each: "as it is", "backwards", "frozen" (the middle frame alone) and "shuffled" (the
      mean over random orders). A network that ignores the order gives the same as it is, backwards and shuffled.
    """
    video, frames = inputs["video"], inputs["video"].shape[1]
    rng = np.random.default_rng(seed)

    def probability(order: np.ndarray) -> np.ndarray:
        given = jax.nn.softmax(logits({**inputs, "video": video[:, order]}), axis=-1)
        return np.asarray(given)[np.arange(len(classes)), classes]

    forward = np.arange(frames)
    return {
        "as it is": probability(forward),
        "backwards": probability(forward[::-1]),
        "shuffled": np.mean([probability(rng.permutation(frames)) for _ in range(shuffles)], axis=0),
        "frozen": probability(np.full(frames, frames // 2)),
    }
