"""Classification of video files with a trained model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vidjax.cascade import Cascade, open_predictor
from vidjax.errors import UserError
from vidjax.predictions import Prediction
from vidjax.predictor import Predictor
from vidjax.progress import progress_bar
from vidjax.training.checkpoints import load_model
from vidjax.zero_shot import TEMPLATES, name_classes, read_labels


def predict(
    folder: str | Path,
    videos: Sequence[str],
    *,
    top: int = 5,
    as_json: bool = False,
    num_clips: int | None = None,
    num_crops: int | None = None,
    step: int | None = None,
    labels: str = "",
    templates: Sequence[str] | None = None,
) -> int:
    """Print the `top` classes of each video, as a table or as JSON; files that cannot be read are listed and skipped.

    With several labels per video, ✓ marks classes above the threshold that the run's evaluation has chosen.

    Args:
      folder: work directory of a run, a folder of `convert`, or a cascade.
      videos: video files.
      top: number of classes shown.
      as_json: print JSON instead of a table.
      num_clips, num_crops: views of a video; None: as in the config.
      step: update number of the checkpoint; None: the best.
      labels: classes in words, see `vidjax.zero_shot.read_labels`; empty: the network's own.
      templates: sentences around the classes; None: `vidjax.zero_shot.TEMPLATES`.

    Returns:
      0, or 1 if any file could not be read.

    Raises:
      UserError: for templates without labels, or a network that reads no text.
    """
    views = {"num_clips": num_clips, "num_crops": num_crops}
    if templates and not labels:
        raise UserError("--template is for --labels: give both, or leave it out")
    if labels:
        predictor = _of_words(folder, read_labels(labels), templates or TEMPLATES, top=top, step=step, **views)
    else:
        predictor = open_predictor(folder, top=top, step=step, **views)
    predictions = []
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("predict", total=len(videos), info="")
        for prediction in predictor.stream(videos):
            predictions.append(prediction)
            bar.advance(task)
    if as_json:
        print(json.dumps([prediction.to_dict() for prediction in predictions], indent=2, ensure_ascii=False))
    else:
        _print_table(predictions)
    if isinstance(predictor, Cascade) and predictor.told:
        Console(stderr=True).print(predictor.told, highlight=False, soft_wrap=True)
    return int(any(prediction.error for prediction in predictions))


def _of_words(
    folder: str | Path, names: Sequence[str], templates: Sequence[str], *, step: int | None, **options: Any
) -> Predictor:
    """Predictor of classes in words, with the views of the folder's config."""
    network, meta, _ = load_model(folder, step=step)
    spec, config = name_classes(network, meta.spec, names, templates), meta.config
    own = {"num_clips": config.eval.num_clips, "num_crops": config.eval.num_crops}
    options |= {key: options[key] or value for key, value in own.items()}
    return Predictor(network, spec, class_names=names, sampling=config.data.sampling, **options)


def _print_table(predictions: list[Prediction]) -> None:
    console = Console()
    table = Table("video", "class", "score")
    for prediction in predictions:
        path = escape(prediction.path)
        if prediction.error:
            table.add_row(path, f"[red]{escape(prediction.error)}[/]", "", end_section=True)
        shown = {row.name for row in prediction.shown or ()}
        for place, row in enumerate(prediction.classes):
            last = place == len(prediction.classes) - 1
            mark = " ✓" if row.name in shown else ""
            table.add_row("" if place else path, escape(row.name), f"{100 * row.score:.1f} %{mark}", end_section=last)
    console.print(table)
