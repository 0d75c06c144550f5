"""First layers of networks that read more than colours: frames beside their differences, or optical flow.

The input is made by `vidjax.nn.enter.network_input`. Only the first layers differ: their kernels (kt, kh, kw, I, O)
read the video's channels. If weights for frames only are loaded into a kernel for frames and differences, the frames'
channels keep their kernel and the differences' start at zero, so that the network's outputs do not change at first.

Channels of flow start from the mean of the colours' kernels, the cross-modality initialisation of temporal segment
networks (arXiv 1608.00859, section 3.2, and its PyTorch code, tsn-pytorch): not scaled by their number.
"""

import numpy as np

from vidjax.inputs import VideoInput


def fit_channels(kernel: np.ndarray, shape: tuple[int, ...], video: VideoInput | None = None) -> np.ndarray:
    """Adapt a first layer's kernel to the channels that a network reads.

    Args:
      kernel: kernel, or any other parameter.
      shape: shape of the model's parameter.
      video: video that the network reads; None: colours or a field of flow.

    Returns:
      A kernel (kt, kh, kw, C, O) with C as in `shape`, from (kt, kh, kw, I, O): with I = 3 (colours), their mean for
      each channel of flow, after themselves if the network reads colours too; after that, zeros for differences, if C
      is twice as many. If these rules give no such kernel, `kernel` unchanged.
    """
    if len(shape) != 5 or kernel.ndim != 5 or kernel.shape[3] == shape[3]:
        return kernel
    wide, read = kernel, kernel.shape[3]
    if video is not None and video.flow is not None and video.channels == shape[3] and read == 3:
        mean = kernel.mean(axis=3, keepdims=True).repeat(video.flow.channels, axis=3)
        wide = np.concatenate([kernel, mean], axis=3) if video.colours else mean
        read = video.read_channels
    doubled = read in (2, 3) or (video is not None and video.enters == "both")
    if doubled and shape[3] == 2 * read and (video is None or video.flow is None or video.enters == "both"):
        wide = np.concatenate([wide, np.zeros_like(wide)], axis=3)
    return wide if wide.shape[3] == shape[3] else kernel
