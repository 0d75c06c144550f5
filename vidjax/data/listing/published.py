"""Published data sets as sources of videos: the publisher's annotation files, and a folder of videos.

With `config.data.dataset=ucf101`, `config.data.train` (and `eval`) are the publisher's annotation files, or their
folder, and `config.data.root` is the folder of the videos, in any sub-folders. Missing videos are skipped and counted;
`python -m vidjax check` lists them.
"""

import functools
import logging
import os
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from vidjax.config import DataConfig
from vidjax.data.listing.annotations import AnnotationFile, ClassIndex
from vidjax.data.listing.datasets import DATASETS, Dataset
from vidjax.data.listing.paths import SOUND_SUFFIXES, VIDEO_SUFFIXES
from vidjax.data.listing.published_sounds import part_names
from vidjax.data.listing.rows import EVAL_SPLITS, OFFICIAL, TRAIN_SPLITS, Row
from vidjax.data.records import LabelSpace
from vidjax.data.text import DataError, raise_problems
from vidjax.video.byte_sources import is_remote
from vidjax.wording import things

logger = logging.getLogger("vidjax")


@dataclass(frozen=True)
class Published:
    """Source of the videos of a published data set for training or for evaluation.

    Attributes:
      config: data settings, of which `dataset`, `split`, `train`, `eval` and `root` are used. Without `eval`,
        evaluation takes the publisher's file next to the one for training.
      role: role of the videos, "train" or "eval".
      videos: folder in which videos are found.
      need_files: whether missing videos are skipped, and it is an error if all are missing.
    """

    config: DataConfig
    role: str
    videos: "VideoFolder"
    need_files: bool = True
    splits = OFFICIAL

    @property
    def dataset(self) -> Dataset:
        """Definition of the data set."""
        return DATASETS[self.config.dataset]

    @property
    def name(self) -> str:
        return f"config.data.dataset = {self.config.dataset!r}"

    @property
    def kinds(self) -> frozenset[str]:
        return self.dataset.kinds

    @property
    def labels(self) -> LabelSpace | None:
        known = self.dataset
        if not known.class_names:
            return None
        return LabelSpace(known.class_names, known.several, known.directional, known.mirrored)

    def rows(self) -> list[Row]:
        """Read the rows; see `Source`.

        Raises:
          DataError: if annotation files are missing or have invalid lines, naming all, or if every video is missing
            but needed.
        """
        root = self.videos.root
        pairs = [(row, self.videos.find(row, self.role)) for row in read_annotations(self.config, self.role)]
        if self.need_files:
            self._report([row for row, path in pairs if path is None], len(pairs))
        return [
            replace(row, path=path or str(root / row.path), missing=path is None)
            for row, path in pairs
            if path or not self.need_files
        ]

    def _report(self, missing: list[Row], total: int) -> None:
        """Report missing videos."""
        title, root = self.dataset.title, self.videos.root
        if len(missing) == total:
            raise DataError(
                f"{title}: none of the {total} {self.role} videos is below {root}; the first one is "
                f"{missing[0].path} ({missing[0].where}); give config.data.root"
            )
        if missing:
            logger.warning(
                "%s: %d of %d %s videos are not below %s and are skipped, such as %s; "
                "python -m vidjax check lists all",
                title, len(missing), total, self.role, root, ", ".join(row.path for row in missing[:3]),
            )  # fmt: skip


def open_published(config: DataConfig, need_files: bool = True) -> dict[str, list[Published]]:
    """Open the published data set `config.dataset`, once for each role, "train" and "eval"."""
    videos = VideoFolder(config)
    return {role: [Published(config, role, videos, need_files)] for role in ("train", "eval")}


def read_annotations(config: DataConfig, role: str) -> list[Row]:
    """Read the rows of the annotation files for `role`, "train" or "eval", each part of a video once.

    Raises:
      DataError: if files are missing or lines invalid; names each.
    """
    dataset = DATASETS[config.dataset]
    if config.split > dataset.splits:
        raise DataError(
            f"config.data.split = {config.split}: {dataset.title} has {things(dataset.splits, 'official split')}"
        )
    classes = ClassIndex(dataset.class_names)
    found, problems = {}, []
    for file in _annotation_files(config, role):
        try:
            for row in dataset.parse(AnnotationFile(file, role, classes, config.split)):
                found.setdefault(row.part, row)
        except DataError as error:
            problems += str(error).splitlines()
    raise_problems(problems)
    if not found:
        raise DataError(f"{config.eval if role == 'eval' and config.eval else config.train}: lists no {role} videos")
    return list(found.values())


class VideoFolder:
    """Folder of a data set's videos, searched once; its sub-folders may be arranged in any way.

    A video is found by its file name without suffix. Of several such files, the one at the listed path is taken, or
    else one in folders named after its class and split.

    Args:
      config: data settings, of which `dataset` and `root` are used or, without `root`, the folder of `train` or `eval`.
    """

    def __init__(self, config: DataConfig):
        self._config, self._dataset = config, DATASETS[config.dataset]

    @functools.cached_property
    def root(self) -> Path:
        """Path of the folder.

        Raises:
          DataError: if it does not exist.
        """
        root = _root(self._config)
        if not root.is_dir():
            raise DataError(f"config.data.root = {str(root)!r}: no such folder; give the one with the videos")
        return root

    @functools.cached_property
    def _files(self) -> dict[str, list[str]]:
        """Name without suffix → paths below the folder."""
        found, root, seen = defaultdict(list), self.root, set()
        suffixes = VIDEO_SUFFIXES | SOUND_SUFFIXES if self._dataset.sound else VIDEO_SUFFIXES
        for folder, names, files in os.walk(root, followlinks=True):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:  # a link that leads back up
                names.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            below = os.path.relpath(folder, root)
            if self._dataset.folder_fps and any(name.lower().endswith((".jpg", ".jpeg")) for name in files):
                found[os.path.basename(folder)].append(below)
                names.clear()
                continue
            names.sort()
            for name in files:
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in suffixes and not name.startswith("."):
                    found[stem].append(os.path.normpath(os.path.join(below, name)))
        if self._dataset.sound:  # of a video and its sound on its own, the video, which has both
            return {stem: [p for p in paths if _is_video(p)] or paths for stem, paths in found.items()}
        return found

    @functools.cached_property
    def _timed(self) -> dict[str, list[tuple[float, float, str]]]:
        """Name without suffix and times → start and end of the parts of a video, seconds, and their paths."""
        found = defaultdict(list)
        for stem, paths in self._files.items() if self._dataset.timed else ():
            name, start, end = cut_times(stem)
            if end:
                found[name] += [(start, end, path) for path in paths]
        return found

    def find(self, row: Row, role: str) -> str | None:
        """Find the file, or the folder of frames, of a row; None if there is none."""
        stem = _without_suffix(os.path.basename(row.path))
        stems = part_names(*cut_times(stem)) if self._dataset.sound else (stem,)
        if not (found := next(filter(None, map(self._files.get, stems)), None)):
            at = row.at or 0.0
            found = [path for start, end, path in sorted(self._timed.get(stem, ())) if start <= at <= end]
        if not found:
            return None
        if len(found) == 1:
            return str(self.root / found[0])
        names = {_plain(name) for name in row.labels}
        splits = TRAIN_SPLITS if role == "train" else EVAL_SPLITS

        def mismatch(path: str) -> tuple[int, str]:
            folders = {_plain(part) for part in Path(path).parts[:-1]}
            as_listed = _without_suffix(path) == _without_suffix(os.path.normpath(row.path))
            return -(4 * as_listed + 2 * bool(folders & names) + bool(folders & splits)), path

        return str(self.root / min(found, key=mismatch))


def cut_times(stem: str) -> tuple[str, float, float]:
    """Name of a video, and start and end of its part, seconds, from a name such as `ID_000010_000020`; without these
    times, the name as it is and 0."""
    match = re.fullmatch(r"(.+)_(\d{6})_(\d{6})", stem)
    return (match[1], float(match[2]), float(match[3])) if match else (stem, 0.0, 0.0)


def _annotation_files(config: DataConfig, role: str) -> list[Path]:
    dataset = DATASETS[config.dataset]
    source = config.eval if role == "eval" and config.eval else config.train
    if not source:
        raise DataError(
            f"config.data.{role} is empty: give {dataset.title}'s annotation file, or "
            f"the folder that holds it ({dataset.url})"
        )
    path = _on_disk(source)
    if not path.exists():
        raise DataError(f"{source}: no such file or folder (current folder: {os.getcwd()})")
    one_file = dataset.train_files == dataset.eval_files  # holds both splits
    if path.is_file() and (role == "train" or config.eval or one_file):
        return [path]
    folder = path if path.is_dir() else path.parent
    patterns = [name.format(split=config.split) for name in getattr(dataset, f"{role}_files")]
    for pattern in patterns:
        if files := sorted(folder.glob(pattern)):
            return files
    raise DataError(
        f"{folder}: no {role} annotations of {dataset.title} in this folder, such as {' or '.join(patterns[:2])}; "
        f"give config.data.{role}"
    )


def _root(config: DataConfig) -> Path:
    if config.root:
        return _on_disk(config.root)
    source = _on_disk(config.train or config.eval)
    return source if source.is_dir() else source.parent


def _on_disk(given: str) -> Path:
    if is_remote(given):
        raise DataError(f"{given}: files of published data sets are searched only on local disks; copy or mount them")
    return Path(given).expanduser()


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ")


def _without_suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in VIDEO_SUFFIXES | SOUND_SUFFIXES else path


def _is_video(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES
