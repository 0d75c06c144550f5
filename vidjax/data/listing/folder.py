"""Folders of videos: one sub-folder per class or, if no labels are needed, videos anywhere below.

A folder in which there is no video at all, but sound, is one of sound files, for networks that only hear.
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
        found = {_suffix(p) for files in classes.values() for p in files}
        suffixes = SOUND_SUFFIXES if found & SOUND_SUFFIXES and not found & VIDEO_SUFFIXES else VIDEO_SUFFIXES
        for name, files in classes.items():
            videos = [p for p in files if _suffix(p) in suffixes]
            ignored += [p for p in files if _suffix(p) not in suffixes]
            if not videos and self.labelled:
                problems.append(f"{path}/{name}: the class {name!r} has no videos; add some or remove the folder")
            annotation = Labels((name,)) if self.labelled else None
            rows += [Row(p, p, annotation, missing=False) for p in videos]
        if ignored:
            names = ", ".join(p[len(path) :].lstrip("/") for p in ignored[:_SHOWN])
            kind = "sound" if suffixes is SOUND_SUFFIXES else "video"
            what = things(len(ignored), f"file without a {kind} suffix is", f"files without a {kind} suffix are")
            logger.warning("%s: %s ignored: %s", path, what, names)
        raise_problems(problems)
        if not rows:
            raise DataError(f"{path}: no videos there or in its sub-folders")
        return rows


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
