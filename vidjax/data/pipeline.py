"""Records → batches, with Grain.

A batch is a dictionary of NumPy arrays: `video` uint8 `(B, V, T, H, W, C)`, `label` int32 `(B,)` or float32 `(B, K)`,
`index` int64 `(B,)` into the records (−1: padding), `mask` bool `(B,)`, and `bad`, a list of `BadRecord`. B is this
process's share. In training V is `config.train_views`, and the label of mirrored clips is that of what they show, where
classes tell left from right and the data set knows which becomes which. Evaluation adds `views` int64 `(B,)`: how many
of the V are the video's; the rest is padding, where the sampling rule gives long videos more clips than short ones.

Which examples make up step s, in which order and with which augmentation, depends on the seed and s alone: not on the
number of workers or threads, and, as a whole, not on the number of processes. Resuming is therefore starting at a step.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np

from vidjax.config import DataConfig
from vidjax.data.clips import ClipReader
from vidjax.data.records import DataError, VideoSet
from vidjax.video import VideoError

Batch = dict[str, Any]
logger = logging.getLogger("vidjax")

# A data set in which this many draws in a row fail is broken, not blemished.
MAX_SUBSTITUTES = 20


@dataclass(frozen=True)
class BadRecord:
    """A video that could not be read: its index among the records, its path and the reason."""

    index: int
    path: str
    reason: str


def train_batches(
    videos: VideoSet,
    reader: ClipReader,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    process: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Endless shuffled batches for training, from `start_step` on. A bad video is replaced by another, drawn by
    position.

    Args:
      videos: what to train on; a fresh order every epoch.
      reader: how a clip is read; its config gives workers, threads and prefetch.
      batch_size: clips per step over all processes.
      seed: of order and augmentation.
      start_step: the step whose batch comes first.
      process: (index, count) of this process among those that share each batch.

    Raises:
      DataError: if 20 drawn videos in a row cannot be read.
    """
    loader = _TrainLoader(videos, reader)
    dataset = grain.MapDataset.range(len(videos)).seed(seed).shuffle().repeat(None).random_map(loader)
    dataset = _ProcessRows(dataset, batch_size, process).batch(batch_size // process[1], batch_fn=_collate)
    return _iterate(dataset[start_step:], reader.config)


def num_train_batches(videos: VideoSet, batch_size: int) -> float:
    """Steps in one pass over the videos."""
    return len(videos) / batch_size


def eval_batches(
    videos: VideoSet,
    reader: ClipReader,
    *,
    batch_size: int,
    num_clips: int,
    num_crops: int,
    process: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Every video once, in order, the last batch padded; a bad video is masked out and reported, never replaced.

    Args:
      videos: what to evaluate.
      reader: how views are read.
      batch_size: videos per step over all processes.
      num_clips: clips per video.
      num_crops: crops per clip, 1, 3, 5 or 10.
      process: (index, count) of this process among those that share each batch.
    """
    padded = -(-len(videos) // batch_size) * batch_size
    dataset = grain.MapDataset.range(padded).map(_EvalLoader(videos, reader, num_clips, num_crops))
    dataset = _ProcessRows(dataset, batch_size, process).batch(batch_size // process[1], batch_fn=_collate)
    return _iterate(dataset, reader.config)


class _TrainLoader(grain.transforms.RandomMap):
    def __init__(self, videos: VideoSet, reader: ClipReader):
        self._videos, self._reader, self._targets = videos, reader, videos.targets()
        self._mirrored = self._targets
        if videos.directional and reader.config.flip:
            if not videos.mirrored:
                logger.warning(
                    "clips are mirrored though the classes tell left from right, and it is not known which class "
                    "mirroring makes of which; config.data.flip=false leaves them as they are"
                )
            swap = [videos.mirrored.get(i, i) for i in range(len(videos.class_names))]
            self._mirrored = self._targets[:, np.argsort(swap)] if videos.multi_label else np.take(swap, self._targets)
            self._mirrored = self._mirrored.astype(self._targets.dtype)
        elif videos.directional and reader.config.flip is None:
            logger.info("clips are not mirrored: the classes of this data set tell left from right")

    def random_map(self, element: int, rng: np.random.Generator) -> Batch:
        bad = []
        for _ in range(MAX_SUBSTITUTES):
            record = self._videos.records[element]
            path = record.path
            try:
                clips = self._reader.train_clips(
                    path, rng, (record.start, record.end), directional=self._videos.directional
                )
            except VideoError as error:
                bad.append(BadRecord(int(element), path, error.reason))
                element = int(rng.integers(len(self._videos)))
                continue
            label = (self._mirrored if clips.mirrored.all() else self._targets)[element]
            return {"video": clips.video, "label": label, "index": np.int64(element), "mask": np.True_, "bad": bad}
        raise DataError(
            f"{MAX_SUBSTITUTES} training videos in a row could not be read, "
            f"the last one {bad[-1].path}: {bad[-1].reason}"
        )


class _EvalLoader(grain.transforms.Map):
    def __init__(self, videos: VideoSet, reader: ClipReader, num_clips: int, num_crops: int):
        self._videos, self._reader, self._targets = videos, reader, videos.targets()
        self._num_clips, self._num_crops = num_clips, num_crops

    def map(self, element: int) -> Batch:
        padding = element >= len(self._videos)
        record = self._videos.records[0 if padding else element]
        spec = self._reader.spec
        shape = (self._num_clips * self._num_crops, spec.num_frames, spec.size, spec.size, 3)
        video, bad = np.zeros(shape, np.uint8), []
        if not padding:
            try:
                video = self._reader.read_eval(
                    record.path, self._num_clips, self._num_crops, (record.start, record.end)
                )
            except VideoError as error:
                bad.append(BadRecord(int(element), record.path, error.reason))
        return {
            "video": video,
            "views": np.int64(len(video)),
            "label": self._targets[0 if padding else element],
            "index": np.int64(-1 if padding else element),
            "mask": np.bool_(not padding and not bad),
            "bad": bad,
        }


class _ProcessRows(grain.MapDataset):
    """This process's rows of every global batch: the r-th of P equal parts, so that all of them together are the
    batch."""

    def __init__(self, parent: grain.MapDataset, batch_size: int, process: tuple[int, int]):
        super().__init__(parent)
        self._process, self._processes = process
        self._batch_size, self._rows = batch_size, batch_size // self._processes

    def __len__(self) -> int:
        return len(self._parent) // self._processes

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        batch, row = divmod(index, self._rows)
        return self._parent[batch * self._batch_size + self._process * self._rows + row]


def _collate(elements: Sequence[Batch]) -> Batch:
    most = max(len(e["video"]) for e in elements)
    if any(len(e["video"]) < most for e in elements):
        elements = [e | {"video": _pad_views(e["video"], most)} for e in elements]
    batch = {key: np.stack([e[key] for e in elements]) for key in elements[0] if key != "bad"}
    batch["bad"] = [record for e in elements for record in e["bad"]]
    return batch


def _pad_views(video: np.ndarray, count: int) -> np.ndarray:
    """`(V, …)` filled up with black views to `(count, …)`."""
    return np.concatenate([video, np.zeros((count - len(video), *video.shape[1:]), video.dtype)])


def _iterate(dataset: grain.MapDataset, config: DataConfig) -> Iterator[Batch]:
    threads = config.num_threads
    dataset = dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, config.prefetch))
    )
    if config.num_workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # Grain reads absl flags in its worker processes; a library user has none
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(config.num_workers, per_worker_buffer_size=config.prefetch)
        dataset = dataset.mp_prefetch(options)
    return iter(dataset)
