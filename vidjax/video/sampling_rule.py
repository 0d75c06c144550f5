"""Common form of all sampling rules: their signature, the checks of its arguments, and their registration."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vidjax.errors import UserError

SHORT_VIDEO = ("loop", "hold", "spread")


class Rule(Protocol):
    """Signature of a sampling rule."""

    def __call__(
        self,
        num_frames: int,
        fps: float,
        T: int,
        *,
        stride: float = 1,
        target_fps: float | None = None,
        num_clips: int = 1,
        short_video: str | None = None,
        rng: np.random.Generator | None = None,
    ) -> np.ndarray:
        """Choose the frames of the clips of one video.

        Args:
          num_frames: N, number of frames of the video.
          fps: frames per second of the video.
          T: frames per clip.
          stride: τ, distance in source frames between two frames of a clip.
          target_fps: frames per second of the clip, in place of `stride`: the stride is `fps / target_fps`, whole or
            not, and the k-th offset is `k · stride` rounded half up. None: use `stride`.
          num_clips: K, number of clips.
          short_video: filling of a clip that is longer than the video: "loop" starts again (frame n is n mod N), "hold"
            repeats the last frame, "spread" spreads the frames over the clip. Rules of other projects have defaults.
          rng: generator for random rules. Rules with a training and a test form use the latter if it is None.

        Returns:
          int64 `(K, T)`, each in 0…N-1.

        Raises:
          ValueError: if a value is out of range, or a random rule gets no generator.
          UserError: if this rule does not support the short-video rule or the number of clips.
        """


@dataclass(frozen=True)
class Ask:
    """The checked arguments of a sampling rule."""

    num_frames: int
    fps: float
    T: int
    stride: float
    target_fps: float | None
    num_clips: int
    short_video: str
    rng: np.random.Generator | None

    @property
    def step(self) -> float:
        return self.stride if self.target_fps is None else self.fps / self.target_fps

    @property
    def offsets(self) -> np.ndarray:
        return np.floor(np.arange(self.T) * self.step + 0.5).astype(np.int64)

    @property
    def last_start(self) -> int:
        """Last start of a window that still fits into the video; 0 if the video is too short."""
        return max(self.num_frames - 1 - int(self.offsets[-1]), 0)


def enter_into(
    table: dict[str, Rule],
    *names: str,
    short: Sequence[str] = SHORT_VIDEO,
    default: str | None = None,
    single: str = "",
    random: bool = False,
) -> Callable[[Callable[..., np.ndarray]], Rule]:
    """Decorator that enters a function of `Ask` into `table` with the common signature.

    Args:
      table: table of the rules by name.
      names: names of this rule.
      short: short-video rules that it supports.
      default: short-video rule used when the caller gives none; None: the caller must choose.
      single: reason why `num_clips` must be 1, for the message; empty: it may be any number.
      random: whether the rule needs a generator.
    """

    def enter(pick: Callable[..., np.ndarray]) -> Rule:
        @functools.wraps(pick, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
        def rule(
            num_frames, fps, T, *, stride=1, target_fps=None, num_clips=1, short_video=default, rng=None, **options
        ):
            for name, value in (("num_frames", num_frames), ("T", T), ("num_clips", num_clips)):
                if not isinstance(value, int | np.integer) or value < 1:
                    raise ValueError(f"{name} = {value!r}: must be a whole number from 1 on")
            if not 0 < stride < math.inf:
                raise ValueError(f"stride = {stride!r}: must be positive, in source frames")
            if target_fps is not None and not (0 < target_fps < math.inf and 0 < fps < math.inf):
                raise ValueError(f"target_fps = {target_fps!r}, fps = {fps!r}: both must be positive, in frames/s")
            if short_video not in short:
                raise UserError(f"short_video = {short_video!r}: {names[0]} needs one of {', '.join(short)}")
            if single and num_clips != 1:
                raise UserError(f"num_clips = {num_clips}: must be 1 for {names[0]}, {single}")
            if random and rng is None:
                raise ValueError(f"rng = None: {names[0]} is random and needs a NumPy generator")
            ask = Ask(int(num_frames), fps, int(T), stride, target_fps, int(num_clips), short_video, rng)
            return pick(ask, **options)

        del rule.__wrapped__  # the signature to show is this one
        table.update(dict.fromkeys(names, rule))
        return rule

    return enter
