"""Preparation of annotated boxes by the settings of the task: time, excluded key frames, and detected boxes."""

import logging
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vidjax.config import Config, DetectConfig
from vidjax.data.listing.datasets import DATASETS
from vidjax.data.listing.published import cut_times
from vidjax.data.records import Boxes, Corners, Record, VideoSet
from vidjax.data.text import DataError
from vidjax.evaluation.boxes import box_iou
from vidjax.tasks.detect.jitter import moved
from vidjax.tasks.detect.proposals import FrameBoxes, find_name, matched, moment, read_boxes, read_excluded, stem

logger = logging.getLogger("vidjax")


def prepare_videos(config: Config, videos: VideoSet, *, training: bool) -> VideoSet:
    """Prepare the boxes of a set; see `vidjax.tasks.prepare_videos`.

    Times are moved to those of the files, excluded key frames removed. In training, detected boxes join the annotated
    ones, with their labels; in evaluation they are those that the network is asked about.

    Raises:
      DataError: if files of boxes cannot be used, or name hardly any of the key frames.
    """
    settings = config.task.detect
    excluded = read_excluded(settings.exclude)
    keep = [i for i, record in enumerate(videos.records) if not _is_excluded(record, excluded)]
    if not keep and len(videos):
        raise DataError(f"config.task.detect.exclude = {settings.exclude!r}: leaves no key frame of {len(videos)}")
    files = settings.train_boxes if training else settings.boxes
    given = read_boxes(files, settings.min_score) if files else None
    records = [videos.records[i] for i in keep]
    if given is not None:
        records = _with_boxes(records, given, settings, training)
    elif not training and settings.eval_jitter < 1:
        records = [_jittered(record, settings.eval_jitter) for record in records]
    new = {old: i for i, old in enumerate(keep)}
    return replace(
        videos,
        records=tuple(_moved(record, file_start(config, record.path)) for record in records),
        sources=tuple(videos.sources[i] for i in keep) if videos.sources else (),
        quarantined={new[i]: reason for i, reason in videos.quarantined.items() if i in new},
    )


def file_start(config: Config, path: str) -> float:
    """Time of the annotations at which the file at `path` begins, seconds: that in its name, for data sets whose files
    are cut and named so, or else that of the settings."""
    if config.data.dataset and DATASETS[config.data.dataset].timed:
        _, start, end = cut_times(stem(path).rpartition("/")[2])
        if end:
            return start
    return config.task.detect.file_start


def _is_excluded(record: Record, excluded: dict[str, set[int]]) -> bool:
    if not excluded or record.moment is None:
        return False
    name = find_name(record.path, excluded)
    return name is not None and moment(record.moment) in excluded[name]


def _moved(record: Record, start: float) -> Record:
    """The record at the time of a file that begins at `start`, seconds."""
    if not start or not isinstance(record.annotation, Boxes):
        return record
    at = record.annotation.at - start
    return replace(record, annotation=replace(record.annotation, at=at), at=at)


def _with_boxes(records: list[Record], given: FrameBoxes, settings: DetectConfig, training: bool) -> list[Record]:
    made, missing, count = [], [], 0
    change: Callable[[Boxes, tuple[Corners, ...]], Boxes] = (
        (lambda boxes, found: _joined(boxes, found, settings))
        if training
        else (lambda boxes, found: replace(boxes, proposals=found))
    )
    for record in records:
        boxes = record.annotation
        if not isinstance(boxes, Boxes):
            made.append(record)
            continue
        frames = given.of(record.path)
        if frames is None or moment(boxes.at) not in frames:
            missing.append(f"{record.path} at {boxes.at:g} s")
        else:
            count += 1
        found = tuple(corners for corners, _ in (frames or {}).get(moment(boxes.at), ()))
        made.append(replace(record, annotation=change(boxes, found)))
    if problem := matched(len(records), count, given.source, missing, given.frames):
        # Frames without any person are rightly missing, but hardly most of them.
        if not count:
            raise DataError(problem)
        logger.warning("%s", problem)
    return made


def _joined(boxes: Boxes, found: tuple[Corners, ...], settings: DetectConfig) -> Boxes:
    """Annotated and detected boxes together; a detected one has the labels of those that it overlaps."""
    corners, classes = list(boxes.corners), list(boxes.classes)
    own = np.array(boxes.corners, np.float64).reshape(-1, 4)
    for box in found:
        near = np.flatnonzero(box_iou(np.array(box)[None], own) >= settings.match_iou)
        labels = tuple(sorted({label for i in near for label in boxes.classes[i]}))
        if labels or settings.unlabelled == "negative":
            corners.append(box)
            classes.append(labels)
    return replace(boxes, corners=tuple(corners), classes=tuple(classes), tracks=())


def _jittered(record: Record, iou: float) -> Record:
    """The record with boxes of a given overlap with the annotated ones, the same on every call, as those asked."""
    boxes = record.annotation
    if not isinstance(boxes, Boxes):
        return record
    name = record.path.rpartition("/")[2]
    rng = np.random.default_rng([zlib.crc32(name.encode()), moment(boxes.at)])
    corners = np.array(boxes.corners, np.float64).reshape(-1, 4)
    drawn = np.clip(moved(corners, rng.normal(size=corners.shape), np.full(len(corners), iou)), 0, 1)
    return replace(record, annotation=replace(boxes, proposals=tuple(map(tuple, drawn.tolist()))))
