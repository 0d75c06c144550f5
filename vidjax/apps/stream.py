"""Classes of a live source, frame by frame, from a causal network (`vidjax stream RUN SOURCE`)."""

import time
from pathlib import Path

import numpy as np
from rich.console import Console

from vidjax.apps.clip_network import ClipNetwork
from vidjax.apps.follow import Events, Stream, say
from vidjax.data.reading.windows import view_of
from vidjax.errors import UserError
from vidjax.progress import progress_bar
from vidjax.video.draw import draw_label, track_colour
from vidjax.video.live import LiveFrame, LiveSource
from vidjax.video.write import VideoWriter
from vidjax.wording import things

_SIDE = 256  # least height of the pictures written, pixels


def stream(
    run: str,
    source: str,
    *,
    out: str = "",
    least: float = 0.3,
    window: int = 0,
    fps: float = 0.0,
    waiting: int = 2,
    paced: bool = True,
    seconds: float = 0.0,
    step: int | None = None,
) -> int:
    """Print when classes begin and end in a live source, and what it took from a frame to its answer.

    A network that is too slow for the source sees the newest frames: `waiting` of them wait, older ones are dropped and
    counted, so that an answer is never later than those frames take.

    Args:
      run: run of a causal classifier, one with a `step`.
      source: camera, rtsp:// address or file, see `LiveSource`.
      out: video to write, with the best class on every frame; empty: none.
      least: score from which a class begins.
      window: frames after which the network's state begins anew; 0: those of its clips.
      fps: rate at which frames are taken; 0: as the network's clips have them.
      waiting: most frames that wait for the network.
      paced: whether a file is played at its own pace.
      seconds: time after which to stop; 0: at the end of the source, or Ctrl-C.
      step: update number of the checkpoint; None: the best.

    Returns:
      0.

    Raises:
      UserError: if the network is not causal or has no classes.
      VideoError: if the source cannot be read.
    """
    network = ClipNetwork(run, step=step, batch_size=1)
    network.needs_classes(run)
    video = network.spec.video
    if video.flow is not None:
        raise UserError(f"{run}: {network.spec.name} sees flow; a stream gives colours")
    size = window or video.num_frames
    answer = Stream(network, size)
    for _ in range(size):  # everything is compiled before the source is opened
        answer(np.zeros((video.size, video.size, 3), np.uint8))
    answer.begin()
    events, latencies, lag = Events(least), [], 0.0
    writer: VideoWriter | None = None
    console, last = Console(), 0.0
    # A file that states no rate of its own is sampled as the network's clips: every `stride`-th frame.
    with LiveSource(source, rate=fps or video.fps or 0.0, waiting=waiting, paced=paced) as live:
        rate = min(live.fps, fps or video.fps or live.fps)
        every = 1 if fps or video.fps else video.stride
        print(f"{source}: {rate / every:.3g} frames/s; an answer is about the last {size // 2 * every / rate:.1f} to "
              f"{size * every / rate:.1f} s", flush=True)  # fmt: skip
        try:
            with progress_bar(Console(stderr=True)) as bar:
                task = bar.add_task("stream", total=None, info="")
                for number, frame in enumerate(live):
                    if number % every:
                        continue
                    scores = answer(view_of(frame.picture, network.spec, network.data))
                    took = time.monotonic() - frame.came
                    latencies.append(took)
                    lag, last = max(lag, took), frame.seconds
                    for event in events.add(frame.seconds, scores):
                        say(event, network.classes, took)
                    best = int(scores.argmax())
                    bar.update(task, advance=1, info=f"{network.classes[best]} {100 * scores[best]:.0f} %")
                    if out:
                        writer = writer or VideoWriter(out, fps=rate / every)
                        writer.write(_painted(frame, network.classes[best], best, float(scores[best])))
                    if seconds and frame.seconds >= seconds:
                        break
        except KeyboardInterrupt:
            pass
        finally:
            if writer is not None:
                writer.close()
        for event in events.finish(last):
            say(event, network.classes, 0.0)
        dropped = live.dropped
    _report(console, source, latencies, dropped, lag, out)
    return 0


def _painted(frame: LiveFrame, name: str, number: int, score: float) -> np.ndarray:
    """Picture with its class and time, enlarged if it is very small."""
    scale = max(1, -(-_SIDE // frame.picture.shape[0]))
    picture = frame.picture.repeat(scale, axis=0).repeat(scale, axis=1)
    draw_label(picture, f"{name} {100 * score:.0f} %   {frame.seconds:.1f} s", 4, 4, track_colour(number))
    return picture


def _report(console: Console, source: str, latencies: list[float], dropped: int, lag: float, out: str) -> None:
    if not latencies:
        raise UserError(f"{source}: no frame came")
    middle, high = (1000 * float(np.quantile(latencies, q)) for q in (0.5, 0.99))
    written = f"; video in {Path(out)}" if out else ""
    console.print(
        f"{things(len(latencies), 'frame')} answered, {dropped} dropped; from a frame to its answer {middle:.1f} ms, "
        f"99 % within {high:.1f} ms, the longest {1000 * lag:.1f} ms{written}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
