"""Views of one example: frame numbers, times and crops, drawn once. NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Box = tuple[int, int, int, int]  # top, left, height, width; pixels


@dataclass(frozen=True)
class Views:
    """The V views of one example, shared by its inputs and targets."""

    frames: np.ndarray  # int64 (V, T), numbers in the file
    times: np.ndarray  # float64 (V, T), seconds from the first frame of the file
    mirrored: np.ndarray  # bool (V,), shown mirrored left to right
    affine: np.ndarray  # float64 (V, 2, 3): (x, y, 1) in the picture of the file → (x, y) in the view; 0…1 of each
    speed: np.ndarray | None = None  # float64 (V,), how much faster than recorded a view is shown; None: as recorded
    unheard: str = ""  # reason why the sound of the video could not be read; empty: it was, or it was not asked for

    def __len__(self) -> int:
        return len(self.mirrored)

    def only(self, rows: np.ndarray) -> "Views":
        """Some of the views, by their numbers, int `(N,)`."""
        speed = None if self.speed is None else self.speed[rows]
        kept = (self.frames[rows], self.times[rows], self.mirrored[rows], self.affine[rows])
        return Views(*kept, speed, self.unheard)

    @classmethod
    def of(
        cls,
        frames: np.ndarray,
        times: np.ndarray,
        mirrored: Sequence[bool] | np.ndarray,
        affine: Sequence[np.ndarray],
        speed: np.ndarray | None = None,
    ):
        """Make views from per-view sequences of frames, times, mirroring, affine maps and speed."""
        return cls(frames, times, np.asarray(mirrored, bool), np.stack(affine).astype(np.float64), speed)


def whole(count: int, num_frames: int = 1) -> Views:
    """Make `count` views of the whole picture, for frames of unknown number and time."""
    affine = np.tile(np.eye(2, 3), (count, 1, 1))
    numbers = np.zeros((count, num_frames), np.int64)
    return Views(numbers, numbers.astype(np.float64), np.zeros(count, bool), affine)


def crop_affine(box: Box, height: int, width: int, mirrored: bool = False) -> np.ndarray:
    """Affine map from the picture to a crop of it, float64 `(2, 3)`.

    Coordinates are shares of the picture, so the frame may have been resized to any size.

    Args:
      box: top, left, height and width of the crop, pixels of the frame.
      height, width: size of the frame, pixels.
      mirrored: whether the crop is mirrored left to right afterwards.
    """
    top, left, tall, wide = box
    across, down = np.array([width, 0.0, -left]) / wide, np.array([0.0, height, -top]) / tall
    affine = np.stack([across, down])
    return mirror_affine(affine) if mirrored else affine


def mirror_affine(affine: np.ndarray) -> np.ndarray:
    """Affine map `(2, 3)` of a view after mirroring the view left to right."""
    return np.stack([np.array([0.0, 0.0, 1.0]) - affine[0], affine[1]])


def boxes_through(corners: np.ndarray, affine: np.ndarray, side: int) -> np.ndarray:
    """Map boxes of the file's picture into a view, clipped to it, float32 `(R, 4)`: left, top, right, bottom in pixels.

    A box outside of the view becomes four zeros, so that the R rows stay those of the R boxes.

    Args:
      corners: left, top, right and bottom of the R boxes, as shares of the picture, `(R, 4)`.
      affine: affine map of the view, `(2, 3)`; it may mirror.
      side: height and width of the view, pixels.
    """
    points = through(np.asarray(corners, np.float64).reshape(-1, 2, 2), affine)
    low, high = points.min(axis=1), points.max(axis=1)
    boxes = np.clip(np.concatenate([low, high], axis=1), 0, 1).astype(np.float32) * np.float32(side)
    inside = np.all(boxes[:, 2:] > boxes[:, :2], axis=1, keepdims=True)
    return np.where(inside, boxes, np.float32(0))


def through(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Map points of the file's picture into a view, float `(…, 2)`: x and y as shares of width and height.

    Args:
      points: points in the picture, `(…, 2)`.
      affine: affine map of the view, `(2, 3)`.
    """
    return points @ affine[:, :2].T + affine[:, 2]
