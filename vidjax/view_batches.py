"""Views of files through a network, in batches that views of several files may share."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from vidjax import parallel
from vidjax.data.views import Views
from vidjax.evaluation.engine import Forward
from vidjax.models.state import in_float32, merge, split
from vidjax.video import VideoError

Inputs = Mapping[str, np.ndarray]
Example = tuple[dict[str, np.ndarray], Views]
# Path of a file, its views, and the outputs for them, float32 (V, …); or the error that prevented them, and none.
Found = tuple[str, Views | VideoError, np.ndarray]
Apply = Callable[[Sequence[Inputs]], np.ndarray]
Left = list[jax.Array]  # arrays of one view that a stage leaves to the next, on the device
# Function from views, and what the stage before has left of each, to outputs `(views, …)`, and what it leaves itself.
Stage = Callable[[Sequence[Inputs], Sequence[Left]], tuple[np.ndarray, list[Left]]]


def apply(forward: Forward, weights: tuple[Any, Any], mesh: Mesh, views: Sequence[Inputs], size: int) -> np.ndarray:
    """Outputs of a network for views, float32 `(len(views), …)`, computed as one batch.

    Args:
      forward: compiled function of `compile_forward`.
      weights: parameters and statistics on the devices.
      mesh: mesh of the devices.
      views: views, each with its arrays `(…)` by the name of the input; one at least.
      size: size of the batch, at least the number of views; what is missing is filled with copies of the last one.
    """
    full = [views[min(i, len(views) - 1)] for i in range(size)]
    inputs = {name: np.stack([view[name] for view in full]) for name in full[0]}
    placed = parallel.place((inputs, np.zeros(size, np.int32)), parallel.batch_sharding(mesh))
    return np.asarray(jax.device_get(forward(*weights, *placed)))[: len(views)]


def staged(network: nnx.Module, stage: Callable[..., tuple[jax.Array, Left]]) -> Stage:
    """Compile a part of a network, once for each number of views that it is called with.

    Args:
      network: the network, in evaluation mode.
      stage: function of the network, inputs of B views, `(B, …)` by name, and arrays that the stage before has left, to
        outputs `(B, …)` and arrays for the next. The first axis of arrays that are left is B, or a multiple of it with
        the places of a view beside each other.
    """
    graphdef, params, stats = split(network)

    @jax.jit
    def run(weights: Any, views: Sequence[Inputs], left: Sequence[Left]) -> tuple[jax.Array, list[Left]]:
        merged = merge(graphdef, in_float32(weights[0]), weights[1])
        inputs = {name: jnp.stack([view[name] for view in views]) for name in views[0]}
        joined = [jnp.concatenate(arrays) for arrays in zip(*left, strict=True)]
        outputs, leaving = stage(merged, inputs, joined)
        return outputs, [list(each) for each in zip(*(jnp.split(x, len(views)) for x in leaving), strict=True)]

    def on_views(views: Sequence[Inputs], left: Sequence[Left]) -> tuple[np.ndarray, list[Left]]:
        outputs, leaving = run((params, stats), views, left)
        return np.asarray(outputs), leaving

    return on_views


def split_views(inputs: Inputs) -> list[dict[str, np.ndarray]]:
    """Inputs of single views, from those of all views of a file, `(V, …)` each."""
    count = len(next(iter(inputs.values())))
    return [{name: array[view] for name, array in inputs.items()} for view in range(count)]


def in_batches(examples: Iterable[tuple[str, Example | VideoError]], apply: Apply, batch_size: int) -> Iterator[Found]:
    """Apply a network to the views of files, and yield each file's outputs in their order, as soon as they are there.

    Args:
      examples: path of each file, and its inputs and views, or its error.
      apply: function from up to `batch_size` views to their outputs.
      batch_size: number of views computed together, of one file or several.
    """
    done: deque[tuple[str, Views | VideoError, list[np.ndarray]]] = deque()
    waiting: list[tuple[list[np.ndarray], dict[str, np.ndarray]]] = []

    def compute() -> None:
        for (rows, _), output in zip(waiting, apply([view for _, view in waiting]), strict=True):
            rows.append(output)
        waiting.clear()

    for path, example in examples:
        rows: list[np.ndarray] = []
        inputs, views = ({}, example) if isinstance(example, VideoError) else example
        done.append((path, views, rows))
        for view in split_views(inputs) if inputs else ():
            waiting.append((rows, view))
            if len(waiting) == batch_size:
                compute()
        while done and (isinstance(done[0][1], VideoError) or len(done[0][1]) == len(done[0][2])):
            yield _joined(*done.popleft())
    if waiting:
        compute()
    yield from (_joined(*each) for each in done)


def _joined(path: str, views: Views | VideoError, rows: list[np.ndarray]) -> Found:
    return path, views, np.stack(rows) if rows else np.empty(0, np.float32)
