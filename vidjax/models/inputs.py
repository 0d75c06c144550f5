"""First layers of networks that see frames and their differences side by side: twice the input channels.

What enters is made by `vidjax.nn.enter.network_input`. Only the first layers differ, whose kernel, stored as
(kt, kh, kw, I, O), reads the picture's channels. Where weights for frames alone meet a kernel for both, the frames'
channels keep their kernel and the differences' start at zero, so that the network answers at first as it did before.
"""

import numpy as np


def fit_differences(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Extend a first layer's kernel from frames to frames and differences, which start at zero.

    Args:
      kernel: any parameter.
      shape: shape of the model's parameter.

    Returns:
      (kt, kh, kw, 2·I, O) if `kernel` is (kt, kh, kw, I, O) with I = 3 (colours) or 2 (flow) and `shape` asks for twice
      as many; else `kernel` as it is.
    """
    if len(shape) != 5 or kernel.ndim != 5 or kernel.shape[3] not in (2, 3) or shape[3] != 2 * kernel.shape[3]:
        return kernel
    return np.concatenate([kernel, np.zeros_like(kernel)], axis=3)
