"""Published data sets by name: classes in their fixed order, official splits, annotation files, metric, direction.

`config.data.dataset=ucf101` makes `config.data.train` (and `eval`) the publisher's annotation files, or the folder that
holds them, and `config.data.root` the folder with the videos, in whatever sub-folders. Videos that are not there are
left out and counted; `python -m vidjax check` lists them. User's own CSV files and folders are read in `records.py`.
"""

import functools
import importlib.resources
import logging
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from vidjax.config import DataConfig
from vidjax.data.listing import annotations as formats
from vidjax.data.listing.annotations import Annotation, ClassIndex, Parser, Source
from vidjax.data.listing.files import EVAL_SPLITS, TRAIN_SPLITS, VIDEO_SUFFIXES
from vidjax.data.reading.open_video import ASSUMED_FPS
from vidjax.data.records import Listing, Record, VideoSet
from vidjax.data.text import DataError, raise_problems
from vidjax.video.byte_sources import is_remote
from vidjax.wording import things

logger = logging.getLogger("vidjax")


@dataclass(frozen=True)
class Dataset:
    """What there is to know of a published data set before its files are opened.

    Attributes:
      name: as in `config.data.dataset`, and of its class list in `labels/`.
      title: as its authors call it.
      url: where it is published.
      parse: reads one annotation file.
      train_files, eval_files: names of the annotation files in their folder, the first that is there counts; `{split}`
        stands for the number of the split, `*` for anything.
      splits: how many official splits there are.
      multi_label: a video may show several classes, or none.
      directional: its classes tell left from right, so that mirroring changes them.
      folder_fps: > 0: distributed as one folder of JPEG files per video, taken at this rate, frames/s.
      train_videos: how many its first training split lists; what is still to be had may be less. UCF-101's is counted
        in its file, HMDB-51's is 70 per class by construction; those of ActivityNet, Charades, Diving48, Jester and
        Something-Something V2 are their publishers'. Those of Kinetics, Moments and Something-Something V1 are about
        right: the lists have changed, or no publisher's figure was at hand.
    """

    name: str
    title: str
    url: str
    parse: Parser = field(repr=False)
    train_files: tuple[str, ...]
    eval_files: tuple[str, ...]
    splits: int = 1
    multi_label: bool = False
    directional: bool = False
    folder_fps: float = 0.0
    train_videos: int = 0

    @property
    def metric(self) -> str:
        """The figure that results are compared by, as in `eval.json`."""
        return "mAP" if self.multi_label else "top1"

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names; their order is that of the publisher's class numbers, where there are any."""
        return read_class_names(self.name)

    @property
    def mirrored(self) -> dict[int, int]:
        """Class → class of the same clip mirrored left to right, for those that change. Classes are paired by their
        names, "… left …" with "… right …"; empty unless `directional`."""
        index = {name.casefold(): i for i, name in enumerate(self.class_names)} if self.directional else {}
        pairs = {i: index.get(_mirror_words(name)) for name, i in index.items()}
        return {i: j for i, j in pairs.items() if j is not None and j != i}


def _define(*datasets: Dataset) -> dict[str, Dataset]:
    return {dataset.name: dataset for dataset in datasets}


def _kinetics(classes: int, train_videos: int) -> Dataset:
    names = [f"{stem}{suffix}" for suffix in (".csv", ".json") for stem in ("{0}", f"kinetics_{classes}_{{0}}")]
    names += [f"kinetics{classes}_{{0}}.csv", f"kinetics-{classes}_{{0}}.csv"]
    train, *evaluation = (
        tuple(name.format(split) for name in names) for split in ("train", "validate", "validation", "val", "test")
    )
    return Dataset(
        name=f"kinetics{classes}",
        train_videos=train_videos,
        title=f"Kinetics-{classes}",
        url="https://github.com/cvdfoundation/kinetics-dataset",
        parse=formats.parse_kinetics,
        train_files=train,
        eval_files=sum(evaluation, ()),
    )


DATASETS: dict[str, Dataset] = _define(
    Dataset(
        name="activitynet",
        train_videos=10024,
        title="ActivityNet 1.3",
        url="http://activity-net.org",
        parse=formats.parse_activitynet,
        train_files=("activity_net.v1-3.min.json", "activity_net*.json"),
        eval_files=("activity_net.v1-3.min.json", "activity_net*.json"),
    ),
    Dataset(
        name="charades",
        train_videos=7985,
        title="Charades",
        url="https://prior.allenai.org/projects/charades",
        parse=formats.parse_charades,
        train_files=("Charades_v1_train.csv",),
        eval_files=("Charades_v1_test.csv",),
        multi_label=True,
    ),
    Dataset(
        name="diving48",
        train_videos=15027,
        title="Diving48",
        url="http://www.svcl.ucsd.edu/projects/resound/dataset.html",
        parse=formats.parse_diving48,
        train_files=("Diving48_V2_train.json", "Diving48_train.json"),
        eval_files=("Diving48_V2_test.json", "Diving48_test.json"),
    ),
    Dataset(
        name="hmdb51",
        train_videos=3570,
        title="HMDB-51",
        url="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database",
        parse=formats.parse_hmdb51,
        train_files=("*_test_split{split}.txt",),
        eval_files=("*_test_split{split}.txt",),
        splits=3,
    ),
    Dataset(
        name="jester",
        train_videos=118562,
        title="Jester",
        url="https://www.qualcomm.com/developer/software/jester-dataset",
        parse=formats.parse_id_and_label,
        train_files=("jester-v1-train.csv",),
        eval_files=("jester-v1-validation.csv",),
        directional=True,
        folder_fps=12.0,
    ),
    _kinetics(400, 240_000),
    _kinetics(600, 392_622),
    _kinetics(700, 545_317),
    Dataset(
        name="moments",
        train_videos=802264,
        title="Moments in Time",
        url="http://moments.csail.mit.edu",
        parse=formats.parse_moments,
        train_files=("trainingSet.csv",),
        eval_files=("validationSet.csv",),
    ),
    Dataset(
        name="something_v1",
        train_videos=86017,
        title="Something-Something V1",
        url="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
        parse=formats.parse_id_and_label,
        train_files=("something-something-v1-train.csv",),
        eval_files=("something-something-v1-validation.csv",),
        directional=True,
        folder_fps=12.0,
    ),
    Dataset(
        name="something_v2",
        train_videos=168913,
        title="Something-Something V2",
        url="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
        parse=formats.parse_something_v2,
        train_files=("something-something-v2-train.json", "train.json"),
        eval_files=("something-something-v2-validation.json", "validation.json"),
        directional=True,
    ),
    Dataset(
        name="ucf101",
        train_videos=9537,
        title="UCF-101",
        url="https://www.crcv.ucf.edu/data/UCF101.php",
        parse=formats.parse_ucf101,
        train_files=("trainlist{split:02d}.txt",),
        eval_files=("testlist{split:02d}.txt",),
        splits=3,
    ),
)


def load_sets(config: DataConfig) -> tuple[VideoSet, VideoSet]:
    """The training and evaluation videos of the published data set `config.dataset` that are there.

    Args:
      config: `dataset`, `split`, `train`, `eval` and `root` are used. Without `eval`, evaluation takes the publisher's
        file beside that for training.

    Raises:
      DataError: for annotation files that are missing or have wrong lines, naming all, or if none of the videos is
        there.
    """
    videos = VideoFolder(_root(config), DATASETS[config.dataset])
    train, held_out = (_video_set(config, role, videos) for role in ("train", "eval"))
    # The publisher's splits share no video; this is for a file given in the wrong place.
    if both := {(r.path, r.start) for r in train.records} & {(r.path, r.start) for r in held_out.records}:
        logger.warning(
            "%s in training and in evaluation, which flatters the accuracy: look at config.data.train and "
            "config.data.eval",
            things(len(both), "video is", "videos are"),
        )
    return train, held_out


def load_eval_set(config: DataConfig) -> VideoSet:
    """The evaluation videos alone; see `load_sets`."""
    return _video_set(config, "eval", VideoFolder(_root(config), DATASETS[config.dataset]))


def list_videos(config: DataConfig) -> list[Listing]:
    """All videos that the annotation files of `config.dataset` list, also those that are not there."""
    root, dataset = _root(config), DATASETS[config.dataset]
    videos = VideoFolder(root, dataset)
    listings = []
    for role in ("train", "eval"):
        for a in read_annotations(config, role):
            path = videos.find(a, role)
            listings.append(Listing(path or str(root / a.path), a.where, path is None, a.start, a.end))
    return listings


def read_annotations(config: DataConfig, role: str) -> list[Annotation]:
    """What the annotation files list for `role`, "train" or "eval", each part of a video once.

    Raises:
      DataError: naming files that are missing and lines that are wrong.
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
            for annotation in dataset.parse(Source(file, role, classes)):
                found.setdefault((annotation.path, annotation.start, annotation.end), annotation)
        except DataError as error:
            problems += str(error).splitlines()
    raise_problems(problems)
    if not found:
        raise DataError(f"{config.eval if role == 'eval' and config.eval else config.train}: lists no {role} videos")
    return list(found.values())


def folder_fps(config: DataConfig) -> float:
    """Frames per second of videos that are folders of images: they do not tell it themselves."""
    published = DATASETS[config.dataset].folder_fps if config.dataset else 0.0
    return config.folder_fps or published or ASSUMED_FPS


class VideoFolder:
    """Where below a folder the videos of a data set lie. Looked through once; sub-folders may be arranged in any way.

    A video is found by its file name without suffix. If several files have it, the one counts that lies as listed, or
    else in folders called like its class and like the split.

    Args:
      root: folder with the videos.
      dataset: whose videos they are.

    Raises:
      DataError: if there is no such folder.
    """

    def __init__(self, root: Path, dataset: Dataset):
        if not root.is_dir():
            raise DataError(f"config.data.root = {str(root)!r}: no such folder; give the one with the videos")
        self._root, self._dataset = root, dataset
        self._files: dict[str, list[str]] = defaultdict(list)  # name without suffix → paths below root
        seen = set()
        for folder, names, files in os.walk(root, followlinks=True):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:  # a link that leads back up
                names.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            below = os.path.relpath(folder, root)
            if dataset.folder_fps and any(name.lower().endswith((".jpg", ".jpeg")) for name in files):
                self._files[os.path.basename(folder)].append(below)
                names.clear()
                continue
            names.sort()
            for name in files:
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
                    self._files[stem].append(os.path.normpath(os.path.join(below, name)))

    def find(self, annotation: Annotation, role: str) -> str | None:
        """The file, or the folder of frames; None if there is none."""
        stem = _without_suffix(os.path.basename(annotation.path))
        if not (found := self._files.get(stem)):
            return None
        if len(found) == 1:
            return str(self._root / found[0])
        names = {_plain(self._dataset.class_names[i]) for i in annotation.labels}
        splits = TRAIN_SPLITS if role == "train" else EVAL_SPLITS

        def mismatch(path: str) -> tuple[int, str]:
            folders = {_plain(part) for part in Path(path).parts[:-1]}
            as_listed = _without_suffix(path) == _without_suffix(os.path.normpath(annotation.path))
            return -(4 * as_listed + 2 * bool(folders & names) + bool(folders & splits)), path

        return str(self._root / min(found, key=mismatch))


def _video_set(config: DataConfig, role: str, videos: VideoFolder) -> VideoSet:
    dataset = DATASETS[config.dataset]
    records, missing = [], []
    for a in read_annotations(config, role):
        if (path := videos.find(a, role)) is None:
            missing.append(a)
        else:
            records.append(Record(path, a.labels, a.group, a.start, a.end))
    total = len(records) + len(missing)
    if not records:
        raise DataError(
            f"{dataset.title}: none of the {total} {role} videos lies below {_root(config)}, the first being "
            f"{missing[0].path} ({missing[0].where}); give config.data.root"
        )
    if missing:
        logger.warning(
            "%s: %d of %d %s videos do not lie below %s and are left out, such as %s; python -m vidjax check lists all",
            dataset.title, len(missing), total, role, _root(config), ", ".join(a.path for a in missing[:3]),
        )  # fmt: skip
    return VideoSet(tuple(records), dataset.class_names, dataset.multi_label, dataset.directional, dataset.mirrored)


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
        raise DataError(f"{given}: files of published data sets are searched on disks only; copy or mount them")
    return Path(given).expanduser()


@functools.cache
def read_class_names(name: str) -> tuple[str, ...]:
    """The lines of `labels/NAME.txt`."""
    text = (importlib.resources.files("vidjax.data") / "labels" / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


_MIRROR = {"left": "right", "clockwise": "counterclockwise"}
_MIRROR |= {b: a for a, b in _MIRROR.items()}


def _mirror_words(name: str) -> str:
    return re.sub(r"\w+", lambda word: _MIRROR.get(word[0], word[0]), name)


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ")


def _without_suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in VIDEO_SUFFIXES else path
