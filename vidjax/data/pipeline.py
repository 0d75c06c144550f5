"""The input pipeline from records to batches, with Grain.

A batch is a dictionary of NumPy arrays: `inputs` and `targets` by name, each `(B, V, …)` as in `BatchLayout`, `index`
int64 `(B,)` into the records (−1: padding), `mask` bool `(B,)`, and `bad`, a list of `BadRecord`. B is this process's
share. In training V is `config.sampling.views`. Evaluation has no targets and adds `views` int64 `(B,)`, the number of
the V views that are the video's; the rest is padding, for sampling rules that give long videos more clips.

The examples of step s, their order and augmentation depend only on the seed and s: not on the number of workers or
threads nor, over all processes, on the number of processes. Resuming is therefore starting at a step.

A training video that fails is replaced by another of its stratum (see `order`), chosen by the seed, the step and the
position in the batch, independent of earlier reads. A video known to be bad can thus be skipped without trying it, and
the batches are the same. Each decoding process does so after two failures in a row that it has seen itself; a file that
does not change gives the same batches with any number of processes.
"""

import copy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import grain
import numpy as np

from vidjax import interrupts
from vidjax.batch import Batch, BatchLayout
from vidjax.config import DataConfig
from vidjax.data.order import Order, make_strata
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import VideoSet
from vidjax.data.targets import Targets
from vidjax.data.text import DataError
from vidjax.data.views import Views
from vidjax.video import VideoError

# A data set in which this many draws in a row fail is considered broken.
MAX_SUBSTITUTES = 20
# Number of these from the stratum of the failed video, which may be bad as a whole; the rest come from all videos.
_OF_THE_STRATUM = 10
# A video that failed this many times in a row in one process is not tried again there.
MAX_FAILURES = 2
# Finished batches between a worker and the training process; further prefetched ones wait in the worker.
_QUEUE = 1


@dataclass(frozen=True)
class BadRecord:
    """Unreadable video: its index among the records, its path and the reason.

    If only the sound is missing or unreadable, it is `unheard`: the video is used nevertheless.
    """

    index: int
    path: str
    reason: str
    unheard: bool = False


def train_batches(
    videos: VideoSet,
    reader: ExampleReader,
    targets: Targets,
    *,
    batch_size: int,
    seed: int,
    balance: str = "",
    start_step: int = 0,
    process: tuple[int, int] = (0, 1),
    known_bad: Mapping[str, str] | None = None,
) -> Iterator[Batch]:
    """Endless shuffled batches for training, from `start_step` on. A bad video is replaced by another, drawn by
    position.

    Args:
      videos: training videos, in a new order every epoch.
      reader: reader of examples, whose config gives mixture, workers, threads and prefetch.
      targets: maker of targets from annotations.
      batch_size: videos per step over all processes.
      seed: seed of order and augmentation.
      balance: rule that balances classes, see `vidjax.data.order`.
      start_step: step of the first batch.
      process: (index, count) of this process among those that share each batch.
      known_bad: reasons for files that failed before, by path: they are replaced without being tried. Files whose parts
        are separate records are tried nevertheless, since another part may be intact.

    Raises:
      DataError: if the processes cannot share a batch evenly; while batches are taken, if 20 drawn videos in a row
        cannot be read.
    """
    order = _order(videos, reader.config, seed, balance)
    dataset = train_order(videos, reader.config, seed, balance, order)
    dataset = dataset.random_map(_TrainLoader(videos, reader, targets, order, known_bad or {}))
    layout = reader.layout(targets.fields())
    dataset = process_rows(dataset, batch_size, process).batch(batch_size // process[1], batch_fn=layout.collate)
    return _iterate(dataset[start_step:], reader.config)


def train_order(
    videos: VideoSet, config: DataConfig, seed: int, balance: str = "", order: Order | None = None
) -> grain.MapDataset:
    """Record at each position of an endless training, in a new order every epoch.

    Args:
      videos: training videos.
      config: data settings, of which `mixture` is used.
      seed: seed of the order.
      balance: rule that balances classes, see `vidjax.data.order`.
      order: order of mixture and balance, if it is already known.
    """
    order = order or _order(videos, config, seed, balance)
    if order is not None:
        return _Places(order).seed(seed)
    return grain.MapDataset.range(len(videos)).seed(seed).shuffle().repeat(None)


def process_rows(dataset: grain.MapDataset, batch_size: int, process: tuple[int, int]) -> grain.MapDataset:
    """Elements of `dataset` that belong to one process, (index, count), in batches of `batch_size` over all processes.

    Raises:
      DataError: if the processes cannot share a batch evenly.
    """
    return _ProcessRows(dataset, batch_size, process)


def _order(videos: VideoSet, config: DataConfig, seed: int, balance: str) -> Order | None:
    if not (config.mixture or balance):
        return None
    return Order(make_strata(videos, config.mixture, balance), len(videos), seed)


def eval_batches(
    videos: VideoSet,
    reader: ExampleReader,
    *,
    batch_size: int,
    num_clips: int,
    num_crops: int,
    process: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Batches of every video once, in order, the last padded; a bad video is masked and reported, never replaced.

    Args:
      videos: videos to evaluate.
      reader: reader of views.
      batch_size: videos per step over all processes.
      num_clips: clips per video.
      num_crops: crops per clip, 1, 3, 5 or 10.
      process: (index, count) of this process among those that share each batch.
    """
    padded = -(-len(videos) // batch_size) * batch_size
    dataset = grain.MapDataset.range(padded).map(_EvalLoader(videos, reader, num_clips, num_crops))
    collate = reader.layout().collate
    dataset = _ProcessRows(dataset, batch_size, process).batch(batch_size // process[1], batch_fn=collate)
    return _iterate(dataset, reader.config)


class _TrainLoader(grain.transforms.RandomMap):
    def __init__(
        self,
        videos: VideoSet,
        reader: ExampleReader,
        targets: Targets,
        order: Order | None,
        known_bad: Mapping[str, str],
    ):
        self._videos, self._reader, self._targets, self._order = videos, reader, targets, order
        # Record → failures in a row and the last reason; each decoding process continues with its own copy.
        self._failed: dict[int, tuple[int, str]] = {}
        for i, record in enumerate(videos.records if known_bad else ()):
            if record.path in known_bad and record.start is None and record.end is None:
                self._failed[i] = MAX_FAILURES, known_bad[record.path]

    # Grain's own method is empty and not annotated, from which None is inferred.
    def random_map(self, element: int, rng: np.random.Generator) -> Batch:  # pyrefly: ignore[bad-override]
        # The generators of substitutes are derived from the initial state of the first one, so that the number of draws
        # made before a video failed does not matter.
        start = cast(np.random.Philox, copy.deepcopy(rng.bit_generator))  # Grain's kind
        first, element, bad = int(element), int(element), []
        for attempt in range(MAX_SUBSTITUTES):
            if attempt:
                rng = np.random.Generator(start.jumped(attempt))
                element = self._substitute(first, attempt, rng)
            record = self._videos.records[element]
            failures, reason = self._failed.get(element, (0, ""))
            if failures < MAX_FAILURES:
                try:
                    inputs, views = self._reader.train(record, rng, mirror=self._targets.mirrors)
                    targets = self._targets.of(record, views)
                except VideoError as error:
                    reason = error.reason
                    self._failed[element] = failures + 1, reason
                else:
                    self._failed.pop(element, None)
                    bad += _unheard(element, record.path, views)
                    index = np.int64(element)
                    return {"inputs": inputs, "targets": targets, "index": index, "mask": np.True_, "bad": bad}
            bad.append(BadRecord(element, record.path, reason))
        raise DataError(
            f"{MAX_SUBSTITUTES} training videos in a row could not be read, "
            f"the last one {bad[-1].path}: {bad[-1].reason}"
        )

    def _substitute(self, record: int, attempt: int, rng: np.random.Generator) -> int:
        if self._order is None or attempt > _OF_THE_STRATUM:
            return int(rng.integers(len(self._videos)))
        return int(rng.choice(self._order.peers(record)))


def _unheard(index: int, path: str, views: Views) -> list[BadRecord]:
    return [BadRecord(index, path, views.unheard, unheard=True)] if views.unheard else []


class _Places(grain.MapDataset):
    """Endless records of an `Order`."""

    def __init__(self, order: Order):
        super().__init__()
        self._order = order

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: Any) -> Any:
        return self.slice(index) if isinstance(index, slice) else self._order[index]


class _EvalLoader(grain.transforms.Map):
    def __init__(self, videos: VideoSet, reader: ExampleReader, num_clips: int, num_crops: int):
        self._videos, self._reader, self._layout = videos, reader, reader.layout()
        self._num_clips, self._num_crops = num_clips, num_crops

    def map(self, element: int) -> Batch:  # pyrefly: ignore[bad-override]: as in `_TrainLoader`
        padding = element >= len(self._videos)
        record = self._videos.records[0 if padding else element]
        count, bad = self._num_clips * self._num_crops, []
        inputs = None
        if element in self._videos.quarantined:
            bad.append(BadRecord(int(element), record.path, self._videos.quarantined[element]))
        elif not padding:
            try:
                inputs, views = self._reader.evaluate(record, self._num_clips, self._num_crops)
                count = len(views)
                bad += _unheard(int(element), record.path, views)
            except VideoError as error:
                bad.append(BadRecord(int(element), record.path, error.reason))
        if inputs is None:
            inputs = self._layout.empty(count)["inputs"]
        return {
            "inputs": inputs,
            "views": np.int64(count),
            "index": np.int64(-1 if padding else element),
            "mask": np.bool_(not padding and all(record.unheard for record in bad)),
            "bad": bad,
        }


class _ProcessRows(grain.MapDataset):
    """This process's rows of every global batch: the r-th of P equal parts, so that all of them together are the
    batch."""

    def __init__(self, parent: grain.MapDataset, batch_size: int, process: tuple[int, int]):
        super().__init__(parent)
        self._process, self._processes = process
        if batch_size % self._processes:
            raise DataError(f"a batch of {batch_size} cannot be shared evenly by {self._processes} processes")
        self._batch_size, self._rows = batch_size, batch_size // self._processes

    def __len__(self) -> int:
        # Endless sets are sys.maxsize long, which Grain's batching rounds up to more than a length may be.
        return min(len(self._parent) // self._processes, 2**48)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        batch, row = divmod(index, self._rows)
        return self._parent[batch * self._batch_size + self._process * self._rows + row]


@dataclass(frozen=True)
class Footprint:
    """Largest host memory that the batches of one training process need at any time.

    Attributes:
      batches: largest number of batches at once, including those being decoded and the one handed out: with threads
        only, `max(num_threads, prefetch) + 1`; with workers, as many for each and 3 in transit, and one handed out.
      batch_bytes: bytes of the inputs of this process's share of a batch.
    """

    batches: int
    batch_bytes: int

    @property
    def bytes(self) -> int:
        """Bytes of all batches; in addition, each thread holds the decoded frames of one video."""
        return self.batches * self.batch_bytes


def footprint(layout: BatchLayout, config: DataConfig, batch_size: int, processes: int = 1) -> Footprint:
    """Largest memory of `train_batches`; see `Footprint`."""
    each, workers = _read_ahead(config) + 1, config.reading.num_workers
    # In the receiving process, Grain has another thread with one batch and another queue.
    batches = workers * (each + 2 * _QUEUE + 1) + 1 if workers else each
    return Footprint(batches, layout.bytes(batch_size // processes, config.sampling.views))


def _read_ahead(config: DataConfig) -> int:
    """Number of batches that one decoding process decodes or has ready; each thread decodes one."""
    return max(config.reading.num_threads, config.reading.prefetch)


def _iterate(dataset: grain.MapDataset, config: DataConfig) -> Iterator[Batch]:
    options = grain.ReadOptions(num_threads=config.reading.num_threads, prefetch_buffer_size=_read_ahead(config))
    batches = dataset.to_iter_dataset(options)
    if config.reading.num_workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # Grain reads absl flags in its worker processes; a library user has none
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(config.reading.num_workers, per_worker_buffer_size=_QUEUE)
        # This process still needs batches after Ctrl-C.
        return _started_apart(iter(batches.mp_prefetch(options, worker_init_fn=interrupts.ignore)))
    return iter(batches)


def _started_apart(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, of workers that Ctrl-C does not end; they start with the first batch."""
    with interrupts.left_to_this_process():
        first = next(batches, None)
    if first is not None:
        yield first
        yield from batches
