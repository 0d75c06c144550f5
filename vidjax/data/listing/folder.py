"""Folders of videos: one sub-folder per class, or, where no labels are needed, videos anywhere below."""

import logging
import os
from dataclasses import dataclass

from vidjax.data.listing.paths import VIDEO_SUFFIXES, class_folders, own_files
from vidjax.data.listing.rows import LISTED, Row
from vidjax.data.records import LABELS, Labels
from vidjax.data.text import DataError, raise_problems
from vidjax.wording import things

logger = logging.getLogger("vidjax")

_SHOWN = 20  # files listed in one warning


@dataclass(frozen=True)
class Folder:
    """Videos in sub-folders named after their classes; a `Source`.

    Attributes:
      name: as the setting gives it.
      path: of the folder, or its address.
      labelled: whether labels are needed; if not, videos may lie in the folder itself too.
    """

    name: str
    path: str
    labelled: bool = True
    kinds = LABELS
    labels = None
    splits = LISTED

    def rows(self) -> list[Row]:
        """See `Source`.

        Raises:
          DataError: for a class without videos, or if there are none at all.
        """
        path, rows, problems, ignored = self.path, [], [], []
        classes = class_folders(path)
        if not self.labelled:
            classes = {"": own_files(path), **{name: files for name, files in classes.items() if files}}
        elif not classes:
            raise DataError(f"{path}: no sub-folders; put the videos of each class into a sub-folder named after it")
        for name, files in classes.items():
            videos = [p for p in files if os.path.splitext(p)[1].lower() in VIDEO_SUFFIXES]
            ignored += [p for p in files if os.path.splitext(p)[1].lower() not in VIDEO_SUFFIXES]
            if not videos and self.labelled:
                problems.append(f"{path}/{name}: the class {name!r} has no videos; add some or remove the folder")
            annotation = Labels((name,)) if self.labelled else None
            rows += [Row(p, p, annotation, missing=False) for p in videos]
        if ignored:
            names = ", ".join(p[len(path) :].lstrip("/") for p in ignored[:_SHOWN])
            what = things(
                len(ignored), "file is no video by its suffix and is", "files are no videos by their suffix and are"
            )
            logger.warning("%s: %s ignored: %s", path, what, names)
        raise_problems(problems)
        if not rows:
            raise DataError(f"{path}: no videos there or in its sub-folders")
        return rows
