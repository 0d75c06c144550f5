"""Captions of videos, and answers to questions about them (`vidjax caption RUN VIDEOS`, `vidjax ask RUN VIDEO`)."""

import sys
from pathlib import Path

from rich.console import Console

from vidjax.apps.features import listed
from vidjax.apps.subtitles import write_srt
from vidjax.captioner import Captioner
from vidjax.errors import UserError
from vidjax.nn.generation import Decoding
from vidjax.progress import progress_bar
from vidjax.video import VideoError
from vidjax.wording import things


def caption(
    run: str,
    videos: str,
    *,
    question: str = "",
    out: str | None = None,
    beams: int | None = None,
    length: int | None = None,
    stride: int = 0,
    window: int = 0,
    fps: float = 0.0,
    step: int | None = None,
) -> int:
    """Print what happens in videos; with a folder, write subtitles of each video instead.

    Args:
      run: run of a network that speaks.
      videos: video, folder, or list of videos.
      question: question to answer; empty: a caption.
      out: folder for subtitles over the whole length of each video, created if necessary; None: one caption each is
        printed.
      beams, length: beams of the search and most tokens of a caption; None: as the run was evaluated.
      stride, window, fps: parts of a video for subtitles, see `Captioner.over_time`.
      step: update number of the checkpoint; None: the best.

    Returns:
      0, or 1 if any video could not be read.

    Raises:
      UserError: if the run, or the combination of options, cannot be used.
    """
    if out is None and (stride or window or fps):
        raise UserError("--stride, --window and --fps divide a video for subtitles; give --out, or leave them out")
    paths = listed(videos)
    captioner = _captioner(run, step, length, beams)
    if out is None:
        return _printed(captioner, paths, question)
    folder, bad = Path(out).expanduser(), 0
    folder.mkdir(parents=True, exist_ok=True)
    names = [Path(path).stem for path in paths]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UserError(f"several videos are called {twice}; give them one folder at a time, so that no file is lost")
    console = Console(stderr=True)
    with progress_bar(console) as bar:
        task = bar.add_task("captions", total=len(paths), info="")
        for name, path in zip(names, paths, strict=True):
            try:
                parts = list(captioner.over_time(path, question, stride=stride, window=window, fps=fps))
            except VideoError as error:
                console.print(f"[yellow]unreadable:[/] {path}: {error.reason}", highlight=False, soft_wrap=True)
                bad += 1
            else:
                write_srt(folder / f"{name}.srt", parts)
            bar.update(task, advance=1, info=name)
    print(f"subtitles of {things(len(paths) - bad, 'video')} in {folder}")
    return int(bad > 0)


def _printed(captioner: Captioner, paths: list[str], question: str) -> int:
    bad = 0
    for path in paths:
        try:
            print(f"{path}: {captioner(path, question)}", flush=True)
        except VideoError as error:
            print(f"{path}: {error.reason}", file=sys.stderr)
            bad += 1
    return int(bad > 0)


def ask(
    run: str,
    video: str,
    question: str,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    length: int | None = None,
    seed: int = 0,
    step: int | None = None,
) -> int:
    """Print the answer to a question about a video, word by word as it comes.

    Args:
      run: run of a network that speaks.
      video: path of the video.
      question: question; empty: a caption.
      temperature: temperature of a draw of the words; 0: always the most probable one.
      top_p: least share of the probability of the words among which is drawn.
      length: most tokens of the answer; None: as the run was evaluated.
      seed: seed of the draw.
      step: update number of the checkpoint; None: the best.

    Returns:
      0.

    Raises:
      UserError: if the run, or the combination of options, cannot be used.
      VideoError: if the video cannot be read.
    """
    captioner = _captioner(run, step, length, 1, temperature, top_p, seed)
    for piece in captioner.stream(video, question):
        print(piece, end="", flush=True)
    print()
    return 0


def _captioner(
    run: str,
    step: int | None,
    length: int | None,
    beams: int | None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Captioner:
    """The network of a run, with changes of how its evaluation chose words."""
    captioner = Captioner(run, step=step, seed=seed)
    own = captioner.decoding
    beams = own.beams if beams is None else beams
    power = own.length_power if beams > 1 else 1.0
    captioner.decoding = Decoding(length or own.length, beams, power, temperature, top_p=top_p)
    return captioner
