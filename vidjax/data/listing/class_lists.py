"""Classes of published data sets, listed in `vidjax/data/labels/NAME.txt`, one name per line.

A line may begin with the publisher's number of the class, if not all numbers are in use: `80: watch (a person)`.
"""

import functools
import importlib.resources
import re


@functools.cache
def _lines(name: str) -> tuple[tuple[int | None, str], ...]:
    text = (importlib.resources.files("vidjax.data") / "labels" / f"{name}.txt").read_text(encoding="utf-8")
    matches = (re.fullmatch(r"(?:(\d+): )?(.+)", line.strip()) for line in text.splitlines() if line.strip())
    return tuple((int(match[1]) if match[1] else None, match[2]) for match in matches if match)


@functools.cache
def read_class_names(name: str) -> tuple[str, ...]:
    """Read the K class names of a data set, in the order of the list."""
    return tuple(label for _, label in _lines(name))


@functools.cache
def read_class_numbers(name: str) -> dict[int, str]:
    """Read class names by the publisher's number, for lines that have one."""
    return {number: label for number, label in _lines(name) if number is not None}
