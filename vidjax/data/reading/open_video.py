"""Opening a video, be it a file or a part of a prepared data set, where it is stored as its own file, byte by byte, or
as JPEG frames.

Records name a stored video by an address, `FOLDER::SPLIT:INDEX::SOURCE`, which stands wherever the path of a file
would: `open_video` takes both.
"""

import functools
import json
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidjax.video import VideoError, VideoReader
from vidjax.video.byte_sources import is_folder
from vidjax.video.image_folder import ImageFiles
from vidjax.video.pixels import Box, check_crop, fit, target_size

# Data sets of others often do not tell the rate of their frames; this one is taken then.
ASSUMED_FPS = 25.0
_ADDRESS = re.compile(r"(?P<folder>.+)::(?P<split>[^:]+):(?P<index>\d+|-)::(?P<source>.*)", re.DOTALL)
_opening = threading.Lock()


def address(folder: str | os.PathLike, split: str, index: int | None, source: str) -> str:
    """The name of a stored video; `index` None: one that could not be read when the data set was prepared."""
    return f"{os.fspath(folder)}::{split}:{'-' if index is None else index}::{source}"


def is_address(path: str) -> bool:
    """Whether `path` names a stored video rather than a file."""
    return _ADDRESS.fullmatch(path) is not None


def parse_address(path: str) -> tuple[str, str, int | None, str]:
    """Folder, split, index and source of the address of a stored video: see `address`."""
    match = _ADDRESS.fullmatch(path)
    assert match is not None  # it is an address
    index = None if match["index"] == "-" else int(match["index"])
    return match["folder"], match["split"], index, match["source"]


def open_video(
    path: str, *, timeout: float = 60.0, folder_fps: float = ASSUMED_FPS, isolate: bool = True
) -> "VideoReader | FrameReader":
    """A reader of the video at `path`: a file, a folder of images, either of them on this machine or elsewhere
    (gs://bucket/clip.mp4), or the address of a stored one.

    Args:
      path: of the video.
      timeout: seconds that opening, and each reading, may take.
      folder_fps: frames per second of folders of images.
      isolate: decode in another process, see `VideoReader`.

    Raises:
      VideoError: if it cannot be read.
    """
    match = _ADDRESS.fullmatch(path)
    if match is None and is_folder(path):
        return FrameReader(path, ImageFiles(path), folder_fps)
    if match is None:
        return VideoReader(path, timeout=timeout, isolate=isolate)
    if match["index"] == "-":
        raise VideoError(path, "could not be read when the data set was prepared", "see its bad_records.jsonl")
    features, kind = _read(path, match["folder"], match["split"], int(match["index"]))
    stored = features["video"].bytes_list.value
    if kind == "file":
        return VideoReader(path, timeout=timeout, content=stored[0], isolate=isolate)
    rates = features["fps"].float_list.value if "fps" in features else ()
    # Rates are stored in single precision; those in use, 30000/1001 among them, are small fractions.
    fps = float(Fraction(rates[0]).limit_denominator(1001)) if rates else ASSUMED_FPS
    return FrameReader(path, stored, fps)


class FrameReader:
    """A video stored as one image per frame, read as `VideoReader` reads files: only the frames asked for are decoded.

    Args:
      path: for messages.
      images: N encoded images (JPEG or PNG), all of one size.
      fps: frames per second.
    """

    def __init__(self, path: str, images: Sequence[bytes], fps: float):
        if not len(images):
            raise VideoError(path, "has no frames")
        self.path, self.fps, self._images = path, fps, images

    def __len__(self) -> int:
        return len(self._images)

    @property
    def timestamps(self) -> np.ndarray:
        """When each frame is shown, float64 `(N,)`, in seconds from the first frame."""
        return np.arange(len(self)) / self.fps

    @property
    def duration(self) -> float:
        """Seconds from the first frame until the last one has been shown."""
        return len(self) / self.fps

    @property
    def stated_duration(self) -> None:
        """Images state nothing: see `VideoReader`."""
        return None

    @functools.cached_property
    def _shape(self) -> tuple[int, int]:
        height, width = self._decode(0).shape[:2]
        return height, width

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self._shape[0]

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self._shape[1]

    def read(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        crop: Box | None = None,
        resize: int | tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Frames by number, uint8 `(T, H, W, 3)`, RGB: see `VideoReader.read`."""
        wanted = np.asarray(indices, np.int64)
        if len(outside := wanted[(wanted < 0) | (wanted >= len(self))]):
            raise IndexError(f"{self.path}: there is no frame {outside[0]}; the range is 0…{len(self) - 1}")
        out, first, slots = None, None, {}
        for t, number in enumerate(wanted.tolist()):
            if out is not None and number in slots:
                out[t] = out[slots[number]]
                continue
            image = self._decode(number)
            if out is None or first is None:
                first = image.shape[0], image.shape[1]
                if crop is not None:
                    check_crop(crop, *first)
                out = np.empty((len(wanted), *target_size(*(crop[2:] if crop else first), resize), 3), np.uint8)
            fit(image, first, crop, out[t])
            cv2.cvtColor(out[t], cv2.COLOR_BGR2RGB, dst=out[t])
            slots[number] = t
        if out is None:
            return np.empty((0, *target_size(*(crop[2:] if crop else self._shape), resize), 3), np.uint8)
        return out

    def close(self) -> None:
        """Nothing is open; for the sake of `VideoReader`'s users."""

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _decode(self, number: int) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(self._images[number], np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            mend = "extract the frames, or prepare the data set, again"
            raise VideoError(self.path, f"frame {number} of {len(self)} does not decode", mend)
        return image


def _read(path: str, folder: str, split: str, index: int) -> tuple[Any, str]:
    """The features of one example, undecoded, and whether its video is a "file" or "frames"."""
    try:
        with _opening:
            description = describe(folder)
            records = open_split(folder, split)
        return parse(records[index]), description.video
    except Exception as error:  # ArrayRecord raises whatever its C++ says
        reason = f"cannot be read from the prepared data set ({type(error).__name__}: {error})"
        raise VideoError(path, reason, "prepare it again") from error


def parse(record: bytes) -> Any:
    """The features of a serialised example by name: each has an `int64_list`, `float_list` or `bytes_list`."""
    return _example().FromString(record).features.feature


@functools.cache
def _example() -> Any:
    from tensorflow_datasets.proto import tf_example_pb2  # which imports all of TFDS

    return tf_example_pb2.Example  # pyrefly: ignore[missing-attribute]: protobuf makes it when it is imported


@dataclass(frozen=True)
class Description:
    """What TFDS has written down about a data set, without the features that only TensorFlow can make.

    Attributes:
      name: of the data set.
      splits: of each, its files and how many examples they hold.
      features: of `features.json`, by name.
      random_access: whether the files are ArrayRecords.
      video: how `video` is stored: "file", "frames" (one image each) or "" (it has none that can be read).
    """

    name: str
    splits: dict[str, tuple[tuple[str, int], ...]]
    features: dict[str, Any]
    random_access: bool
    video: str


@functools.lru_cache(maxsize=64)
def describe(folder: str) -> Description:
    """The data set in `folder`, that of a version, where `dataset_info.json` lies."""
    # Here, where a data set is first asked for, and not when its first example is: that happens in threads. While TFDS
    # is imported, what any other thread imports becomes one of its lazy modules, such as parts of JAX that is
    # compiling; and two threads that import it at once can wait for each other for ever.
    _example()
    info = json.loads((Path(folder) / "dataset_info.json").read_text(encoding="utf-8"))
    features = json.loads((Path(folder) / "features.json").read_text(encoding="utf-8"))
    features = features.get("featuresDict", {}).get("features", {})
    splits = {}
    for split in info.get("splits", ()):
        lengths = [int(n) for n in split.get("shardLengths", ())]
        template = split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        files = []
        for i, length in enumerate(lengths):
            index, count = f"{i:05d}", f"{len(lengths):05d}"
            name = template.format(
                DATASET=info["name"],
                SPLIT=split["name"],
                FILEFORMAT=info.get("fileFormat", "tfrecord"),
                SHARD_INDEX=index,
                NUM_SHARDS=count,
                SHARD_X_OF_Y=f"{index}-of-{count}",
            )
            files.append((os.path.join(folder, name), length))
        splits[split["name"]] = tuple(files)
    video = _storage(features.get("video", {}))
    return Description(info["name"], splits, features, info.get("fileFormat") == "array_record", video)


def _storage(feature: dict[str, Any]) -> str:
    kind = feature_class(feature)
    inner = feature.get("sequence", {}).get("feature", {})
    if kind == "Video" or (kind == "Sequence" and feature_class(inner) == "Image"):
        return "frames"
    return "file" if kind == "Text" else ""


def feature_class(feature: dict[str, Any]) -> str:
    """The name of TFDS's class for a feature of `features.json`."""
    return feature.get("pythonClassName", "").rpartition(".")[2]


@dataclass(frozen=True)
class _WholeFile:
    """One file of a split, as ArrayRecord wants to be told of it: without, it opens all to count their records."""

    filename: str
    examples_in_shard: int
    skip: int
    take: int


@functools.lru_cache(maxsize=64)
def open_split(folder: str, split: str) -> Sequence[bytes]:
    """The serialised examples of one split, by number."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    files = describe(folder).splits[split]
    return ArrayRecordDataSource([_WholeFile(path, n, 0, n) for path, n in files if n])
