"""Events of a video as they come, from a causal network that sees one frame at a time (`vidjax localise --follow`).

The network's answer is about all frames since a state began. So two states run, each begun anew after a window of
frames, half a window apart; the older one answers, for the last half to whole window. A class begins when its score
reaches a threshold, and ends when it falls below half of that.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from vidjax.apps.clip_network import ClipNetwork, ahead
from vidjax.apps.timeline import clock
from vidjax.data.reading.windows import WindowReader, Windows
from vidjax.errors import UserError
from vidjax.models.state import merge, split
from vidjax.nn.enter import enter
from vidjax.tasks.localise.detections import Detections, video_id, write_results
from vidjax.video import VideoError
from vidjax.wording import things

_END = 0.5  # share of the threshold below which a class ends


@dataclass(frozen=True)
class Event:
    """Beginning or end of a class, as it is noticed.

    Attributes:
      seconds: time of the frame at which it is noticed.
      label: class number.
      begins: whether the class begins; else it ends.
      score: score at that frame; of an end, the highest since the beginning.
      since: time of the beginning, of an end; else of this frame.
    """

    seconds: float
    label: int
    begins: bool
    score: float
    since: float


@dataclass
class Events:
    """Events of scores that come one frame after the other.

    Attributes:
      threshold: score from which a class begins; it ends below half of that.
    """

    threshold: float
    _open: dict[int, tuple[float, float]] = field(default_factory=dict)  # class → beginning, highest score

    def add(self, seconds: float, scores: np.ndarray) -> Iterator[Event]:
        """Take the scores `(K,)` of the frame at `seconds`, and yield what begins and ends with it."""
        for label, (since, highest) in list(self._open.items()):
            if scores[label] < _END * self.threshold:
                yield self._ended(label, seconds)
            else:
                self._open[label] = since, max(highest, float(scores[label]))
        for label in np.flatnonzero(scores >= self.threshold).tolist():
            if label not in self._open:
                self._open[label] = seconds, float(scores[label])
                yield Event(seconds, label, True, float(scores[label]), seconds)

    def finish(self, seconds: float) -> Iterator[Event]:
        """End everything at the end of the video."""
        for label in list(self._open):
            yield self._ended(label, seconds)

    def _ended(self, label: int, seconds: float) -> Event:
        since, highest = self._open.pop(label)
        return Event(seconds, label, False, highest, since)


class Stream:
    """Scores of a causal network for one frame after the other.

    Args:
      network: network, one of those with a `step`.
      window: frames after which a state begins anew.

    Raises:
      UserError: if the network is not causal.
    """

    def __init__(self, network: ClipNetwork, window: int):
        if not hasattr(network.model, "step"):
            raise UserError(
                f"{network.spec.name} sees whole clips, not a stream; --follow takes networks such as cnn_lstm_*, "
                "cnn_gru_* and rcn_*, and tsm_* trained with --config.model.kwargs.causal=true"
            )
        self._network, self._half = network, max(1, window // 2)
        graphdef, params, stats = split(network.model)
        self._weights = params, stats
        (name, video), dtype = next(iter(network.spec.inputs.items())), network.dtype

        def step(params: Any, stats: Any, frame: jax.Array, state: Any) -> tuple[jax.Array, Any]:
            model: Any = merge(graphdef, params, stats)
            entered = enter({name: frame[None, None]}, {name: video}, dtype)[name]
            logits, state = model.step(entered[:, 0], state)
            return logits.astype(np.float32), state

        self._step = jax.jit(step)
        self._states: list[Any]
        self._ages: list[int]
        self._number: int
        self.begin()

    def begin(self) -> None:
        """Forget all frames."""
        self._states, self._ages, self._number = [None, None], [0, 0], 0

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Take a frame, uint8 `(size, size, 3)`, and return the scores of the older state, float `(K,)`."""
        if self._number % self._half == 0:
            young = (self._number // self._half) % 2
            self._states[young], self._ages[young] = None, 0
        answers = []
        for place in range(2 if self._number >= self._half else 1):
            try:
                logits, self._states[place] = self._step(*self._weights, frame, self._states[place])
            except ValueError as error:
                if isinstance(error, UserError):
                    raise
                raise UserError(f"{self._network.spec.name} cannot follow a stream: {error}") from None
            self._ages[place] += 1
            answers.append(logits)
        self._number += 1
        oldest = int(np.argmax(self._ages[: len(answers)]))
        assert self._network.present is not None  # it has classes
        return self._network.present(np.asarray(answers[oldest]))[0]


def follow_videos(
    network: ClipNetwork, paths: list[str], folder: Path, *, window: int, fps: float, least: float
) -> int:
    """Print the events of videos as they come, and write them as segments; returns the exit status.

    Args:
      network: causal network with classes.
      paths: videos.
      folder: folder for `segments.json`.
      window: frames after which a state begins anew; 0: those of the network's clips.
      fps: rate at which frames are taken; 0: as the network's clips have them.
      least: score from which a class begins.
    """
    video = network.spec.video
    window = window or video.num_frames
    entries, bad, console = {}, [], Console(stderr=True)
    for path in paths:
        try:
            entries[video_id(path)] = _follow(network, path, window, fps, least)
        except VideoError as error:
            bad.append(path)
            console.print(f"[yellow]unreadable:[/] {path}: {error.reason}", highlight=False, soft_wrap=True)
    facts = {"model": network.spec.name, "fingerprint": network.fingerprint, "method": "stream"}
    write_results(folder / "segments.json", entries, **facts)
    count = sum(map(len, entries.values()))
    print(f"{things(count, 'event')} in {things(len(entries), 'video')}: {folder}/segments.json")
    return int(bool(bad))


def _follow(network: ClipNetwork, path: str, window: int, fps: float, least: float) -> list[dict[str, Any]]:
    video, names = network.spec.video, network.classes
    stream, events = Stream(network, window), Events(least)
    found: list[Event] = []
    one = Windows(1, 1, 1)
    with WindowReader(path, network.spec, network.data, one, fps or video.fps or 0.0) as reader:
        every = 1 if fps or video.fps else video.stride
        rate = reader.fps / every
        print(
            f"{os.path.basename(path)}: {rate:.3g} frames/s; an answer is about the last {window // 2 / rate:.1f} to "
            f"{window / rate:.1f} s"
        )
        spent, number = 0.0, 0
        for number, frame in enumerate(ahead(reader.frames(every)), 1):
            began = time.perf_counter()
            scores = stream(frame)
            took = time.perf_counter() - began
            spent += took if number > 2 else 0.0  # the first ones are compiled
            for event in events.add((number - 1) / rate, scores):
                found.append(event)
                say(event, names, took)
        for event in events.finish(min(number / rate, reader.duration)):
            found.append(event)
            say(event, names, 0.0)
    latency = 1000 * spent / max(1, number - 2)
    print(f"{os.path.basename(path)}: {latency:.1f} ms from a frame to its answer on average")
    ends = [event for event in found if not event.begins]
    segments = np.array([[event.since, event.seconds] for event in ends]).reshape(-1, 2)
    scores, labels = np.array([e.score for e in ends]), np.array([e.label for e in ends], np.int64)
    return Detections(segments, scores, labels).entries(names)


def say(event: Event, names: tuple[str, ...], took: float) -> None:
    """Print an event, which was answered in `took` seconds; 0: not by a frame."""
    what = "begins" if event.begins else f"ends, after {event.seconds - event.since:.1f} s"
    latency = f"; answered in {1000 * took:.0f} ms" if took else ""
    print(f"{clock(event.seconds):>8}  {names[event.label]} {what} ({100 * event.score:.0f} %{latency})", flush=True)
