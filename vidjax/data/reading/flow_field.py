"""True fields of flow, read from files and seen through the views of their pictures."""

import cv2
import numpy as np

from vidjax.data.records import TrueFlow
from vidjax.errors import UserError
from vidjax.video import VideoError
from vidjax.video.flow_files import read_flow


def read_true_flow(annotation: TrueFlow) -> tuple[np.ndarray, np.ndarray]:
    """Read an annotated field, see `vidjax.video.flow_files.read_flow`.

    Raises:
      VideoError: if it cannot be read.
    """
    try:
        return read_flow(annotation.path)
    except UserError as error:
        raise VideoError(
            annotation.path, str(error).removeprefix(f"{annotation.path}: "), "fetch it again, or leave the pair out"
        ) from None


def field_through(
    flow: np.ndarray, known: np.ndarray, affine: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Map a field of a picture into a view of it: its places, and its vectors.

    A field that is known everywhere is interpolated bilinearly; of any other, each pixel has the vector of the nearest.

    Args:
      flow: field, float32 `(H, W, 2)`: motion right and down, pixels of the picture.
      known: where it is known, bool `(H, W)`.
      affine: affine map of the view, `(2, 3)`, see `vidjax.data.views`; it may mirror, and resize each axis by itself.
      height, width: size of the view, pixels.

    Returns:
      The field of the view, float32 `(height, width, 2)` in its pixels, and where it is known; 0 elsewhere.
    """
    before, after = np.array(flow.shape[1::-1], np.float64), np.array([width, height], np.float64)
    linear = affine[:, :2] * after[:, None] / before  # pixels of the picture → pixels of the view
    turned = flow @ linear.T.astype(np.float32)
    half = np.full(2, 0.5)  # the centre of the first pixel
    matrix = np.column_stack([linear, affine[:, 2] * after + linear @ half - half])

    def warped(array: np.ndarray, flags: int) -> np.ndarray:
        return cv2.warpAffine(array, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)

    if known.all():
        return warped(turned, cv2.INTER_LINEAR), np.ones((height, width), bool)
    there = warped(known.astype(np.uint8), cv2.INTER_NEAREST) > 0
    return np.where(there[..., None], warped(turned, cv2.INTER_NEAREST), np.float32(0)), there
