"""Text of `--help` on settings: each with its value, meaning, unit and choices."""

import dataclasses
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from vidjax.config.fields import default_of
from vidjax.config.settings import Config

_NAME, _VALUE = 18, 14  # columns
_FEWEST, _MOST = 80, 140  # columns of the whole


def settings_help(config: Config) -> str:
    """Table of all settings, section by section, with their values in `config`."""
    width = min(max(shutil.get_terminal_size((120, 24)).columns, _FEWEST), _MOST)
    head = "settings, given as --config.SECTION.NAME=VALUE, each with its value here:"
    return "\n".join([head, *_section(config, width)])


def _section(section: Any, width: int) -> Iterator[str]:
    if section.path:
        yield ""
        yield from textwrap.wrap(f"{section.path}: {' '.join(type(section).__doc__.split())}", width)
    below = []
    for f in dataclasses.fields(section):
        value = getattr(section, f.name)
        if dataclasses.is_dataclass(value):
            below.append(value)
        else:
            yield from _row(f, value, width)
    for part in below:
        yield from _section(part, width)


def _row(f: dataclasses.Field, value: Any, width: int) -> Iterator[str]:
    name, shown = f"  {f.name}", _shown(value)
    unit, choices = f.metadata.get("unit"), f.metadata.get("choices")
    words = f.metadata["help"]
    words += f" In {unit}." if unit else ""
    words += f" Default: {_shown(default)}." if value != (default := default_of(f)) else ""
    words += f" One of {', '.join(choice or 'empty' for choice in choices)}." if choices else ""
    first = f"{name:<{_NAME + 2}} {shown:<{_VALUE}}"
    gap = " " * (_NAME + _VALUE + 4)
    if len(first) >= len(gap):  # too long for its column
        yield first.rstrip()
        yield from textwrap.wrap(words, width, initial_indent=gap, subsequent_indent=gap)
    else:
        yield from textwrap.wrap(words, width, initial_indent=f"{first} ", subsequent_indent=gap)


def _shown(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, tuple):
        items = ",".join(_shown(item) for item in value)
        return f"({items}{',' * (len(value) == 1)})"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'
