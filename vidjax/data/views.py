"""The views of one example, drawn once: which frames, when, and where in the picture. NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[int, int, int, int]  # top, left, height, width; pixels


@dataclass(frozen=True)
class Views:
    """V views of one example, shared by all of its inputs and by its targets."""

    frames: np.ndarray  # int64 (V, T), numbers in the file
    times: np.ndarray  # float64 (V, T), seconds from the first frame of the file
    mirrored: np.ndarray  # bool (V,), shown mirrored left to right
    affine: np.ndarray  # float64 (V, 2, 3): (x, y, 1) in the picture of the file → (x, y) in the view; 0…1 of each

    def __len__(self) -> int:
        return len(self.mirrored)

    @classmethod
    def of(
        cls, frames: np.ndarray, times: np.ndarray, mirrored: Sequence[bool] | np.ndarray, affine: Sequence[np.ndarray]
    ):
        """Views of these frames and times."""
        return cls(frames, times, np.asarray(mirrored, bool), np.stack(affine).astype(np.float64))


def whole(count: int, num_frames: int = 1) -> Views:
    """`count` views of the whole picture, of frames whose number and time are not known."""
    affine = np.tile(np.eye(2, 3), (count, 1, 1))
    numbers = np.zeros((count, num_frames), np.int64)
    return Views(numbers, numbers.astype(np.float64), np.zeros(count, bool), affine)


def crop_affine(box: Box, height: int, width: int, mirrored: bool = False) -> np.ndarray:
    """Where the picture's points come to lie in a crop of it, float64 `(2, 3)`.

    Resizing keeps shares of the picture, so the box may be that of the frame at any size.

    Args:
      box: top, left, height, width, in pixels of a frame,
      height, width: which is so large.
      mirrored: whether the crop is mirrored left to right afterwards.
    """
    top, left, tall, wide = box
    across, down = np.array([width, 0.0, -left]) / wide, np.array([0.0, height, -top]) / tall
    affine = np.stack([across, down])
    return mirror_affine(affine) if mirrored else affine


def mirror_affine(affine: np.ndarray) -> np.ndarray:
    """That of a view, `(2, 3)`, as that of the view mirrored left to right."""
    return np.stack([np.array([0.0, 0.0, 1.0]) - affine[0], affine[1]])


def through(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Points of the file's picture in a view: float `(…, 2)`, x and y as shares of width and height of each.

    Args:
      points: `(…, 2)`.
      affine: `(2, 3)`, of one view.
    """
    return points @ affine[:, :2].T + affine[:, 2]
