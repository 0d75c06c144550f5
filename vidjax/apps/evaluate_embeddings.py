"""Scores of an index's vectors against labels (`vidjax evaluate embeddings OUT --data LABELS`)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import vidjax
from vidjax.config import DataConfig
from vidjax.data.fingerprint import fingerprint
from vidjax.data.listing.load import load_sets, make_set
from vidjax.data.listing.sources import open_sources, read_rows
from vidjax.data.records import LabelSpace, VideoSet
from vidjax.embeddings.benchmark import TASKS, Labelled, run_tasks
from vidjax.embeddings.index import Index, place, read_index
from vidjax.errors import UserError
from vidjax.wording import things


def evaluate_embeddings(
    folder: str, data: DataConfig, *, tasks: Sequence[str] = (), out: str = "", as_json: bool = False
) -> int:
    """Score the vectors of an index on labelled videos, and write the figures.

    With training and test videos (official splits, a column `split`, or `data.eval`), test videos ask the training
    videos. With one set, each video asks all others, and tasks that learn are left out.

    Args:
      folder: folder of the index.
      data: labels, of which `train`, `eval`, `root`, `dataset` and `split` are used.
      tasks: names of `TASKS`; empty: all that the data allows.
      out: folder for `scores.json`; empty: the index.
      as_json: print JSON instead of a table.

    Raises:
      VectorsError: if the index cannot be used.
      DataError: if the labels cannot be used.
      UserError: if videos have several labels, none is in the index, or a task needs training videos and there are
        none.
    """
    index = read_index(folder)
    train, test = _sets(data)
    if test.labels.several:
        raise UserError(f"{data.train}: videos have several labels or none; these tasks need one each")
    sides = {"train": train, "test": test} if train else {"test": test}
    taken = {name: _vectors(index, videos) for name, videos in sides.items()}
    for name, (vectors, _) in taken.items():
        if not len(vectors):
            raise UserError(
                f"{folder} has none of the {len(sides[name])} {name} videos, such as "
                f"{place(sides[name].records[0].path)}; it has {index.videos[0].path}, …: embed them, or give --root"
            )
    means, names = index.means, list(tasks) or [name for name, (*_, learns) in TASKS.items() if train or not learns]
    if learning := [name for name in names if TASKS[name][2] and not train]:
        raise UserError(f"{', '.join(learning)}: needs training videos; give --eval, or a column split in {data.train}")
    sets = {name: (means[numbers], labels) for name, (numbers, labels) in taken.items()}
    labelled = Labelled(*sets["test"], len(test.labels.names), *sets.get("train", (None, None)))
    counts = {f"num_{name}": len(numbers) for name, (numbers, _) in taken.items()}
    listed = {f"listed_{name}": len(videos) for name, videos in sides.items()}
    summary: dict[str, Any] = {
        "vidjax_version": vidjax.__version__,
        "model": index.origin.words,
        "sampling": dict(index.origin.sampling),
        "data": {
            "source": data.dataset or data.train,
            "split": data.split if data.dataset else None,
            **counts,
            **listed,
        }
        | {"num_classes": len(test.labels.names), "fingerprint": fingerprint(*sides.values())},
        "tasks": run_tasks(labelled, names),
    }
    path = Path(out or folder) / "scores.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
    if as_json:
        print(text)
    else:
        _show(summary, sides, counts, path)
    return 0


def _sets(data: DataConfig) -> tuple[VideoSet | None, VideoSet]:
    """Training and test videos; without splits, all are test videos."""
    if not (data.eval or data.dataset):
        rows = read_rows(open_sources(data.train, data.root, need_files=False))
        if not any(row.split for row in rows):
            names = tuple(sorted({name for row in rows for name in row.labels}))
            several = any(len(row.labels) != 1 for row in rows)
            return None, make_set(rows, LabelSpace(names, several))
    return load_sets(data, need_files=False)


def _vectors(index: Index, videos: VideoSet) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the videos that the index has, and their classes."""
    number = {video.key: i for i, video in enumerate(index.videos)}
    keys = [(place(record.path), record.start, record.end) for record in videos.records]
    there = [i for i, key in enumerate(keys) if key in number]
    labels = videos.targets()[there] if not videos.labels.several else np.empty(0)
    return np.array([number[keys[i]] for i in there], np.int64), labels.astype(np.int64)


def _show(summary: dict[str, Any], sides: dict[str, VideoSet], counts: dict[str, int], path: Path) -> None:
    console = Console()
    table = Table("task", "score", "")
    for task in summary["tasks"]:
        (scores,) = task["scores"]["test"]
        main = scores["main_score"]
        rest = {name: value for name, value in scores.items() if name != "main_score"}
        table.add_row(task["task_name"], f"{100 * main:.1f}", "  ".join(f"{k} {_figure(v)}" for k, v in rest.items()))
    console.print(table)
    parts = [f"{counts[f'num_{name}']} of {things(len(videos), f'{name} video')}" for name, videos in sides.items()]
    asked = "" if "train" in sides else "; each asks all others"
    console.print(f"{', '.join(parts)} in the index{asked}; written to {path}", highlight=False, soft_wrap=True)


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{100 * value:.1f}"
