"""Reading the index of prepared data sets: their videos and annotations.

Data sets of `python -m vidjax prepare` are given by their folder, other TFDS data sets with a feature `video` as
`tfds:NAME` (`config.data.root` is then TFDS's data_dir); the suffix `@SPLIT` selects one split, `@all` every split. No
video is opened here: each gets an address, see `open_video.py`.
"""

import functools
import json
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from vidjax.data.listing import union as sources
from vidjax.data.listing.json_lines import read_annotation, write_annotation
from vidjax.data.listing.rows import ALL_SPLITS, EVAL_SPLITS, TRAIN_SPLITS, Row
from vidjax.data.reading import open_video
from vidjax.data.records import Labels, LabelSpace
from vidjax.data.text import DataError
from vidjax.progress import progress_bar
from vidjax.video.byte_sources import exists, is_remote

logger = logging.getLogger("vidjax")

INDEX = "vidjax.json"  # file beside TFDS's own with the contents of `Prepared`
PARTS = ".parts"  # sub-folder of a data set while it is being prepared
_PREFIX = "tfds:"


@dataclass(frozen=True)
class Prepared:
    """Prepared data set.

    Attributes:
      folder: folder of its version, with dataset_info.json.
      rows: rows of its videos, with addresses as paths and the splits in which they are stored.
      labels: classes of its annotations.
      kind: kind of its annotations.
      info: settings of its preparation.
    """

    folder: str
    rows: tuple[Row, ...]
    labels: LabelSpace
    kind: str = Labels.kind
    info: dict[str, Any] = field(default_factory=dict)


def load(source: str, root: str = "") -> Prepared | None:
    """Load the prepared data set that `source` names; None if it names something else, such as a CSV file.

    Without `@SPLIT`, it has the training split and the one for evaluation (validation or, if there is none, test).

    Raises:
      DataError: if TFDS does not know the name, the data set is not prepared or not completely, or it lacks videos,
        labels or the split.
    """
    name, split = sources.part(source)
    folder = _tfds_folder(name.removeprefix(_PREFIX), root) if name.startswith(_PREFIX) else _folder(name)
    if folder is None:
        return None
    data = _read_index(folder)
    splits = {row.split for row in data.rows}
    if split == ALL_SPLITS and ALL_SPLITS not in splits:
        wanted = splits
    elif split:
        if split not in splits:
            raise DataError(f"{source}: there is no split {split!r}, only {', '.join(sorted(splits))}")
        wanted = {split}
    else:
        held_out = splits & EVAL_SPLITS
        wanted = splits & TRAIN_SPLITS | (held_out - {"test"} or held_out)
        if not wanted:
            raise DataError(f"{source}: add @SPLIT, one of {', '.join(sorted(splits))}")
    return replace(data, rows=tuple(row for row in data.rows if row.split in wanted))


def write_index(path: Any, data: Prepared) -> None:
    """Write the index of a data set beside its shards, for `load`.

    An entry has the numbers of its classes or, for annotations of another kind and for labels with times or categories,
    the values of a line of JSON Lines, followed by a key time.
    """
    labels = data.labels
    index = {name: i for i, name in enumerate(labels.names)}
    entries = []
    for row in data.rows:
        _, split, number, source = open_video.parse_address(row.path)
        entry: list[Any] = [
            source,
            split,
            number,
            sorted(index[name] for name in row.labels),
            row.group,
            row.start,
            row.end,
        ]
        if data.kind != Labels.kind or (isinstance(row.annotation, Labels) and not row.annotation.plain):
            assert row.annotation is not None  # all are of that kind
            entry[3] = write_annotation(row.annotation)
        entries.append(entry if row.at is None else [*entry, row.at])
    head = {
        "class_names": labels.names,
        "multi_label": labels.several,
        "directional": labels.directional,
        "info": data.info,
        "mirrored": sorted(labels.mirrored.items()),
    }
    head |= {} if data.kind == Labels.kind else {"kind": data.kind}
    path.write_text(json.dumps(head | {"entries": entries}, ensure_ascii=False) + "\n", encoding="utf-8")


def read_info(folder: str | os.PathLike) -> dict[str, Any]:
    """Settings with which the data set in `folder` was prepared; empty if vidjax did not prepare it."""
    return dict(_read_index(os.fspath(folder)).info) if (Path(folder) / INDEX).is_file() else {}


def _folder(name: str) -> str | None:
    if is_remote(name):
        if not name.startswith(("http://", "https://")) and exists(f"{name.rstrip('/')}/dataset_info.json"):
            raise DataError(f"{name}: ArrayRecords are read only from local disks; copy the folder to this machine")
        return None
    path = Path(name).expanduser()
    if (path / "dataset_info.json").is_file():
        return os.fspath(path)
    if path.is_dir() and (versions := _versions(path)):
        return os.fspath(max(versions, key=_number))
    if (path / PARTS).is_dir():
        raise DataError(f"{name}: its preparation was not finished; give the same `vidjax prepare` command again")
    return None


def _tfds_folder(name: str, data_dir: str) -> str:
    """TFDS's folder of `NAME[/CONFIG][:VERSION]`: DATA_DIR/NAME[/CONFIG]/VERSION, the newest if none is given."""
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    base, _, version = name.partition(":")
    path = Path(data_dir).expanduser() / base
    versions = [v for v in _versions(path) if version in ("", v.name)]
    if versions:
        return os.fspath(max(versions, key=_number))
    others = sorted(os.path.relpath(v, Path(data_dir).expanduser()) for v in (*_versions(path), *_versions(path, "*/")))
    found = f"there are {', '.join(others)}" if others else f"{path} has none"
    raise DataError(
        f"{_PREFIX}{name}: no such data set is prepared; {found}. Give NAME/CONFIG:VERSION, and TFDS's data_dir as "
        "config.data.root"
    )


def _versions(path: Path, below: str = "") -> list[Path]:
    folders = [info.parent for info in path.glob(f"{below}*/dataset_info.json")]
    return [f for f in folders if all(part.isdigit() for part in f.name.split("."))]


def _number(version: Path) -> list[int]:
    return [int(part) for part in version.name.split(".")]


@functools.lru_cache(maxsize=8)
def _read_index(folder: str) -> Prepared:
    path = Path(folder) / INDEX
    open_video.describe(folder)  # before any thread reads an example, see there
    if not path.is_file():
        return _index_others(folder)
    values = json.loads(path.read_text(encoding="utf-8"))
    names, kind = tuple(values["class_names"]), values.get("kind", Labels.kind)
    labels = LabelSpace(names, values["multi_label"], values["directional"], dict(values["mirrored"]))
    rows = []
    for source, split, index, known, group, start, end, *at in values["entries"]:
        if isinstance(known, list):
            annotation = Labels(tuple(names[i] for i in known))
        else:
            annotation = read_annotation(known, frozenset({kind}))
        rows.append(_row(folder, split, index, source, annotation, group, start, end, *at))
    return Prepared(folder, tuple(rows), labels, kind, values["info"])


def _row(folder: str, split: str, index: int | None, source: str, *rest: Any) -> Row:
    path = open_video.address(folder, split, index, source)
    annotation, *others = rest
    return Row(path, path, annotation, split, *others, missing=False)


def _index_others(folder: str) -> Prepared:
    """Index a data set that vidjax did not prepare from its records; saved beside them if possible."""
    about = open_video.describe(folder)
    if not about.video:
        raise DataError(f"{folder}: has no feature `video` of frames, only {', '.join(about.features)}")
    if not about.random_access:
        raise DataError(f"{folder}: is not in ArrayRecord format; prepare it with tfds's array_record")
    key, names, several = _classes(folder, about.features)
    rows = []
    with progress_bar(Console(stderr=True)) as bar:
        total = sum(count for files in about.splits.values() for _, count in files)
        task = bar.add_task(f"read labels of {about.name}", total=total, info="")
        for split in about.splits:
            records = open_video.open_split(folder, split)
            for index in range(len(records)):
                labels = tuple(open_video.parse(records[index])[key].int64_list.value)
                if all(0 <= label < len(names) for label in labels):  # test splits without labels have -1
                    annotation = Labels(tuple(names[label] for label in labels))
                    rows.append(_row(folder, split, index, f"{about.name}/{split}/{index}", annotation))
                bar.advance(task)
    if "fps" not in about.features:
        logger.warning("%s: has no feature `fps`; %g frames per second are assumed", folder, open_video.ASSUMED_FPS)
    data = Prepared(folder, tuple(rows), LabelSpace(names, several))
    try:
        write_index(Path(folder) / INDEX, data)
    except OSError as error:
        logger.warning("%s: its labels are read anew each time, as they cannot be saved there (%s)", folder, error)
    return data


def _classes(folder: str, features: dict[str, Any]) -> tuple[str, tuple[str, ...], bool]:
    for key in ("label", "labels"):
        feature = features.get(key, {})
        many = open_video.feature_class(feature) == "Sequence"
        feature = feature["sequence"]["feature"] if many else feature
        if open_video.feature_class(feature) == "ClassLabel":
            file, count = Path(folder) / f"{key}.labels.txt", int(feature["classLabel"]["numClasses"])
            names = file.read_text(encoding="utf-8").splitlines() if file.is_file() else map(str, range(count))
            return key, tuple(names), many
    raise DataError(f"{folder}: has no feature `label` or `labels` with classes, only {', '.join(features)}")
