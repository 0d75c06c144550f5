"""Presentation times and orientation of an MP4 track from its tables, without reading a picture.

FFmpeg's index has most of these tables (place, size, decoding time, keyframes), but not the offset from a picture's
decoding time to its presentation time. Only plain files are accepted, in which the tables are unambiguous; the others
are indexed by reading them through.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

_LARGEST = 64 << 20  # bytes of a moov box; a day of video has some 30 MB
_NESTED = {b"trak", b"mdia", b"minf", b"stbl", b"edts"}
_UPRIGHT = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # a display matrix that changes nothing


@dataclass(frozen=True)
class Tables:
    """Tables of one track of an MP4 file."""

    offsets: np.ndarray  # int64 (N,), ticks from a sample's decoding time to its presentation time
    upright: bool  # by the file, pictures need no rotation; the pictures themselves may say otherwise


def read_tables(file: BinaryIO, track: int, count: int) -> Tables | None:
    """Read the tables of a track.

    Args:
      file: an MP4 or QuickTime file, open for reading in binary; only the headers of its outermost boxes and its
        `moov` box are read.
      track: number of the track in the file, which FFmpeg calls the stream's id.
      count: N, number of samples that FFmpeg has found in the track.

    Returns:
      The tables, or None if the file is fragmented, compressed or damaged, if the track is cut by edits or has
      several codings, or if its number of samples differs from `count`.
    """
    try:
        if (moov := _moov(file)) is None:
            return None
        film, tracks = _contents(moov)
        for boxes in tracks:
            head = boxes[b"tkhd"]
            if struct.unpack_from(">I", head, 20 if head[0] else 12)[0] == track:
                offsets = _offsets(boxes, count)
                upright = _matrix(head, 52, 40) == _matrix(film, 48, 36) == _UPRIGHT
                return None if offsets is None else Tables(offsets, upright)
    except (struct.error, KeyError, IndexError, OverflowError, ValueError):
        pass  # damaged: reading the file through will show how
    return None


def _matrix(head: memoryview, wide: int, narrow: int) -> bytes:
    """The display matrix in a header, whose offset depends on whether times have 32 or 64 bits."""
    at = wide if head[0] else narrow
    return bytes(head[at : at + 36])


def _moov(file: BinaryIO) -> memoryview | None:
    """The content of the box that describes the tracks; None if the file is fragmented."""
    at, found = 0, None
    while True:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return found
        size, kind = struct.unpack_from(">I4s", head)
        start = 8
        if size == 1:
            size, start = struct.unpack_from(">Q", head, 8)[0], 16
        if kind in (b"moof", b"sidx", b"styp"):
            return None
        if kind == b"moov":
            if found is not None or not start <= size <= _LARGEST:
                return None
            file.seek(at + start)
            content = file.read(size - start)
            if len(content) < size - start:
                return None
            found = memoryview(content)
        if size == 0:  # up to the end of the file
            return found
        if size < start:
            return None
        at += size


def _boxes(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        start = 8
        if size == 1:
            size, start = struct.unpack_from(">Q", content, at + 8)[0], 16
        elif size == 0:
            size = len(content) - at
        if size < start or at + size > len(content):
            raise ValueError("a box that is larger than what it is in")
        yield kind, content[at + start : at + size]
        at += size


def _contents(moov: memoryview) -> tuple[memoryview, list[dict[bytes, memoryview]]]:
    """The movie header, and the boxes of each track, including nested ones."""
    film, tracks = None, []
    for kind, content in _boxes(moov):
        if kind in (b"mvex", b"cmov"):
            raise ValueError("in fragments, or compressed")
        if kind == b"mvhd":
            film = content
        if kind == b"trak":
            boxes, todo = {}, [content]
            while todo:
                for inner, inside in _boxes(todo.pop()):
                    if inner in _NESTED:
                        todo.append(inside)
                    else:
                        boxes[inner] = inside
            tracks.append(boxes)
    if film is None:
        raise ValueError("without a head")
    return film, tracks


def _offsets(boxes: dict[bytes, memoryview], count: int) -> np.ndarray | None:
    if struct.unpack_from(">I", boxes[b"stsd"], 4)[0] != 1:
        return None
    if b"elst" in boxes:
        (number,) = struct.unpack_from(">I", boxes[b"elst"], 4)
        wide = boxes[b"elst"][0] == 1
        edits = [struct.unpack_from(">Qq" if wide else ">Ii", boxes[b"elst"], 8 + i * (20 if wide else 12))
                 for i in range(min(number, 3))]  # fmt: skip
        if sum(media_time >= 0 for _, media_time in edits) != 1 or number > 2:
            return None
    if struct.unpack_from(">I", boxes[b"stsz"], 8)[0] != count:
        return None
    if b"ctts" not in boxes:
        return np.zeros(count, np.int64)
    (entries,) = struct.unpack_from(">I", boxes[b"ctts"], 4)
    table = np.frombuffer(boxes[b"ctts"][8 : 8 + 8 * entries], ">i4").reshape(entries, 2).astype(np.int64)
    runs, offsets = table.T
    if np.any(runs < 0) or runs.sum() != count:
        return None
    # Where offsets are negative, FFmpeg delays the whole track, so that nothing is shown before it is decoded.
    return np.repeat(offsets - min(offsets.min(), 0), runs)
