"""Preparation of videos and their annotations as a data set of shards, which training reads by its folder."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vidjax import config as cfg
from vidjax.config.validate import validate
from vidjax.data.listing.datasets import folder_fps
from vidjax.data.prepared.encode import Encoding
from vidjax.data.reading.open_video import is_address
from vidjax.data.text import DataError
from vidjax.progress import progress_bar
from vidjax.tasks.videos import load_videos
from vidjax.video.flow import check_method
from vidjax.wording import things


def prepare(
    config: cfg.Config,
    out: str | Path,
    encoding: Encoding,
    *,
    num_workers: int | None = None,
    beam: Sequence[str] | None = None,
    shard_mb: int | None = None,
    console: Console | None = None,
) -> int:
    """Write the training and evaluation videos of `config.data` as the prepared data set `out`.

    When run again after an interruption, it continues with the first missing shard.

    Args:
      config: settings, of which `data.train`, `eval`, `root`, `dataset`, `split`, `eval_share`, `folder_fps`, `timeout`
        and `seed` are used.
      out: new folder; its last part is the name of the data set.
      encoding: format in which videos are stored.
      num_workers: number of encoding processes; None: one per core.
      beam: options of a Beam pipeline, such as `runner=DirectRunner`; None: this machine, without Beam.
      shard_mb: megabytes per shard; None: 256.
      console: console for progress; None: standard output.

    Returns:
      0, the exit status.

    Raises:
      DataError: if the annotations or `out` cannot be used.
      UserError: if the flow cannot be computed here.
    """
    console = console or Console()
    config = validate(config)
    train, held_out = load_videos(config)
    if any(is_address(record.path) for record in (*train.records, *held_out.records)):
        raise DataError(f"{config.data.train}: is already a prepared data set; give the videos from which it was made")
    try:
        from vidjax.data.prepared.write import SHARD_BYTES
        from vidjax.data.prepared.write import prepare as write
    except ModuleNotFoundError as error:
        raise DataError(f"preparing data needs {error.name}: pip install tensorflow-datasets") from None
    if encoding.flow:
        check_method(encoding.flow)
    total = len(train) + len(held_out)
    what = f"JPEG frames of {encoding.short_side or 'full'} px" if encoding.jpeg else "files as they are"
    what += f" and flow by {encoding.flow}" if encoding.flow else ""
    console.print(
        f"{len(train)} training and {things(len(held_out), 'evaluation video')} of {len(train.labels.names)} classes, "
        f"{what}",
        highlight=False,
    )
    with progress_bar(console) as bar:
        task = bar.add_task("prepare", total=total, info="")
        result = write(
            {"train": train, "validation": held_out},
            out,
            dataclasses.replace(encoding, folder_fps=folder_fps(config.data)),
            num_workers=num_workers or os.cpu_count() or 1,
            beam_options=beam,
            shard_bytes=shard_mb << 20 if shard_mb else SHARD_BYTES,
            timeout=config.data.reading.timeout,
            advance=lambda done, total: bar.update(task, completed=done),
        )
    if result.bad:
        path, reason = result.bad[0]
        unread = things(len(result.bad), "video could not be read and is", "videos could not be read and are")
        console.print(
            f"[yellow]{unread} not stored, such as {path}: {reason}; all of them: "
            f"{Path(result.folder) / 'bad_records.jsonl'}[/]",
            highlight=False,
            soft_wrap=True,
        )
    state = "" if result.fresh else " (had been prepared before)"
    console.print(
        f"{things(result.stored, 'video')} in {result.folder}{state}; train with --config.data.train={out}",
        highlight=False,
        soft_wrap=True,
    )
    return 0
