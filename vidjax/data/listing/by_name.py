"""Files of videos, or of their features, found by the names that annotations give."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vidjax.data.listing.paths import VIDEO_SUFFIXES
from vidjax.data.listing.rows import Row, Source, Splits
from vidjax.data.reading.feature_file import SUFFIXES, videos_in
from vidjax.data.records import LabelSpace
from vidjax.data.text import DataError
from vidjax.wording import things

logger = logging.getLogger("vidjax")

_PREFIX = "v_"  # of ActivityNet's files


@dataclass(frozen=True)
class ByName:
    """Source whose videos are looked for in a folder: where they are listed, or else by file names without suffix.

    Attributes:
      source: source that names the videos.
      folder: folder of the files, searched with its sub-folders, or one HDF5 file of features.
      suffixes: suffixes of the files.
      what: what the files are, for messages.
      mend: what to do where all are missing.
      need_files: whether missing files are left out, and it is an error if all are missing.
    """

    source: Source
    folder: str
    suffixes: tuple[str, ...]
    what: str
    mend: str
    need_files: bool = True

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def kinds(self) -> frozenset[str]:
        return self.source.kinds

    @property
    def labels(self) -> LabelSpace | None:
        return self.source.labels

    @property
    def splits(self) -> Splits:
        return self.source.splits

    def rows(self) -> list[Row]:
        """List the videos with the paths of their files; those without one are left out, and counted in a warning.

        Raises:
          DataError: if there is no such folder, or no file of any video.
        """
        rows, files = list(self.source.rows()), self._files()
        placed = [(row, self._as_listed(row.path) or _found(row.path, files)) for row in rows]
        missing = [row for row, path in placed if path is None]
        if not self.need_files:
            return [replace(row, path=path or row.path, missing=path is None) for row, path in placed]
        if len(missing) == len(rows):
            raise DataError(
                f"{self.name}: none of its {things(len(rows), 'video')} has {self.what} in {self.folder}, such as "
                f"{missing[0].path} ({missing[0].where}); {self.mend}"
            )
        if missing:
            logger.warning(
                "%s: %d of %s have no %s in %s and are left out, such as %s",
                self.name, len(missing), things(len(rows), "video"), self.what, self.folder,
                ", ".join(row.path for row in missing[:3]),
            )  # fmt: skip
        return [replace(row, path=path, missing=False) for row, path in placed if path is not None]

    def _as_listed(self, path: str) -> str | None:
        """Path of a file at the place in the folder that the annotation gives."""
        place = Path(self.folder).expanduser() / path
        return str(place) if place.suffix.lower() in self.suffixes and place.is_file() else None

    def _files(self) -> dict[str, str]:
        """Path of each file, by its name without suffix."""
        folder = Path(self.folder).expanduser()
        if folder.is_file():
            return {Path(name).stem: f"{folder}#{name}" for name in videos_in(str(folder))}
        if not folder.is_dir():
            raise DataError(f"{self.folder}: no such folder of {self.what}; {self.mend}")
        found: dict[str, str] = {}
        for below, _, names in os.walk(folder, followlinks=True):
            for name in sorted(names):
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in self.suffixes and not name.startswith("."):
                    found.setdefault(stem, os.path.join(below, name))
        return found


def with_features(source: Source, folder: str, need_files: bool = True) -> ByName:
    """Replace the videos of a source by their files of features in `folder`, see `ByName`."""
    mend = "compute them with `vidjax features`, or give another config.data.features.folder"
    return ByName(source, folder, SUFFIXES, "features", mend, need_files)


def with_videos(source: Source, folder: str, need_files: bool = True) -> ByName:
    """Find the videos that a source names in `folder`, see `ByName`."""
    suffixes = tuple(sorted(VIDEO_SUFFIXES | set(SUFFIXES)))
    return ByName(source, folder, suffixes, "files", "give config.data.root", need_files)


def _found(path: str, files: dict[str, str]) -> str | None:
    name = os.path.basename(path)
    stem, suffix = os.path.splitext(name)
    names: Iterable[str] = (stem if suffix.lower() in (*VIDEO_SUFFIXES, *SUFFIXES) else name, name)
    return next((files[n] for name in names for n in (name, _PREFIX + name) if n in files), None)
