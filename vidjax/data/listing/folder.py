"""Folders of videos: one sub-folder per class or, if no labels are needed, videos anywhere below.

Files of sound are listed where there is not one video, and left out beside videos.
"""

import logging
import os
from dataclasses import dataclass

from vidjax.data.listing.paths import SOUND_SUFFIXES, VIDEO_SUFFIXES, class_folders, own_files
from vidjax.data.listing.rows import LISTED, Row
from vidjax.data.records import LABELS, Labels
from vidjax.data.text import DataError, raise_problems
from vidjax.wording import things

logger = logging.getLogger("vidjax")

_SHOWN = 20  # files listed in one warning


@dataclass(frozen=True)
class Folder:
    """Source of videos in sub-folders named after their classes.

    Attributes:
      name: name as given in the setting.
      path: path or address of the folder.
      labelled: whether labels are needed; otherwise videos may also be in the folder itself.
    """

    name: str
    path: str
    labelled: bool = True
    kinds = LABELS
    labels = None
    splits = LISTED

    def rows(self) -> list[Row]:
        """List the videos; see `Source`.

        Raises:
          DataError: if a class has no videos, or there are none at all.
        """
        path, rows, problems, ignored = self.path, [], [], []
        classes = class_folders(path)
        if not self.labelled:
            classes = {"": own_files(path), **{name: files for name, files in classes.items() if files}}
        elif not classes:
            raise DataError(f"{path}: no sub-folders; put the videos of each class into a sub-folder named after it")
        every = [p for files in classes.values() for p in files]
        suffixes = VIDEO_SUFFIXES if any(_suffix(p) in VIDEO_SUFFIXES for p in every) else SOUND_SUFFIXES
        for name, files in classes.items():
            videos = [p for p in files if _suffix(p) in suffixes]
            ignored += [p for p in files if _suffix(p) not in suffixes]
            if not videos and self.labelled:
                problems.append(f"{path}/{name}: the class {name!r} has no videos; add some or remove the folder")
            annotation = Labels((name,)) if self.labelled else None
            rows += [Row(p, p, annotation, missing=False) for p in videos]
        if ignored:
            names = ", ".join(p[len(path) :].lstrip("/") for p in ignored[:_SHOWN])
            what = things(len(ignored), "file without a video suffix is", "files without a video suffix are")
            logger.warning("%s: %s ignored: %s", path, what, names)
        raise_problems(problems)
        if not rows:
            raise DataError(f"{path}: no videos there or in its sub-folders")
        return rows


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
