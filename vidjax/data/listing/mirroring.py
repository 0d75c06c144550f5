"""Classes that mirroring turns into each other, and the labels of mirrored clips."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vidjax.config import AugmentConfig, mirrors
from vidjax.data.records import VideoSet
from vidjax.data.text import raise_problems

logger = logging.getLogger("vidjax")

_FIELD = "config.task.classify.flip_pairs"


def pair(videos: VideoSet, pairs: Sequence[str]) -> VideoSet:
    """`videos` with the pairs of classes of `flip_pairs`, besides those that the data set knows itself.

    Raises:
      DataError: naming every pair with an unknown class, or a class that has another partner already.
    """
    index = {name: i for i, name in enumerate(videos.class_names)}
    mirrored, problems = dict(videos.mirrored), []
    for text in pairs:
        names = [name.strip() for name in text.split("<>")]
        if unknown := [name for name in names if name not in index]:
            close = difflib.get_close_matches(unknown[0], videos.class_names, n=2)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            problems.append(f"{_FIELD}: {text!r}: {unknown[0]!r} is no class of the data{hint}")
            continue
        one, other = (index[name] for name in names)
        for a, b in ((one, other), (other, one)):
            if mirrored.setdefault(a, b) != b:
                known = videos.class_names[mirrored[a]]
                problems.append(f"{_FIELD}: {text!r}: {videos.class_names[a]!r} mirrored is {known!r} already")
    raise_problems(problems)
    return replace(videos, directional=True, mirrored=mirrored) if pairs else videos


def mirrored_targets(videos: VideoSet, augment: AugmentConfig, flip_pairs: Sequence[str] = ()) -> np.ndarray:
    """As `videos.targets()`, for clips that are shown mirrored. Logs where mirroring is off, or labels may suffer.

    Args:
      videos: whose classes may tell left from right.
      augment, flip_pairs: as for `vidjax.config.mirrors`.
    """
    targets = videos.targets()
    if not videos.directional:
        return targets
    if not mirrors(augment, flip_pairs, directional=True):
        if augment.flip is None:
            logger.info("clips are not mirrored: the classes of this data set tell left from right")
        return targets
    if not videos.mirrored:
        logger.warning(
            "clips are mirrored though the classes tell left from right, and it is not known which class mirroring "
            "makes of which; %s tells it, config.data.augment.flip=false leaves clips as they are",
            _FIELD,
        )
    swap = [videos.mirrored.get(i, i) for i in range(len(videos.class_names))]
    swapped = targets[:, np.argsort(swap)] if videos.multi_label else np.take(swap, targets)
    return swapped.astype(targets.dtype)
