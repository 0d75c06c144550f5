"""First layers of networks that take frames and their differences side by side: twice the input channels.

The input is made by `vidjax.nn.enter.network_input`. Only the first layers differ: their kernels (kt, kh, kw, I, O)
read the picture's channels. If weights for frames only are loaded into a kernel for both, the frames' channels keep
their kernel and the differences' start at zero, so that the network's outputs do not change at first.
"""

import numpy as np


def fit_differences(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Extend a first layer's kernel from frames to frames and differences, which start at zero.

    Args:
      kernel: kernel, or any other parameter.
      shape: shape of the model's parameter.

    Returns:
      (kt, kh, kw, 2·I, O) if `kernel` is (kt, kh, kw, I, O) with I = 3 (colours) or 2 (flow) and `shape` asks for twice
      as many; else `kernel` unchanged.
    """
    if len(shape) != 5 or kernel.ndim != 5 or kernel.shape[3] not in (2, 3) or shape[3] != 2 * kernel.shape[3]:
        return kernel
    return np.concatenate([kernel, np.zeros_like(kernel)], axis=3)
