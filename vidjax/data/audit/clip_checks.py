"""Checks of the clips that a pipeline takes from its videos: pure functions from numbers to `Finding`s.

They look for typical mistakes of sampling and splits, which do not stop a training but lower its accuracy or inflate
it. Thresholds are constants at the top; a finding beyond them is a warning, never an error.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vidjax.config.choices import STRIDED_RULES
from vidjax.video.crops import CROPS, spatial_views
from vidjax.wording import things

PADDED_VIDEOS = 0.05  # share of videos that may be shorter than a clip
UNSEEN_FRAMES = 0.25  # share of the frames that evaluation, or all training draws, may omit
DISTORTION = 1.1  # factor by which resizing may change the ratio of the sides
USUAL_FPS = (10.0, 61.0)  # frames/s
FPS_RATIO = 1.25  # fastest to slowest video, where the stride is fixed
IRREGULAR_GAPS = 0.02  # share of frames more than half a frame early or late beyond which a rate counts as variable

# Rules that draw every training frame within its own segment: they are uneven by design.
JITTERED = frozenset({"segments", "mmaction2_uniform", "mmaction2_tsn"})


@dataclass(frozen=True)
class Sampled:
    """Video, or a record's part of it, with the frames sampled from it.

    Attributes:
      path: path of the file.
      timestamps: display times of the frames, float64 `(N,)`, seconds.
      fps: average frame rate, frames per second.
      height, width: displayed size, pixels.
      clips: frame numbers of the clips, int64 `(K, T)` in 0…N-1. In training these are several draws, from the earliest
        possible clip to the latest.
    """

    path: str
    timestamps: np.ndarray
    fps: float
    height: int
    width: int
    clips: np.ndarray

    @property
    def num_frames(self) -> int:
        """N, number of frames."""
        return len(self.timestamps)

    @property
    def repeated(self) -> np.ndarray:
        """Share of each clip's frames that repeat or go back instead of advancing, float64 `(K,)`."""
        reached = np.maximum.accumulate(self.clips, axis=1)
        return (self.clips[:, 1:] <= reached[:, :-1]).sum(axis=1) / self.clips.shape[1]

    @property
    def short(self) -> bool:
        """Whether every clip repeats frames."""
        return bool(self.repeated.min() > 0)


@dataclass(frozen=True)
class Finding:
    """Outcome of one check."""

    check: str  # name of the check
    ok: bool
    text: str  # result with numbers and, if it is not ok, the remedy
    values: dict[str, Any] = field(default_factory=dict)  # numbers, for programs
    videos: tuple[str, ...] = ()  # paths of the videos concerned


class ExtremeDraws:
    """Substitute for a NumPy generator that always draws the lowest, or the highest, possible value.

    Values drawn less than once in a million draws from a real interval count as impossible.
    """

    def __init__(self, highest: bool):
        self._share = 1 - 1e-6 if highest else 0.0
        self._highest = highest

    def integers(self, low: Any, high: Any = None, size: Any = None) -> np.ndarray:
        low, high = (0, low) if high is None else (low, high)
        value = np.asarray(high) - 1 if self._highest else np.asarray(low)
        return np.broadcast_to(value, np.shape(value) if size is None else size).astype(np.int64)

    def random(self, size: Any = None) -> np.ndarray:
        return np.full(() if size is None else size, self._share)

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None) -> np.ndarray:
        return low + (high - low) * self.random(size)


def check_ends(train: Sequence[Sampled], evaluation: Sequence[Sampled]) -> Finding:
    """Check that clips reach the end of a video as well as its beginning; short videos are ignored.

    A rule that can reach the first frame must reach the last; one that keeps a distance from the first frame must keep
    the same distance from the last, within one frame.
    """
    values, parts, videos = {}, [], []
    for split, sampled in (("training", train), ("evaluation", evaluation)):
        long = [v for v in sampled if not v.short]
        head = np.array([v.clips.min() for v in long], int)
        tail = np.array([v.num_frames - 1 - v.clips.max() for v in long], int)
        off = tail - head > (head > 0)
        if off.any():
            missed = int((tail - head)[off].max())
            what = "the last frame" if missed == 1 else f"the last {missed} frames" if not head[off].any() else ""
            what = what or f"up to {missed} frames more at the end than at the beginning"
            parts.append(f"{split} never shows {what} ({of(off.sum(), len(long))} videos)")
            videos += [v.path for v, bad in zip(long, off, strict=True) if bad]
        values[split] = {
            "num_videos": len(long),
            "end_out_of_reach": int(off.sum()),
            "frames_missed": int((tail - head)[off].max()) if off.any() else 0,
        }
    text = "; ".join(parts) + ": choose random, segments or multi_clip" if parts else "both ends are reached alike"
    return Finding("ends", not parts, text, values, tuple(dict.fromkeys(videos)))


def check_spacing(train: Sequence[Sampled], evaluation: Sequence[Sampled], *, train_rule: str) -> Finding:
    """Check that the frames of every clip are evenly spaced, within one frame.

    Training rules in `JITTERED` draw each frame in its segment, up to two segments apart. For videos shorter than a
    clip the share is reported; they cause a warning only if `check_padding` warns too.
    """
    values, parts, videos = {}, [], []
    for split, sampled in (("training", train), ("evaluation", evaluation)):
        jittered = split == "training" and train_rule in JITTERED
        uneven = np.array([not all(_even(c, v.num_frames, jittered) for c in v.clips) for v in sampled], bool)
        short = np.array([v.short for v in sampled], bool)
        many_short = bool(sampled) and (uneven & short).mean() > PADDED_VIDEOS
        if (uneven & ~short).any():
            parts.append(f"{split} clips of {of((uneven & ~short).sum(), len(sampled))} videos are uneven")
        if many_short:
            parts.append(
                f"{split} clips of {of((uneven & short).sum(), len(sampled))} videos are uneven as these are too "
                "short: config.data.sampling.short_video=spread, or a smaller stride or num_frames"
            )
        wrong = uneven & (~short | many_short)
        videos += [v.path for v, bad in zip(sampled, wrong, strict=True) if bad]
        values[split] = {
            "num_videos": len(sampled),
            "uneven": int((uneven & ~short).sum()),
            "uneven_because_short": int((uneven & short).sum()),
            **_spacing(sampled),
        }
    apart = values["evaluation"]["frames_apart"] or values["training"]["frames_apart"]
    even = f"frames are {apart:g} apart" if apart else "the clips have one frame"
    return Finding("spacing", not parts, "; ".join(parts) or even, values, tuple(dict.fromkeys(videos)))


def check_padding(train: Sequence[Sampled], evaluation: Sequence[Sampled]) -> Finding:
    """Check how many videos are shorter than a clip, and the share of repeated frames in clips."""
    values, warn, text = {}, False, []
    for split, sampled in (("training", train), ("evaluation", evaluation)):
        short = [v for v in sampled if v.short]
        slots = float(np.mean([v.repeated.mean() for v in sampled])) if sampled else 0.0
        share = len(short) / len(sampled) if sampled else 0.0
        warn |= share > PADDED_VIDEOS
        values[split] = {"num_videos": len(sampled), "short_videos": len(short), "frames_repeated": slots}
        text.append(f"{split}: {of(len(short), len(sampled))} videos short, {percent(slots)} of the frames repeated")
    if warn:
        text.append("a smaller config.data.clip.num_frames or stride, or leaving these videos out, mends it")
    videos = tuple(dict.fromkeys(v.path for v in [*train, *evaluation] if v.short))
    return Finding("padding", not warn, "; ".join(text), values, videos)


def check_aspect(sampled: Sequence[Sampled], *, resize: tuple[int, ...], size: int, num_crops: int) -> Finding:
    """Check whether resizing changes the aspect ratio, and how much of the picture the evaluation crops cover.

    Args:
      sampled: sampled videos.
      resize: size before the crop, `(short side,)` or `(height, width)`, pixels.
      size: side of the crop, pixels.
      num_crops: crops per clip, as in `EvalConfig`.
    """
    if not sampled:
        return Finding("aspect", True, "no video to look at")
    stretch, seen = [], []
    for v in sampled:
        scale = resize[0] / min(v.height, v.width)
        height, width = resize if len(resize) == 2 else (round(v.height * scale), round(v.width * scale))
        stretch.append((width / height) / (v.width / v.height) if len(resize) == 2 else 1.0)
        seen.append(_share_of_picture(height, width, min(size, height, width), num_crops))
    factors = np.maximum(stretch, 1 / np.array(stretch))
    off = factors > DISTORTION
    values = {
        "num_videos": len(sampled),
        "distorted": int(off.sum()),
        "largest_factor": float(factors.max()),
        "picture_seen": float(np.mean(seen)),
    }
    text = f"{things(num_crops, 'crop sees', 'crops see')} {percent(values['picture_seen'])} of the picture"
    if off.any():
        worst = sampled[int(factors.argmax())]
        text = (
            f"resizing to {resize[0]}×{resize[1]} stretches {of(off.sum(), len(sampled))} videos, up to "
            f"{factors.max():.2f}-fold ({worst.height}×{worst.width}): config.data.clip.resize=({min(resize)},) keeps "
            f"the aspect; {text}"
        )
    videos = tuple(v.path for v, bad in zip(sampled, off, strict=True) if bad)
    return Finding("aspect", not off.any(), text, values, videos)


def check_fps(
    sampled: Sequence[Sampled], *, rules: Iterable[str], num_frames: int, stride: int, target_fps: float | None
) -> Finding:
    """Check for frame rates that are variable, unusual, mixed under a fixed stride, or below the sampling rate.

    Args:
      sampled: sampled videos.
      rules: names of the sampling rules in use; only with `STRIDED_RULES` do clips last longer at a lower rate.
      num_frames: T, frames of a clip.
      stride: τ, source frames from one frame of a clip to the next.
      target_fps: sampling rate, frames per second; None: the stride applies.
    """
    if not sampled:
        return Finding("fps", True, "no video to look at")
    rates = np.array([v.fps for v in sampled])
    variable = np.array([_variable(v.timestamps) for v in sampled])
    unusual = (rates < USUAL_FPS[0]) | (rates > USUAL_FPS[1])
    fixed = target_fps is None and not set(rules).isdisjoint(STRIDED_RULES)
    slow = rates < 0.95 * target_fps if target_fps else np.zeros(len(rates), bool)
    ratio = float(rates.max() / rates.min())
    problems, wrong = [], variable | unusual | slow
    if variable.any():
        problems.append(f"{of(variable.sum(), len(sampled))} videos have a variable rate: encode them at a fixed one")
    if unusual.any():
        problems.append(f"{of(unusual.sum(), len(sampled))} have an unusual rate")
    if fixed and ratio > FPS_RATIO:
        seconds = ((num_frames - 1) * stride + 1) / rates
        problems.append(
            f"at a stride of {stride} clips last {seconds.min():.2f}…{seconds.max():.2f} s: sample at a rate "
            f"(config.data.clip.fps={np.median(rates) / stride:.3g})"
        )
        wrong |= np.abs(np.log(rates / np.median(rates))) > np.log(FPS_RATIO) / 2
    if slow.any():
        problems.append(f"{of(slow.sum(), len(sampled))} are slower than the {target_fps:g} frames/s sampled")
    common = Counter(round(float(r), 2) for r in rates).most_common(5)
    values = {
        "num_videos": len(sampled),
        "min": float(rates.min()),
        "median": float(np.median(rates)),
        "max": float(rates.max()),
        "common": {f"{rate:g}": count for rate, count in common},
        "variable": int(variable.sum()),
        "unusual": int(unusual.sum()),
        "too_slow": int(slow.sum()),
        "fixed_stride": fixed,
    }
    found = f"{rates.min():.4g}…{rates.max():.4g} frames/s" if ratio > 1.001 else f"{rates.max():.4g} frames/s"
    videos = tuple(v.path for v, bad in zip(sampled, wrong, strict=True) if bad)
    return Finding("fps", not problems, "; ".join([found, *problems]), values, videos)


def check_coverage(train: Sequence[Sampled], evaluation: Sequence[Sampled]) -> Finding:
    """Check the share of frames not covered by any evaluation view, or any training draw.

    A clip covers the frames between its first and its last, and half a step beyond either. Training covers the frames
    from the earliest possible clip to the latest.
    """
    values, unseen_videos = {}, []
    for split, sampled in (("training", train), ("evaluation", evaluation)):
        unseen, longest = [], 0.0
        for v in sampled:
            clips = np.sort(v.clips, axis=1)
            if split == "training":
                clips = np.array([[clips.min(), clips.max()]])
            covered = _covered(clips, v.num_frames, _median_step(v.clips))
            unseen.append(1 - covered.mean())
            longest = max(longest, _longest_run(~covered) / v.fps)
            if unseen[-1] > UNSEEN_FRAMES:
                unseen_videos.append(v.path)
        values[split] = {
            "num_videos": len(sampled),
            "unseen": float(np.mean(unseen)) if unseen else 0.0,
            "longest_unseen_seconds": float(longest),
        }
    off = [split for split in values if values[split]["unseen"] > UNSEEN_FRAMES]
    text = "; ".join(
        f"{split} leaves out {percent(v['unseen'])} of the frames"
        + (f" (up to {v['longest_unseen_seconds']:.1f} s on end)" if v["unseen"] else "")
        for split, v in values.items()
    )
    if "evaluation" in off:
        share = 1 - values["evaluation"]["unseen"]
        clips = evaluation[0].clips.shape[0]
        enough = max(int(np.ceil(clips / max(share, 1e-3))), clips + 1)
        text += f": config.eval.num_clips={enough} would cover about all"
    if "training" in off:
        text += "; choose a random rule for config.data.sampling.train"
    return Finding("coverage", not off, text, values, tuple(dict.fromkeys(unseen_videos)))


def check_reading(unreadable: Mapping[str, str], num_videos: int) -> Finding:
    """Report videos that cannot be opened, as path → reason, of `num_videos` videos tried."""
    if not unreadable:
        return Finding("reading", True, f"all {num_videos} videos open", {"num_videos": num_videos, "unreadable": {}})
    path, reason = next(iter(unreadable.items()))
    text = f"{of(len(unreadable), num_videos)} videos cannot be read, such as {path}: {reason}"
    return Finding("reading", False, text, {"num_videos": num_videos, "unreadable": dict(unreadable)}, (*unreadable,))


def of(part: int, whole: int) -> str:
    """Format a count, such as `3 of 40`."""
    return f"{int(part)} of {int(whole)}"


def percent(share: float) -> str:
    """Format a percentage, such as `7.5 %`."""
    return f"{100 * share:.1f} %"


def _even(clip: np.ndarray, num_frames: int, jittered: bool) -> bool:
    steps = np.diff(clip)
    if jittered:  # neighbours are less than two segments apart
        return bool((steps >= 0).all() and (steps <= 2 * num_frames / len(clip) + 1).all())
    return not len(steps) or int(steps.max() - steps.min()) <= 1


def _median_step(clips: np.ndarray) -> float:
    """Source frames between neighbours; 0 for clips of one frame."""
    return float(np.median(np.abs(np.diff(clips)))) if clips.shape[1] > 1 else 0.0


def _spacing(sampled: Sequence[Sampled]) -> dict[str, float]:
    """Medians over the videos that are long enough, or over all."""
    long = [v for v in sampled if not v.short] or sampled
    steps = [_median_step(v.clips) for v in long]
    seconds = [np.median(v.timestamps[v.clips[:, -1]] - v.timestamps[v.clips[:, 0]]) for v in long]
    return {
        "frames_apart": float(np.median(steps)) if steps else 0.0,
        "clip_seconds": float(np.median(seconds)) if seconds else 0.0,
    }


def _variable(timestamps: np.ndarray) -> bool:
    gaps = np.diff(timestamps)
    if len(gaps) < 2:
        return False
    usual = np.median(gaps)
    return bool((np.abs(gaps - usual) > 0.5 * usual).mean() > IRREGULAR_GAPS)


def _covered(clips: np.ndarray, num_frames: int, step: float) -> np.ndarray:
    covered = np.zeros(num_frames, bool)
    for clip in clips:
        covered[max(int(np.ceil(clip[0] - step / 2)), 0) : int(clip[-1] + step / 2) + 1] = True
    return covered


def _longest_run(flags: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _share_of_picture(height: int, width: int, size: int, num_crops: int) -> float:
    seen = np.zeros((height, width), bool)
    for top, left, h, w in spatial_views(height, width, size, CROPS[num_crops]):
        seen[top : top + h, left : left + w] = True
    return float(seen.mean())
