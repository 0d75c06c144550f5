"""Networks as they run outside of training: batch norms folded into the layers before them, no dropout."""

import contextlib
import functools
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx

from vidjax.models.calls import intercepted, module_paths
from vidjax.nn.conv import Conv3D
from vidjax.nn.norm import BatchNorm
from vidjax.nn.packed import packing

Weights = dict[str, np.ndarray]  # by path


@dataclass(frozen=True)
class Folding:
    """Batch norms of a network, and where each goes.

    Attributes:
      layers: path of each batch norm that alone reads the outputs of one layer → path of that layer.
      scales: path of each batch norm → scale and shift of its channels, float32 `(C,)` each.
    """

    layers: Mapping[str, str]
    scales: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def weights(self, weights: Weights) -> Weights:
        """Weights with the batch norms of `layers` in the kernels, and in biases where there are some."""
        changed = dict(weights)
        for norm, layer in self.layers.items():
            scale, shift = self.scales[norm]
            kernel = weights[f"{layer}.kernel"]
            changed[f"{layer}.kernel"] = (kernel * scale.astype(np.float64)).astype(kernel.dtype)
            if (bias := weights.get(f"{layer}.bias")) is not None:
                changed[f"{layer}.bias"] = (bias * scale.astype(np.float64) + shift).astype(bias.dtype)
        return changed

    @contextlib.contextmanager
    def running(self, model: nnx.Module, weights: Weights) -> Generator[None, None, None]:
        """Context in which `model`, made of the result of `self.weights(weights)`, is traced for inference."""
        late = {layer: norm for norm, layer in self.layers.items() if f"{layer}.bias" not in weights}

        def around(path: str, call: functools.partial) -> Any:
            module, x = call.args[:2]
            if isinstance(module, nnx.Dropout) or path in self.layers:
                return x
            if isinstance(module, BatchNorm):
                scale, shift = self.scales[path]
                return x * _channels(scale, x) + _channels(shift, x)
            y = call()
            return y + _channels(self.scales[late[path]][1], y) if path in late else y

        with packing(1), intercepted(model, around):
            yield


def fold(model: Any, entered: Any, weights: Weights) -> Folding:
    """Find which batch norms can be folded, by tracing a network once, without computing anything.

    Args:
      model: network in evaluation mode.
      entered: shapes and types of what it is called with, such as its inputs by name.
      weights: parameters and statistics of the network, by path.
    """
    made: dict[int, str] = {}  # number of an output → path of the layer that made it
    outputs: list[Any] = []  # kept, so that no number is used again
    calls, read, sources = Counter[str](), Counter[str](), {}

    def around(path: str, call: functools.partial) -> Any:
        y = call()
        module = call.args[0]
        if isinstance(module, BatchNorm):
            source = made.get(id(call.args[1]), "")
            sources.setdefault(path, set()).add(source)
            read[source] += 1
        elif isinstance(module, Conv3D | nnx.Linear):
            made[id(y)] = path
            outputs.append(y)
            calls[path] += 1
        return y

    with packing(1), intercepted(model, around):
        jax.eval_shape(lambda inputs: model(inputs), entered)
    norms = {path: module for path, module in module_paths(model).items() if isinstance(module, BatchNorm)}
    scales = {path: _scale_and_shift(module, path, weights) for path, module in norms.items()}
    layers = {}
    for path, found in sources.items():
        (source,) = found if len(found) == 1 else ("",)
        if source and calls[source] == read[source]:
            layers[path] = source
    shared = Counter(layers.values())
    return Folding({path: layer for path, layer in layers.items() if shared[layer] == 1}, scales)


def _scale_and_shift(norm: BatchNorm, path: str, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of a batch norm in evaluation, float32 `(C,)` each."""
    mean, variance = (np.asarray(weights[f"{path}.{name}"], np.float64) for name in ("mean", "var"))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if f"{path}.scale" in weights:
        scale = scale * weights[f"{path}.scale"]
    shift = weights.get(f"{path}.bias", np.zeros(1)) - mean * scale
    return scale.astype(np.float32), shift.astype(np.float32)


def _channels(values: np.ndarray, x: jax.Array) -> np.ndarray:
    """Values of channels, broadcast against an array that has them last."""
    return values.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
