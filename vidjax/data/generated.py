"""Generated data sets by name, written on first use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from vidjax.config import DataConfig
from vidjax.data.people import write_people
from vidjax.data.synthetic import write_motion

# Name in `config.data.synthetic` → writer of the data set in a folder.
WRITERS: dict[str, Callable[..., Any]] = {"motion": write_motion, "people": write_people}


def write_asked(config: DataConfig, console: Console | None = None) -> None:
    """Write the generated data set of `config.synthetic` to the folder of `config.train`, unless it exists.

    Args:
      config: data settings, of which `synthetic` and `train` are used.
      console: console for a progress bar; None: no bar.
    """
    if config.synthetic:
        WRITERS[config.synthetic](Path(config.train).parent, console=console)
