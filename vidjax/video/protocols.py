"""The sampling rules of mmaction2, SlowFast, pytorchvideo and OpenTAD, number for number.

They give exactly the frame numbers of the projects they are named after, quirks included, for protocols published with
them. Random rules have the same distribution only, since the generators differ.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from vidjax.video.sampling_rule import Ask, Rule, enter_into

PROTOCOLS: dict[str, Rule] = {}
_rule = functools.partial(enter_into, PROTOCOLS)


@_rule("mmaction2_sample", short=("loop", "hold"), default="loop")
def mmaction2_sample(ask: Ask) -> np.ndarray:
    """mmaction2's SampleFrames (1.x; default options). "hold" is its `repeat_last`: the last frame sampled, not of the
    video. Its `target_fps=30, frame_interval=8` is `target_fps=30/8` here."""
    N, T, K, rng = ask.num_frames, ask.T, ask.num_clips, ask.rng
    if ask.target_fps is not None:
        span = max(T * ask.step, 1.0)
        offsets = np.linspace(0, span - 1, T).astype(np.int64)
    else:
        span = T * ask.stride if rng is not None else (T - 1) * ask.stride + 1
        offsets = np.arange(T) * ask.stride
    room = N - span
    part = int((room + 1) // K)
    if rng is not None:
        if part > 0:
            starts = np.arange(K) * part + rng.integers(part, size=K)
        elif max(K, span) < N:
            starts = np.sort(rng.integers(int(room + 1), size=K))
        else:
            starts = np.around(np.arange(K) * max(room + 1, 0) / K)
    elif T == 1:
        starts = np.arange(K) * (N / K) + N / K / 2  # in this order: 7 · 2.8 + 1.4 is less than 21
    elif K == 1:
        starts = np.array([max(room, 0) // 2])
    elif ask.target_fps is not None:
        starts = np.arange(K) * (max(room, 0) // (K - 1))
    else:
        starts = np.round(np.arange(K) * (max(room, 0) / (K - 1)))
    indices = (starts[:, None] + offsets).astype(np.int64)
    if ask.short_video == "loop":
        return indices % N
    return np.minimum(indices, np.where(indices < N, indices, 0).max(axis=1, keepdims=True))


@_rule("mmaction2_tsn", short=("loop", "hold"), default="loop", single="which joins T of them into the model's clip")
def mmaction2_tsn(ask: Ask) -> np.ndarray:
    """SampleFrames as TSN and TSM models use it: clip_len = 1 and T clips, which together form the model's one clip."""
    return mmaction2_sample(ask.num_frames, ask.fps, 1, num_clips=ask.T, short_video=ask.short_video, rng=ask.rng).T


@_rule("mmaction2_uniform", short=("spread",), default="spread")
def mmaction2_uniform(ask: Ask) -> np.ndarray:
    """mmaction2's UniformSample (Something-Something): segments of (N-1)/T frames, either end included."""
    size = (ask.num_frames - 1) / ask.T
    bounds = np.round(size * np.arange(ask.T + 1)).astype(np.int64)
    if ask.rng is not None:
        return ask.rng.integers(bounds[:-1], bounds[1:] + 1, size=(ask.num_clips, ask.T))
    return bounds[:-1] + (size / (ask.num_clips + 1) * np.arange(1, ask.num_clips + 1)).astype(np.int64)[:, None]


@_rule("mmaction2_dense", short=("loop",), default="loop")
def mmaction2_dense(ask: Ask, sample_range: int = 64) -> np.ndarray:
    """mmaction2's DenseSampleFrames as TSM uses it: T frames, `sample_range // T` apart, in a window of 64 frames.

    In training the last start that fits is never drawn. In test, K windows (its `num_sample_positions`, 10).
    """
    last, K = max(ask.num_frames - sample_range, 0), ask.num_clips
    starts = np.linspace(0, last, K).astype(np.int64) if ask.rng is None else ask.rng.integers(max(last, 1), size=K)
    return (starts[:, None] + np.arange(ask.T) * (sample_range // ask.T)) % ask.num_frames


@_rule("slowfast", short=("hold",), default="hold")
def slowfast(ask: Ask) -> np.ndarray:
    """The SlowFast repository's rule: T frames over a span of τ·T·fps/30, real-valued and cut to whole frames.

    Test starts are i/K of the last start that fits, so that the end is never reached. `target_fps` replaces 30/τ.
    """
    return _slowfast_clips(ask, lambda room, i: room * i / ask.num_clips)


@_rule("slowfast_offset", short=("hold",), default="hold")
def slowfast_offset(ask: Ask) -> np.ndarray:
    """SlowFast's rule with `USE_OFFSET_SAMPLING`: test starts are multiples of ⌊last start / (K-1)⌋; K = 1: middle."""
    K = ask.num_clips
    return _slowfast_clips(ask, lambda room, i: i * (room // (K - 1)) if K > 1 else i + room // 2)


def _slowfast_clips(ask: Ask, test_starts: Callable[[float, np.ndarray], np.ndarray]) -> np.ndarray:
    span = max(_rate_span(ask), 1.0)
    room = max(ask.num_frames - span, 0.0)
    i = np.arange(ask.num_clips)
    starts = test_starts(room, i) if ask.rng is None else ask.rng.uniform(0, room, len(i))
    return np.clip(_linspace32(starts, starts + span - 1, ask.T), 0, ask.num_frames - 1).astype(np.int64)


@_rule("pytorchvideo", short=("spread",), default="spread")
def pytorchvideo(ask: Ask) -> np.ndarray:
    """pytorchvideo's clip samplers with UniformTemporalSubsample: all frames shown in a window of τ·T/30 seconds, T of
    them at equal distances with both ends.

    Random starts in training (RandomClipSampler), K evenly spread in test (ConstantClipsPerVideoSampler; K = 1: the
    first). Time runs from the first frame at `fps`. `target_fps` replaces 30/τ.
    """
    N, span = ask.num_frames, _rate_span(ask)
    room = max(N - span, 0.0)
    i = np.arange(ask.num_clips)
    starts = i * room / max(len(i) - 1, 1) if ask.rng is None else ask.rng.uniform(0, room, len(i))
    # Timestamps are far coarser than this rounding, which keeps a sum of floats from exceeding a whole number.
    first = np.minimum(np.ceil(np.round(starts, 6)), N - 1)
    last = np.clip(np.ceil(np.round(starts + span, 6)) - 1, first, N - 1)
    return (first[:, None] + np.floor(_linspace32(np.zeros_like(first), last - first, ask.T))).astype(np.int64)


@_rule("opentad_whole", short=("spread",), default="spread", single="which is the whole video")
def opentad_whole(ask: Ask) -> np.ndarray:
    """OpenTAD's LoadFrames with `method="resize"`: the middles of T equal parts of the whole video, rounded half to
    even, in training too."""
    step = ask.num_frames / ask.T
    first = step / 2 - 0.5
    places = first + np.arange(ask.T) * ((first + step) - first)  # as np.arange(first, …, step) counts
    return np.clip(places, 0, ask.num_frames - 1).round().astype(np.int64)[None]


def _rate_span(ask: Ask) -> float:
    """Span of a clip in source frames: T frames at `target_fps`, or every τ-th at 30 frames/s."""
    if not 0 < ask.fps < math.inf:
        raise ValueError(f"fps = {ask.fps!r}: this rule samples at a rate and needs a positive one of the video")
    if ask.target_fps is not None:
        return ask.T / ask.target_fps * ask.fps
    return ask.stride * ask.T / 30 * ask.fps


def _linspace32(first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """`(K, count)` in float32, counted from both ends towards the middle as torch.linspace does: truncated to whole
    numbers, these values give other frames than float64 about once in a hundred clips."""
    first, last = (x.astype(np.float32)[:, None] for x in (first, last))
    if count == 1:
        return first
    step = (last - first) / np.float32(count - 1)
    k = np.arange(count, dtype=np.float32)
    return np.where(k < count // 2, first + step * k, last - step * (np.float32(count - 1) - k))
