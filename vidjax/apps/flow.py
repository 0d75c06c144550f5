"""Optical flow of a whole video, as a video of colours or as files of fields."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from vidjax.apps.flow_estimator import flow_estimator
from vidjax.data.reading.open_video import open_video
from vidjax.errors import UserError
from vidjax.progress import progress_bar
from vidjax.video.draw import frame_blocks
from vidjax.video.flow_colours import flow_colours
from vidjax.video.flow_files import write_flow
from vidjax.video.write import VideoWriter
from vidjax.wording import things

_ENDINGS = {"flo": ".flo", "kitti": ".png"}


def write_flow_of(
    video: str,
    out: str,
    *,
    method: str = "dis_fast",
    weights: str = "",
    updates: int = 0,
    form: str = "video",
    size: int = 0,
    bound: float = 0.0,
    console: Console | None = None,
) -> int:
    """Estimate the flow from each frame of a video to the next, and write it.

    Args:
      video: path of the video, or of a folder of pictures.
      out: path of the video to write, or of the folder of files, created if necessary.
      method: name of the algorithm or network, or folder of a run, see `vidjax.apps.flow_estimator.flow_estimator`.
      weights: checkpoint of the network; empty for an algorithm.
      updates: number of the network's updates; 0: its own.
      form: "video" of colours, "flo" or "kitti".
      size: short side to which frames are resized first, pixels; 0: they stay.
      bound: motion that is fully saturated, pixels; 0: each field's longest.
      console: console for progress and the last line; None: standard error and standard output.

    Returns:
      0.

    Raises:
      UserError: if the video has one frame only, `out` is a folder and a video is to be written or the other way
        round, or the method cannot be used.
      VideoError: if the video cannot be decoded.
    """
    place = Path(out)
    if form == "video" and (place.is_dir() or place.suffix.lower() not in (".mp4", ".mov", ".m4v")):
        raise UserError(f"{out}: give a file to write the video of colours to, ending in .mp4; or --format flo")
    if form != "video" and (place.is_file() or place.suffix):
        raise UserError(f"{out}: give a folder for the files of --format {form}")
    if form != "video" and bound:
        raise UserError(f"--bound {bound:g}: is for colours; files have the motion itself, so leave it out")
    estimate = flow_estimator(method, weights, updates=updates)
    with open_video(video) as reader, progress_bar(console or Console(stderr=True)) as bar:
        if len(reader) < 2:
            raise UserError(f"{video}: has {things(len(reader), 'frame')}; flow needs two or more")
        task = bar.add_task(method, total=len(reader) - 1, info="")
        moments, longest = reader.timestamps, 0.0

        def fields() -> Iterator[np.ndarray]:
            nonlocal longest
            last: np.ndarray | None = None
            for frame in _frames(reader, size):
                if last is not None:
                    field = estimate(last, frame)
                    longest = max(longest, float(np.hypot(field[..., 0], field[..., 1]).max()))
                    yield field
                    bar.advance(task)
                last = frame

        if form == "video":
            _write_video(place, fields(), moments, reader.fps, bound)
        else:
            place.mkdir(parents=True, exist_ok=True)
            for number, field in enumerate(fields()):
                write_flow(place / f"frame_{number:05d}{_ENDINGS[form]}", field)
    count = things(len(moments) - 1, "field")
    line = f"{count} of flow by {method}, motion up to {longest:.1f} pixels a frame; {place}"
    (console or Console()).print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def _frames(reader: Any, size: int) -> Iterator[np.ndarray]:
    """Frames one by one, resized, read in blocks of bounded memory."""
    for numbers in frame_blocks(reader):
        yield from reader.read(numbers, resize=size or None)


def _write_video(path: Path, fields: Iterator[np.ndarray], moments: np.ndarray, fps: float, bound: float) -> None:
    with VideoWriter(path, fps=fps) as out:
        last = -1.0
        for field, time in zip(fields, moments, strict=False):
            last = max(float(time), last + 1e-4)  # two frames of one time follow each other at once
            out.write(flow_colours(field, bound), last)
