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
Inputs = Mapping[str, jax.Array]
Arrays = Mapping[str, jax.Array]  # by the path of a module
Run = Callable[[Inputs, jax.Array], tuple[Arrays, Arrays]]
Logits = Callable[[Inputs], jax.Array]


class ClassActivation:
    """Share of each place of a layer's output in a clip's logit; compiled once for all clips of a size.

    Args:
      network: network in evaluation mode, with a classifier.
      layer: path of a module, see `VideoNetwork.intermediates`; empty: the last one with places on which the logits
        depend.
    """

    def __init__(self, network: VideoNetwork, layer: str = ""):
        self._network, self._layer = network, layer
        self._known: dict[tuple[Any, ...], tuple[Run, dict[str, Grid]]] = {}

    def __call__(self, inputs: Inputs, classes: jax.Array, method: str = METHODS[0]) -> tuple[np.ndarray, str]:
        """Maps of clips.

        Args:
          inputs: B clips as they enter the network, "video" `(B, T, H, W, C)` among them.
          classes: class to explain for each clip, int `(B,)`.
          method: "hirescam", gradient times output, which adds up to the logit less the bias before a mean and a linear
            classifier; or "gradcam", the mean gradient of each channel times the output, where it is positive.

        Returns:
          Maps, float32 `(B, t, h, w)`, and the path of the layer.

        Raises:
          UserError: if the network has no such layer, or it has no places.
        """
        if method not in METHODS:
            raise ValueError(f"method = {method!r}: must be one of {', '.join(METHODS)}")
        first, *_ = clips = one_by_one(inputs)
        run, found = self._for(first)
        path, maps = self._layer, []
        for clip, number in zip(clips, classes[:, None], strict=True):
            outputs, gradients = run(clip, number)
            if not path:
                paths = _that_matter(run, clip, number, outputs, gradients, found)
                if not paths:
                    raise UserError(f"{type(self._network).__name__}: the logits depend on no layer with places")
                path = paths[-1]
            places, slope = (_of_grid(each[path], found[path]) for each in (outputs, gradients))
            if method == "gradcam":
                slope = slope.mean(axis=(1, 2, 3), keepdims=True)
            own = (places * slope).sum(axis=-1)
            maps.append(np.asarray(jax.nn.relu(own) if method == "gradcam" else own))
        return np.concatenate(maps), path

    def _for(self, clip: Inputs) -> tuple[Run, dict[str, Grid]]:
        """Compiled function for clips of this size, and the layers with places."""
        sizes = tuple((name, array.shape) for name, array in clip.items())
        if sizes not in self._known:
            found, layer = _places(self._network, clip), self._layer
            if layer and layer not in found:
                near = ", ".join(list(found)[-3:])
                raise UserError(
                    f"layer = {layer!r}: no module of that path gives maps or tokens; the last that do: {near}"
                )
            found = {layer: found[layer]} if layer else found
            self._known[sizes] = _compiled(self._network, clip, found), found
        return self._known[sizes]


def one_by_one(inputs: Inputs) -> list[dict[str, jax.Array]]:
    """Each clip as a batch of its own: a network's outputs and their gradients take the memory of a training step."""
    count = len(inputs["video"])
    return [{name: array[clip : clip + 1] for name, array in inputs.items()} for clip in range(count)]


def _that_matter(
    run: Run, clip: Inputs, number: jax.Array, outputs: Arrays, gradients: Arrays, found: Mapping[str, Grid]
) -> list[str]:
    """Paths of the layers with places of the clip on which the logit depends, in the order of calls."""
    paths = [path for path in found if path in outputs and bool(jnp.any(_of_grid(gradients[path], found[path])))]
    if len(clip) == 1:
        return paths
    # What other inputs alone decide has no places of the clip.
    dark, _ = run({**clip, "video": jnp.zeros_like(clip["video"])}, number)
    return [path for path in paths if bool(jnp.any(dark[path] != outputs[path]))]


def _places(network: VideoNetwork, clip: Inputs) -> dict[str, Grid]:
    """Grid of the outputs with places, for one clip, by the path of the module, in the order of calls."""
    shapes: dict[str, tuple[int, ...]] = {}

    def around(path: str, call: Callable[[], Any]) -> Any:
        out = call()
        shapes.pop(path, None)
        if path and isinstance(out, jax.Array):
            shapes[path] = out.shape
        return out

    def run(clip: Inputs) -> Any:
        with packing(1), intercepted(network, around):
            features = network.encode(clip)
        return jnp.zeros(()) if features.grid is None else jnp.zeros(features.grid)

    tokens = jax.eval_shape(run, clip).shape
    found = {path: _grid(shape, tokens) for path, shape in shapes.items()}
    return {path: grid for path, grid in found.items() if grid}


def _grid(shape: tuple[int, ...], tokens: tuple[int, ...]) -> Grid | None:
    """Grid of an output of this shape for one clip; None: it is none of places of the whole clip."""
    if len(shape) == 5 and shape[0] == 1 and math.prod(shape[2:4]) > 1:
        return shape[1], shape[2], shape[3]
    if len(shape) == 4 and math.prod(shape[1:3]) > 1:
        return shape[0], shape[1], shape[2]  # frame by frame
    if len(shape) == 3 and len(tokens) == 3:
        time, *plane = tokens
        whole = shape[0] == 1 and 0 <= shape[1] - math.prod(tokens) <= 2
        framewise = shape[0] == time and 0 <= shape[1] - math.prod(plane) <= 2
        return (time, plane[0], plane[1]) if whole or framewise else None
    return None


def _of_grid(output: jax.Array, grid: Grid) -> jax.Array:
    """Output as `(1, t, h, w, C)`, without tokens for the whole clip or frame, which come first."""
    if output.ndim == 3:
        output = output[:, output.shape[1] - math.prod(grid) // output.shape[0] :]
    return output.astype(jnp.float32).reshape(1, *grid, output.shape[-1])


def _compiled(network: VideoNetwork, clip: Inputs, places: Mapping[str, Grid]) -> Run:
    """Compiled function of one clip and its class: outputs with places by module, of several calls the last one's, and
    the gradients of the class's logit."""

    def score(shifts: Arrays, calls: Mapping[str, int], clip: Inputs, number: jax.Array) -> Any:
        seen: dict[str, list[jax.Array]] = {path: [] for path in places}

        def around(path: str, call: Callable[[], Any]) -> Any:
            out = call()
            # A norm may run on the class token alone, besides the tokens.
            if path not in places or out.ndim < 3 or math.prod(out.shape[:-1]) < math.prod(places[path]):
                return out
            seen[path].append(out)
            return out + shifts[path].astype(out.dtype) if len(seen[path]) == calls.get(path) else out

        with packing(1), intercepted(network, around):
            logits = network(clip)
        return jnp.take_along_axis(logits, number[:, None], axis=1).sum(), seen

    shapes = jax.eval_shape(lambda clip: score({}, {}, clip, jnp.zeros(1, int))[1], clip)
    calls = {path: len(each) for path, each in shapes.items() if each}
    zeros = {path: jnp.zeros(shapes[path][-1].shape, jnp.float32) for path in calls}
    slopes = jax.grad(lambda shifts, clip, number: score(shifts, calls, clip, number), has_aux=True)

    @jax.jit
    def run(clip: Inputs, number: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        gradients, seen = slopes(zeros, clip, number)
        return {path: seen[path][-1] for path in calls}, gradients

    return run


def occluded(logits: Logits, inputs: Inputs, classes: np.ndarray, grid: Grid) -> np.ndarray:
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
    logits: Logits, inputs: Inputs, classes: np.ndarray, *, several: bool = False, shuffles: int = 8, seed: int = 0
) -> dict[str, np.ndarray]:
    """Probability of the classes when the frames come in another order.

    Args:
      logits: network as a function of its inputs.
      inputs: B clips as they enter the network, "video" `(B, T, H, W, C)` among them.
      classes: class to explain for each clip, int `(B,)`.
      several: whether a clip may have several classes, whose probabilities are independent of each other.
      shuffles: number of random orders.
      seed: seed of the random orders.

    Returns:
      Probabilities, float32 `(B,)` each: "as it is", "backwards", "frozen" (the middle frame alone) and "shuffled" (the
      mean over random orders). A network that ignores the order gives the same as it is, backwards and shuffled.
    """
    video, frames = inputs["video"], inputs["video"].shape[1]
    rng = np.random.default_rng(seed)

    def probability(order: np.ndarray) -> np.ndarray:
        given = logits({**inputs, "video": video[:, order]})
        found = jax.nn.sigmoid(given) if several else jax.nn.softmax(given, axis=-1)
        return np.asarray(found)[np.arange(len(classes)), classes]

    forward = np.arange(frames)
    return {
        "as it is": probability(forward),
        "backwards": probability(forward[::-1]),
        "shuffled": np.mean([probability(rng.permutation(frames)) for _ in range(shuffles)], axis=0),
        "frozen": probability(np.full(frames, frames // 2)),
    }
