"""Clips of a run's own videos, as read, to try and to calibrate exported programs with."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from rich.console import Console

from vidjax import parallel
from vidjax.config import Config, EvalConfig, Spec
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import VideoSet
from vidjax.errors import UserError
from vidjax.evaluation import engine

Clips = Mapping[str, np.ndarray]  # inputs as read, (N, …) by name


def read_clips(videos: VideoSet, spec: Spec, config: Config, count: int, console: Console | None = None) -> Clips:
    """Read a clip of each of `count` videos, spread evenly over a set: the inputs by name, `(count, …)` each.

    With fewer readable videos, clips come again.

    Args:
      videos: set to read from.
      spec: spec of the network.
      config: config of the run, of which `data` is used.
      count: number of clips.
      console: console for a progress bar; None: no bar.

    Raises:
      UserError: if no video can be read.
    """
    sound = [index for index in range(len(videos)) if index not in videos.quarantined]
    places = np.unique(np.linspace(0, len(sound) - 1, min(count, len(sound))).round().astype(int)) if sound else []
    chosen = replace(videos, records=tuple(videos.records[sound[place]] for place in places), quarantined={})
    mesh = parallel.make_mesh(1)
    batches = engine.batches_of(
        chosen, ExampleReader(spec, config.data), EvalConfig(batch_size=min(8, max(len(chosen), 1))), mesh, console
    )
    rows: list[Mapping[str, np.ndarray]] = []
    for batch in batches if len(chosen) else ():
        first = engine.views_of(batch)[0]
        rows += [{name: array[row] for name, array in first.items()} for row in np.flatnonzero(batch["mask"])]
    if not rows:
        raise UserError(
            "none of the videos of the run's data can be read: give others, such as --config.data.eval=FILE"
        )
    return {name: np.stack([rows[row % len(rows)][name] for row in range(count)]) for name in rows[0]}
