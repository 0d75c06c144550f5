"""Networks that see frames and their differences side by side: twice the input channels of the one that is named.

What enters is made by `vidjax.nn.normalise.network_input`. Only the first layers notice: those whose kernel, stored as
(kt, kh, kw, I, O), reads the picture's channels. Where weights for frames alone meet a kernel for both, the frames'
channels keep their kernel and the differences' start at zero, so that the network answers at first as it did before.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.config import Spec
from vidjax.models.base import VideoNetwork
from vidjax.models.state import merge, split
from vidjax.nn.init import normal


def input_channels(spec: Spec) -> int:
    """C, channels of what enters a network of this spec: those of a frame, or twice as many for "rgb+diff"."""
    return len(spec.video.mean) * (2 if spec.video.enters == "rgb+diff" else 1)


def widened(model: VideoNetwork, channels: int, rngs: nnx.Rngs) -> VideoNetwork:
    """`model` with first layers that read `2 · channels` channels: those of the frames, then those of the differences.

    Args:
      model: takes videos of `channels` channels.
      channels: of a frame.
      rngs: `params` draws the differences' part of the kernels: normal, as large as the frames' part.

    Raises:
      ValueError: if no kernel of the model reads so many channels.
    """
    graphdef, params, stats = split(model)
    kernels = {path: array for path, array in params.items() if path.endswith("kernel") and array.ndim == 5}
    first = [path for path, kernel in kernels.items() if kernel.shape[3] == channels]
    if not first:
        raise ValueError(f"no layer of {type(model).__name__} reads {channels} channels: it cannot take rgb+diff")
    for path in first:
        kernel = kernels[path]
        added = normal(rngs.params(), kernel.shape, 1.0) * kernel.std()
        params[path] = jnp.concatenate([kernel, added], axis=3)
    wider = merge(graphdef, params, stats)
    wider.channels = 2 * channels
    return wider


def fit_differences(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A first layer's kernel for frames alone as one for frames and differences, which start at zero.

    Args:
      kernel: any parameter.
      shape: of the model's parameter.

    Returns:
      (kt, kh, kw, 2·I, O) if `kernel` is (kt, kh, kw, I, O) with I = 3 (colours) or 2 (flow) and `shape` asks for twice
      as many; else `kernel` as it is.
    """
    if len(shape) != 5 or kernel.ndim != 5 or kernel.shape[3] not in (2, 3) or shape[3] != 2 * kernel.shape[3]:
        return kernel
    return np.concatenate([kernel, np.zeros_like(kernel)], axis=3)
