"""Opening of videos: files, folders of images, and videos stored in prepared data sets.

A prepared data set stores each video as the bytes of its file or as JPEG frames. Records name a stored video by an
address, `FOLDER::SPLIT:INDEX::SOURCE`, in place of a file's path: `open_video` takes both.
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
from vidjax.video.flow_folder import StoredFlow
from vidjax.video.image_folder import ImageFiles
from vidjax.video.pixels import Box, check_crop, fit, target_size

# Frame rate assumed for data sets that do not state one, as is common for those prepared by others.
ASSUMED_FPS = 25.0
_ADDRESS = re.compile(r"(?P<folder>.+)::(?P<split>[^:]+):(?P<index>\d+|-)::(?P<source>.*)", re.DOTALL)
_opening = threading.Lock()


def address(folder: str | os.PathLike, split: str, index: int | None, source: str) -> str:
    """Address of a stored video; `index` None: it could not be read when the data set was prepared."""
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
    path: str, *, folder_fps: float = ASSUMED_FPS, isolate: bool = True, **limits: Any
) -> "VideoReader | FrameReader":
    """Open the video at `path`: a file or a folder of images, local or remote (gs://bucket/clip.mp4), or the address of
    a stored video.

    Args:
      path: path, URL or address of the video.
      folder_fps: frame rate of folders of images, frames per second.
      isolate: whether to decode in another process, see `VideoReader`.
      limits: `timeout`, `max_pixels`, `max_memory` and `patience` of videos that are files, see `VideoReader`.

    Raises:
      VideoError: if the video cannot be read.
    """
    return open_stored(path, folder_fps=folder_fps, isolate=isolate, **limits)[0]


def open_stored(
    path: str, *, folder_fps: float = ASSUMED_FPS, isolate: bool = True, **limits: Any
) -> "tuple[VideoReader | FrameReader, StoredFlow | None]":
    """Open a video, see `open_video`, and the fields of flow that a prepared data set stores beside it, if any.

    Raises:
      VideoError: if the video cannot be read.
    """
    match = _ADDRESS.fullmatch(path)
    if match is None and is_folder(path):
        return FrameReader(path, ImageFiles(path), folder_fps), None
    if match is None:
        return VideoReader(path, isolate=isolate, **limits), None
    features, kind = stored(path)
    images, flow = features["video"].bytes_list.value, _flow(path, features)
    if kind == "file":
        return VideoReader(path, content=images[0], isolate=isolate, **limits), flow
    rates = features["fps"].float_list.value if "fps" in features else ()
    # Rates are stored in single precision; real rates, such as 30000/1001, are small fractions.
    fps = float(Fraction(rates[0]).limit_denominator(1001)) if rates else ASSUMED_FPS
    return FrameReader(path, images, fps), flow


def _flow(path: str, features: Any) -> StoredFlow | None:
    """Fields of flow stored in an example; None: there are none."""
    if "flow_method" not in features:
        return None
    method = features["flow_method"].bytes_list.value[0].decode()
    (bound,) = features["flow_bound"].float_list.value
    pictures = features["flow"].bytes_list.value if "flow" in features else ()
    return StoredFlow(path, [(picture,) for picture in pictures], bound, method=method)


class FrameReader:
    """Reader of a video stored as one image per frame, used like `VideoReader`: only requested frames are decoded.

    Args:
      path: path of the video, for messages.
      images: N encoded images (JPEG or PNG), all of one size.
      fps: frame rate, frames per second.
    """

    def __init__(self, path: str, images: Sequence[bytes], fps: float):
        if not len(images):
            raise VideoError(path, "has no frames")
        self.path, self.fps, self._images = path, fps, images

    def __len__(self) -> int:
        return len(self._images)

    @property
    def timestamps(self) -> np.ndarray:
        """Times of the frames, float64 `(N,)`, in seconds from the first frame."""
        return np.arange(len(self)) / self.fps

    @property
    def duration(self) -> float:
        """Duration from the start of the first frame to the end of the last, seconds."""
        return len(self) / self.fps

    @property
    def stated_duration(self) -> None:
        """None, as images state no duration; see `VideoReader`."""
        return None

    @functools.cached_property
    def _shape(self) -> tuple[int, int]:
        height, width = self._decode(0).shape[:2]
        return height, width

    @property
    def height(self) -> int:
        """Height of the frames, pixels."""
        return self._shape[0]

    @property
    def width(self) -> int:
        """Width of the frames, pixels."""
        return self._shape[1]

    def read(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        crop: Box | None = None,
        resize: int | tuple[int, int] | None = None,
    ) -> np.ndarray:
        """Read frames by number, uint8 RGB `(T, H, W, 3)`; see `VideoReader.read`."""
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
            slots[number] = t
        if out is None:
            return np.empty((0, *target_size(*(crop[2:] if crop else self._shape), resize), 3), np.uint8)
        return out

    def close(self) -> None:
        """Do nothing, as no file is open; for the same interface as `VideoReader`."""

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _decode(self, number: int) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(self._images[number], np.uint8), cv2.IMREAD_COLOR_RGB)
        if image is None:
            mend = "extract the frames, or prepare the data set, again"
            raise VideoError(self.path, f"frame {number} of {len(self)} does not decode", mend)
        return image


def stored(path: str) -> tuple[Any, str]:
    """Undecoded features of the stored video at an address, and whether it is a "file" or "frames".

    Raises:
      VideoError: if the video could not be read when the data set was prepared, or cannot be read now.
    """
    folder, split, index, _ = parse_address(path)
    if index is None:
        raise VideoError(path, "could not be read when the data set was prepared", "see its bad_records.jsonl")
    try:
        with _opening:
            description = describe(folder)
            records = open_split(folder, split)
        return parse(records[index]), description.video
    except Exception as error:  # ArrayRecord passes on any error of its C++ code
        reason = f"cannot be read from the prepared data set ({type(error).__name__}: {error})"
        raise VideoError(path, reason, "prepare it again") from error


def parse(record: bytes) -> Any:
    """Parse a serialised example: features by name, each with an `int64_list`, `float_list` or `bytes_list`."""
    return _example().FromString(record).features.feature


@functools.cache
def _example() -> Any:
    from tensorflow_datasets.proto import tf_example_pb2  # imports all of TFDS

    return tf_example_pb2.Example  # pyrefly: ignore[missing-attribute]: protobuf makes it when it is imported


@dataclass(frozen=True)
class Description:
    """Description of a data set as TFDS stores it, without features that only TensorFlow can make.

    Attributes:
      name: name of the data set.
      splits: files of each split, with their numbers of examples.
      features: features in `features.json`, by name.
      random_access: whether the files are ArrayRecords.
      video: storage of `video`: "file", "frames" (one image each) or "" (no readable video).
    """

    name: str
    splits: dict[str, tuple[tuple[str, int], ...]]
    features: dict[str, Any]
    random_access: bool
    video: str


@functools.lru_cache(maxsize=64)
def describe(folder: str) -> Description:
    """Read the description of the data set in `folder`, the folder of a version with its `dataset_info.json`."""
    # TFDS is imported here, before any thread reads an example. During its import, modules that other threads import
    # become lazy modules of TFDS (parts of JAX while it compiles, for example), and two threads that import it at once
    # can deadlock.
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
    """Name of the TFDS class of a feature in `features.json`."""
    return feature.get("pythonClassName", "").rpartition(".")[2]


@dataclass(frozen=True)
class _WholeFile:
    """One file of a split as ArrayRecord expects it; without these numbers it opens every file to count records."""

    filename: str
    examples_in_shard: int
    skip: int
    take: int


@functools.lru_cache(maxsize=64)
def open_split(folder: str, split: str) -> Sequence[bytes]:
    """Open the serialised examples of one split, by number."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    files = describe(folder).splits[split]
    return ArrayRecordDataSource([_WholeFile(path, n, 0, n) for path, n in files if n])
