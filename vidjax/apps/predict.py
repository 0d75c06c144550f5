"""Classification of video files with a trained model."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vidjax.cascade import Cascade, open_predictor
from vidjax.predictions import Prediction
from vidjax.progress import progress_bar


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
    """Print the `top` classes of each video, as a table or as JSON; files that cannot be read are listed and skipped.

    With several labels per video, ✓ marks classes above the threshold that the run's evaluation has chosen.

    Returns:
      0, or 1 if any file could not be read.
    """
    predictor = open_predictor(folder, top=top, num_clips=num_clips, num_crops=num_crops, step=step)
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
        Console(stderr=True).print(predictor.told, highlight=False)
    return int(any(prediction.error for prediction in predictions))


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
