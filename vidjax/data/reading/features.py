"""Reading of precomputed features, one `.npy` file per video."""

from dataclasses import dataclass

import numpy as np

from vidjax.config import DataConfig
from vidjax.data.records import Record
from vidjax.data.views import Views, whole
from vidjax.inputs import FeatureInput
from vidjax.video import VideoError

_MEND = "make it again, or leave it out"


@dataclass(frozen=True)
class FeatureReader:
    """Reader of precomputed feature vectors.

    The file is divided evenly among the steps. In training each step takes a random vector of its part, in evaluation
    the middle one; several evaluation clips divide the file among them.

    Attributes:
      input: number and width of the vectors.
      config: settings, of which `sampling.views` is used.
    """

    input: FeatureInput
    config: DataConfig

    def train(self, record: Record, rng: np.random.Generator, *, mirror: bool = True) -> tuple[np.ndarray, Views]:
        """Read the vectors of a training example, float32 `(V, steps, D)`; nothing is mirrored.

        Raises:
          VideoError: if the file holds no such vectors.
        """
        del mirror
        vectors, count = self._open(record.path), self.config.sampling.views
        edges = np.linspace(0, len(vectors), self.input.steps + 1)
        numbers = edges[:-1] + rng.random((count, self.input.steps)) * np.diff(edges)
        return self._take(vectors, numbers), self._views(numbers)

    def evaluate(self, record: Record, num_clips: int, num_crops: int) -> tuple[np.ndarray, Views]:
        """Read the vectors of an evaluation example, float32 `(num_clips · num_crops, steps, D)`; crops are equal.

        Raises:
          VideoError: if the file holds no such vectors.
        """
        vectors = self._open(record.path)
        edges = np.linspace(0, len(vectors), num_clips * self.input.steps + 1)
        numbers = ((edges[:-1] + edges[1:]) / 2).reshape(num_clips, self.input.steps).repeat(num_crops, axis=0)
        return self._take(vectors, numbers), self._views(numbers)

    def _open(self, path: str) -> np.ndarray:
        try:
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise VideoError(path, f"is not a readable .npy file: {error}", _MEND) from None
        if not isinstance(vectors, np.ndarray) or vectors.dtype.kind not in "fiu":
            raise VideoError(path, "is no .npy file of numbers", _MEND)
        if vectors.ndim != 2 or vectors.shape[1] != self.input.width or not len(vectors):
            raise VideoError(path, f"has an array {vectors.shape}, not (N, {self.input.width})", _MEND)
        return vectors

    def _take(self, vectors: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return np.asarray(vectors[np.clip(numbers.astype(np.int64), 0, len(vectors) - 1)], np.float32)

    def _views(self, numbers: np.ndarray) -> Views:
        views = whole(len(numbers), numbers.shape[1])
        return Views(numbers.astype(np.int64), numbers.astype(np.float64), views.mirrored, views.affine)
