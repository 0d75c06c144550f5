"""Rules that choose the frames of a clip, by name, in pure NumPy.

All share one signature (`sampling_rule.Rule`); `RULES` lists them by their names in settings. A clip is a window start
plus T offsets; rules differ in where windows start. The rules below reach the last frame and stay within one frame of
the ideal spacing; `protocols.py` has those of other projects, quirks included.
"""

import difflib
import functools
import math

import numpy as np

from vidjax.errors import UserError
from vidjax.video.protocols import PROTOCOLS
from vidjax.video.sampling_rule import SHORT_VIDEO, Ask, Rule, enter_into

__all__ = ["RULES", "SHORT_VIDEO", "all_frames", "centre_window", "get_rule", "key_frame_window", "linspace",
           "multi_clip", "random_window", "segments", "sliding_window", "uniform"]  # fmt: skip

RULES: dict[str, Rule] = {}
_rule = functools.partial(enter_into, RULES)


def get_rule(name: str) -> Rule:
    """Look up a sampling rule by name.

    Raises:
      UserError: if there is no such rule; it suggests similar names.
    """
    if name not in RULES:
        close = difflib.get_close_matches(name, RULES, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"choose one of {', '.join(RULES)}"
        raise UserError(f"there is no sampling rule {name!r}: {hint}")
    return RULES[name]


# Windows of T frames at a stride, or at a rate.


@_rule("random", "dense", random=True)
def random_window(ask: Ask) -> np.ndarray:
    """Dense sampling: windows with starts drawn independently and uniformly from all that fit."""
    return _windows(ask.rng.integers(ask.last_start + 1, size=ask.num_clips), ask.offsets, ask)


@_rule("centre", single="multi_clip spreads several")
def centre_window(ask: Ask) -> np.ndarray:
    """One window in the middle of the video."""
    return _windows(np.array([ask.last_start // 2]), ask.offsets, ask)


@_rule("key_frame", short=("hold",), default="hold", single="the window is around the key frame")
def key_frame_window(ask: Ask, at: int | None = None) -> np.ndarray:
    """One window around a key frame, which is the frame number T // 2 of the clip; beyond the ends of the video, its
    first or last frame is repeated. `at` is the number of the key frame; None: the middle of the video."""
    centre = (ask.num_frames - 1) // 2 if at is None else at
    offsets = np.floor((np.arange(ask.T) - ask.T // 2) * ask.step + 0.5).astype(np.int64)
    return np.clip(centre + offsets, 0, ask.num_frames - 1)[None]


@_rule("multi_clip")
def multi_clip(ask: Ask) -> np.ndarray:
    """K evenly spread windows, from the first frame to the last; K = 1: in the middle."""
    starts = _spaced(ask.last_start, ask.num_clips) if ask.num_clips > 1 else np.array([ask.last_start // 2])
    return _windows(starts, ask.offsets, ask)


@_rule("sliding_window", single="the length of the video decides")
def sliding_window(ask: Ask, hop: int | None = None) -> np.ndarray:
    """Windows every `hop` source frames from the first frame on, and a last one flush with the end.

    `hop` None: the span of a clip, so that windows do not overlap. The length of the video gives the number of clips.
    """
    hop = max(round(ask.T * ask.step), 1) if hop is None else hop
    if hop < 1:
        raise ValueError(f"hop = {hop!r}: must be 1 or more source frames")
    starts = np.union1d(np.arange(0, ask.last_start, hop), ask.last_start)
    return _windows(starts, ask.offsets, ask)


@_rule("all", single="the video is one clip")
def all_frames(ask: Ask) -> np.ndarray:
    """The whole video, at the stride or rate, as one clip `(1, M)`; T and the short-video rule are ignored."""
    count = math.ceil(ask.num_frames / ask.step) + 1
    offsets = np.floor(np.arange(count) * ask.step + 0.5).astype(np.int64)
    return offsets[offsets < ask.num_frames][None]


# Frames spread over the whole video; these rules ignore stride and rates.


@_rule("uniform")
def uniform(ask: Ask) -> np.ndarray:
    """Centres of T equal segments; the k-th of K clips takes the point (k+1)/(K+1) of every segment."""
    return _segment_points(ask)


@_rule("linspace", single="which takes both ends of the video")
def linspace(ask: Ask) -> np.ndarray:
    """T equally spaced frames (rounded half up), including the first and the last; T = 1: the middle."""
    if ask.num_frames < ask.T:
        return _each_frame(ask)
    return _spaced(ask.num_frames - 1, ask.T)[None] if ask.T > 1 else np.array([[(ask.num_frames - 1) // 2]])


@_rule("segments")
def segments(ask: Ask) -> np.ndarray:
    """Sampling of temporal segment networks (Wang et al. 2016, arXiv 1608.00859): one frame from each of T equal
    segments, drawn uniformly in training; in test, like `uniform`."""
    if ask.rng is None or ask.num_frames < ask.T:
        return _segment_points(ask)
    points = (np.arange(ask.T) + ask.rng.random((ask.num_clips, ask.T))) * ask.num_frames / ask.T
    return np.minimum(points.astype(np.int64), ask.num_frames - 1)


# Parts of the rules.


def _windows(starts: np.ndarray, offsets: np.ndarray, ask: Ask) -> np.ndarray:
    """Clips `(K, T)` at the given starts; all alike if the video is shorter than one clip."""
    if offsets[-1] < ask.num_frames:
        return starts.astype(np.int64)[:, None] + offsets
    if ask.short_video == "loop":
        clip = offsets % ask.num_frames
    elif ask.short_video == "hold":
        clip = np.minimum(offsets, ask.num_frames - 1)
    else:
        clip = _spaced(ask.num_frames - 1, ask.T)
    return np.tile(clip, (len(starts), 1))


def _each_frame(ask: Ask) -> np.ndarray:
    """Consecutive frames of a video with fewer than T frames."""
    return _windows(np.zeros(ask.num_clips), np.arange(ask.T), ask)


def _segment_points(ask: Ask) -> np.ndarray:
    if ask.num_frames < ask.T:
        return _each_frame(ask)
    parts = ask.num_clips + 1
    points = np.arange(ask.T) * parts + np.arange(1, parts)[:, None]
    return points * ask.num_frames // (ask.T * parts)


def _spaced(last: int, count: int) -> np.ndarray:
    """`count` > 1 equally spaced whole numbers from 0 to `last`, both included, rounded half up."""
    return (2 * np.arange(count) * last + count - 1) // (2 * (count - 1))


RULES.update(PROTOCOLS)
