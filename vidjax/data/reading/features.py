"""Reading of features computed beforehand, one file per video: a few of them, or all in order."""

from dataclasses import dataclass

import numpy as np

from vidjax.config import DataConfig, FeaturesConfig
from vidjax.data.reading.feature_file import Grid, read_feature_file
from vidjax.data.records import Record, Segments
from vidjax.data.views import Views, whole
from vidjax.inputs import FeatureInput, SequenceInput

_TRIALS = 200  # random windows drawn until one holds an action


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
        return read_feature_file(path, self.input.width).vectors

    def _take(self, vectors: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return np.asarray(vectors[np.clip(numbers.astype(np.int64), 0, len(vectors) - 1)], np.float32)

    def _views(self, numbers: np.ndarray) -> Views:
        views = whole(len(numbers), numbers.shape[1])
        return Views(numbers.astype(np.int64), numbers.astype(np.float64), views.mirrored, views.affine)


@dataclass(frozen=True)
class Parts:
    """Parts of a long sequence that a network sees one by one; the last one ends with the sequence.

    Attributes:
      steps: T, most steps of a part.
    """

    steps: int

    @property
    def hop(self) -> int:
        """Steps from the beginning of one part to that of the next: they share about a quarter.

        It is a multiple of a power of two, up to 64, so that places on coarser grids are the same in all parts.
        """
        unit = 1 << min(6, max(0, (self.steps // 8).bit_length() - 1))
        return max(1, (self.steps - self.steps // 4) // unit * unit)

    def starts(self, count: int) -> np.ndarray:
        """First step of each part of a sequence of `count` steps, int64."""
        return np.arange(0, max(count - self.steps, 0) + self.hop, self.hop)

    def owned(self, number: int, parts: int) -> tuple[float, float]:
        """Bounds, in steps from its beginning, of what part `number` of `parts` answers for: it reaches to the middle
        of what it shares with the neighbouring parts, so that every place belongs to one part."""
        shared = self.steps - self.hop
        first = 0.5 * shared if number else -np.inf
        return first, (self.hop + 0.5 * shared if number < parts - 1 else np.inf)


@dataclass(frozen=True)
class SequenceReader:
    """Reader of all feature vectors of a video, in order.

    Its views have the number of each vector as frames, and the middle of its window as times: two or more, NaN after
    the end of a view that is shorter than others.

    Attributes:
      input: largest number and width of the vectors.
      config: settings, of which `features` and `sampling.views` are used.
    """

    input: SequenceInput
    config: DataConfig

    def train(self, record: Record, rng: np.random.Generator, *, mirror: bool = True) -> tuple[np.ndarray, Views]:
        """Read the vectors of a training example, float32 `(V, n, D)` with n up to `steps`; nothing is mirrored.

        A video with more vectors than fit, or than a drawn share of them, is cut at random: windows are drawn until an
        annotated segment lies in one, with the share `features.keep` of its length, at most 200 times.

        Raises:
          VideoError: if the file holds no such vectors.
          DataError: if it states other times than the settings, or neither does.
        """
        del mirror
        vectors, grid = self._open(record)
        views, settings = [], self.config.features
        for _ in range(self.config.sampling.views):
            length = self._length(len(vectors), rng)
            views.append(_window(len(vectors), length, _spans(record, grid), grid, settings, rng))
        return self._clips(vectors, views), _views(grid, views)

    def evaluate(self, record: Record, num_clips: int, num_crops: int) -> tuple[np.ndarray, Views]:
        """Read the whole video, float32 `(V, n, D)`: V parts that overlap if it is longer than `steps`, see `Parts`.

        Raises:
          VideoError: if the file holds no such vectors.
          DataError: if it states other times than the settings, or neither does.
        """
        del num_clips, num_crops  # the length of the video decides; the task refuses other numbers than 1
        vectors, grid = self._open(record)
        steps = self.input.steps
        views = [(int(first), min(steps, len(vectors) - int(first))) for first in Parts(steps).starts(len(vectors))]
        return self._clips(vectors, views), _views(grid, views)

    def _open(self, record: Record) -> tuple[np.ndarray, Grid]:
        file = read_feature_file(record.path, self.input.width)
        grid, vectors = file.grid(self.config.features, record.annotation), file.vectors
        if not self.input.resized:
            return vectors, grid
        return resize_linearly(vectors, self.input.steps), grid.resized(len(vectors), self.input.steps)

    def _length(self, count: int, rng: np.random.Generator) -> int:
        low, high = self.config.features.crop
        if count > self.input.steps or (low, high) == (1, 1):
            return min(count, self.input.steps)
        return int(rng.integers(max(round(low * count), 1), min(round(high * count), count) + 1))

    def _clips(self, vectors: np.ndarray, views: list[tuple[int, int]]) -> np.ndarray:
        clips = np.full((len(views), max(n for _, n in views), self.input.width), np.nan, np.float32)
        for clip, (first, length) in zip(clips, views, strict=True):
            clip[:length] = vectors[first : first + length]
        return clips


def resize_linearly(vectors: np.ndarray, steps: int) -> np.ndarray:
    """Resize vectors `(N, D)` to float32 `(steps, D)` by linear interpolation between the centres of equal parts.

    It equals PyTorch's `interpolate(mode="linear", align_corners=False)`.
    """
    vectors = np.asarray(vectors, np.float32)
    at = np.clip((np.arange(steps) + 0.5) * (len(vectors) / steps) - 0.5, 0, None)
    lower = np.minimum(at.astype(np.int64), len(vectors) - 1)
    share = (at - lower).astype(np.float32)[:, None]
    return vectors[lower] * (1 - share) + vectors[np.minimum(lower + 1, len(vectors) - 1)] * share


def grid_of(views: Views, view: int) -> tuple[Grid, int]:
    """Grid of one view of a `SequenceReader`, whose first step has place 0, and its number of steps.

    For views without times of steps, places are seconds, and the number is 0.
    """
    times, first = views.times[view], float(views.frames[view, 0])
    if len(times) < 2:
        return Grid(1.0, 0.0), 0
    step = float(times[1] - times[0])
    return Grid(step, float(times[0]) / step - first, first), int(np.isfinite(times).sum())


def _views(grid: Grid, views: list[tuple[int, int]]) -> Views:
    most = max(2, *(length for _, length in views))
    numbers = np.array([first for first, _ in views])[:, None] + np.arange(most)
    times = grid.seconds(numbers)
    for row, (_, length) in zip(times, views, strict=True):
        row[max(length, 2) :] = np.nan
    blank = whole(len(views), most)
    return Views(numbers, times, blank.mirrored, blank.affine)


def _spans(record: Record, grid: Grid) -> np.ndarray:
    """Annotated segments in steps, float64 `(N, 2)`."""
    spans = record.annotation.spans if isinstance(record.annotation, Segments) else ()
    return grid.place([span[:2] for span in spans]).reshape(-1, 2)


def _window(
    count: int, length: int, spans: np.ndarray, grid: Grid, settings: FeaturesConfig, rng: np.random.Generator
) -> tuple[int, int]:
    """First step and length of a training clip."""
    first = 0
    for _ in range(_TRIALS if length < count else 0):
        first = int(rng.integers(count - length + 1))
        bounds = first - grid.reach, first + length + grid.reach
        if not len(spans) or (inside(spans, *bounds) >= settings.keep).any():
            break
    return first, length


def inside(spans: np.ndarray, first: float, last: float) -> np.ndarray:
    """Share of each of N spans `(N, 2)` that lies between two places, float64 `(N,)`."""
    shared = np.minimum(spans[:, 1], last) - np.maximum(spans[:, 0], first)
    return np.maximum(shared, 0) / np.maximum(spans[:, 1] - spans[:, 0], 1e-9)
