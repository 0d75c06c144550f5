"""Classify video files with a trained model."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vidjax import config as cfg
from vidjax import parallel
from vidjax.checks import validate
from vidjax.data.clips import ClipReader
from vidjax.evaluation import metrics
from vidjax.evaluation.evaluate import make_forward
from vidjax.models.state import split
from vidjax.progress import progress_bar
from vidjax.training.checkpoints import CheckpointFolderError, load_model
from vidjax.video import VideoError


@dataclass(frozen=True)
class Prediction:
    """The scores of one file, or why it has none."""

    path: str
    scores: np.ndarray | None  # float64 (K,), probabilities, mean over the views
    error: str = ""


class Predictor:
    """A trained model that takes video files: `Predictor("runs/motion").predict("a.mp4")`.

    Attributes:
      class_names: K names, in the order of the scores.
      meta: config, spec and classes of the checkpoint.
    """

    def __init__(
        self, folder: str | Path, *, num_clips: int | None = None, num_crops: int | None = None, step: int | None = None
    ):
        """Load a checkpoint; `num_clips` and `num_crops` default to those of its config.

        Raises:
          CheckpointFolderError: if there is no checkpoint, or none of a classifier.
          ConfigError: for numbers that the config's sampling rule does not have.
        """
        self._mesh = parallel.make_mesh(1)
        model, self.meta, _ = load_model(folder, step=step, sharding=parallel.replicated(self._mesh))
        if self.meta.spec.objective != "classify":
            raise CheckpointFolderError(
                f"{folder}: {self.meta.config.model.name} was pre-trained to {self.meta.spec.objective} and knows no "
                "classes; fine-tune a classifier from it with --config.model.init_from"
            )
        views = cfg.EvalConfig(
            num_clips=num_clips or self.meta.config.eval.num_clips,
            num_crops=num_crops or self.meta.config.eval.num_crops,
        )
        validate(dataclasses.replace(self.meta.config, eval=views))
        self._views = (views.num_clips, views.num_crops)
        self.class_names = self.meta.class_names
        _, self._params, self._stats = split(model)
        dtype = parallel.compute_dtype(self.meta.config.model.compute_dtype)
        self._forward = make_forward(model, self.meta.spec, self._mesh, dtype)
        self._reader = ClipReader(self.meta.spec, self.meta.config.data)

    def predict(self, path: str | Path) -> np.ndarray:
        """Class probabilities of one video, float64 `(K,)`, the mean over its views.

        Raises:
          VideoError: if the file cannot be decoded.
        """
        views = self._reader.read_eval(str(path), *self._views)
        sharding = parallel.batch_sharding(self._mesh)
        # One view at a time, so that every file and every number of views shares one compiled function.
        logits = [self._forward(self._params, self._stats, parallel.place(view[None], sharding)) for view in views]
        probabilities = metrics.sigmoid if self.meta.multi_label else metrics.softmax
        return probabilities(np.concatenate([np.asarray(x) for x in logits])).mean(axis=0)


def predict(
    folder: str | Path,
    videos: Sequence[str],
    *,
    top: int = 5,
    as_json: bool = False,
    num_clips: int | None = None,
    num_crops: int | None = None,
    step: int | None = None,
) -> int:
    """Print the `top` classes of each video, as a table or as JSON; files that cannot be read are named and passed
    over.

    Returns:
      0, or 1 if any file could not be read.
    """
    predictor = Predictor(folder, num_clips=num_clips, num_crops=num_crops, step=step)
    results = []
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("predict", total=len(videos), info="")
        for path in videos:
            try:
                results.append(Prediction(path, predictor.predict(path)))
            except VideoError as error:
                results.append(Prediction(path, None, error.reason))
            bar.advance(task)
    entries = [_entry(result, predictor.class_names, top) for result in results]
    if as_json:
        print(json.dumps(entries, indent=2, ensure_ascii=False))
    else:
        _print_table(entries, top)
    return int(any(result.scores is None for result in results))


def _entry(result: Prediction, class_names: Sequence[str], top: int) -> dict[str, Any]:
    if result.scores is None:
        return {"path": result.path, "error": result.error}
    best = np.argsort(-result.scores, kind="stable")[:top]
    return {"path": result.path, "top": [{"class": class_names[i], "score": float(result.scores[i])} for i in best]}


def _print_table(entries: list[dict[str, Any]], top: int) -> None:
    console = Console()
    table = Table("video", "class", "score")
    for entry in entries:
        if "error" in entry:
            table.add_row(entry["path"], f"[red]{entry['error']}[/]", "")
        for i, row in enumerate(entry.get("top", ())):
            table.add_row(
                entry["path"] if i == 0 else "", row["class"], f"{100 * row['score']:.1f} %", end_section=i == top - 1
            )
    console.print(table)
