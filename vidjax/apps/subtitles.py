"""Subtitles in SubRip's format, which players show over a video of the same name."""

from collections.abc import Iterable
from pathlib import Path


def write_srt(path: Path, blocks: Iterable[tuple[float, float, str]]) -> Path:
    """Write subtitles, UTF-8.

    Args:
      path: path of the file.
      blocks: start and end in seconds, and text, in the order of time.
    """
    texts = [
        f"{number}\n{_clock(start)} --> {_clock(end)}\n{text}\n" for number, (start, end, text) in enumerate(blocks, 1)
    ]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def _clock(seconds: float) -> str:
    thousandths = round(1000 * float(seconds))
    hours, minutes, rest = thousandths // 3_600_000, thousandths // 60_000 % 60, thousandths % 60_000
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d},{rest % 1000:03d}"
