"""Pairs of classes that mirroring swaps, for the labels of mirrored clips."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import replace

from vidjax.data.records import VideoSet
from vidjax.data.text import raise_problems

logger = logging.getLogger("vidjax")


def pair(videos: VideoSet, pairs: Sequence[str], field: str = "config.task.classify.flip_pairs") -> VideoSet:
    """Add the pairs of classes of a setting to a set's labels, besides those that the data set defines.

    Args:
      videos: videos with their labels.
      pairs: pairs of classes that mirroring swaps, such as "turn left<>turn right".
      field: name of the setting, for messages.

    Raises:
      DataError: if a pair has an unknown class, or a class that already has another partner; names each pair.
    """
    index = {name: i for i, name in enumerate(videos.labels.names)}
    mirrored, problems = dict(videos.labels.mirrored), []
    for text in pairs:
        names = [name.strip() for name in text.split("<>")]
        if unknown := [name for name in names if name not in index]:
            close = difflib.get_close_matches(unknown[0], videos.labels.names, n=2)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            problems.append(f"{field}: {text!r}: {unknown[0]!r} is not a class of the data{hint}")
            continue
        one, other = (index[name] for name in names)
        for a, b in ((one, other), (other, one)):
            if mirrored.setdefault(a, b) != b:
                known = videos.labels.names[mirrored[a]]
                problems.append(f"{field}: {text!r}: {videos.labels.names[a]!r} mirrored is already {known!r}")
    raise_problems(problems)
    if not pairs:
        return videos
    return replace(videos, labels=replace(videos.labels, directional=True, mirrored=mirrored))
