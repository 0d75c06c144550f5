"""Classes of published data sets, listed in `vidjax/data/labels/NAME.txt`, one name per line.

A line may begin with the publisher's number of the class, if not all numbers are in use: `80: watch (a person)`; or
with its identifier in Freebase: `/m/09x0r: Speech`.
"""

import functools
import importlib.resources
import re
from collections.abc import Sequence

from vidjax.config.choices import CLASSIFIED
from vidjax.errors import UserError


@functools.cache
def _lines(name: str) -> tuple[tuple[str | None, str], ...]:
    text = (importlib.resources.files("vidjax.data") / "labels" / f"{name}.txt").read_text(encoding="utf-8")
    matches = (re.fullmatch(r"(?:(\d+|/[a-z]/\w+): )?(.+)", line.strip()) for line in text.splitlines() if line.strip())
    return tuple((match[1], match[2]) for match in matches if match)


@functools.cache
def read_class_names(name: str) -> tuple[str, ...]:
    """Read the K class names of a data set, in the order of the list."""
    return tuple(label for _, label in _lines(name))


@functools.cache
def read_class_numbers(name: str) -> dict[int, str]:
    """Read class names by the publisher's number, for lines that have one."""
    return {int(number): label for number, label in _lines(name) if number is not None}


@functools.cache
def read_class_ids(name: str) -> dict[str, int]:
    """Read the numbers of classes, from 0, by the publisher's identifier, of a list whose lines all have one."""
    return {identifier: number for number, (identifier, _) in enumerate(_lines(name)) if identifier is not None}


def numbered_classes(count: int) -> tuple[str, ...]:
    """Placeholder names class_0, class_1, …, with leading zeros, for classes without known names."""
    width = len(str(count - 1))
    return tuple(f"class_{i:0{width}d}" for i in range(count))


def class_names_of(given: Sequence[str] | str | None, own: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Names of a network's K classes.

    Args:
      given: the names, or the data set whose classes they are; None: not given.
      own: names that the network's checkpoint has; empty: none.
      count: K; 0: the network has no classifier.

    Returns:
      The names; without any, numbers.

    Raises:
      UserError: for an unknown data set or another number of names.
    """
    if isinstance(given, str):
        if given not in CLASSIFIED:
            raise UserError(f"class_names = {given!r}: give K names, or one of {', '.join(CLASSIFIED)}")
        given = read_class_names(given)
    if given is None:
        return own or (numbered_classes(count) if count else ())
    names = tuple(given)
    if len(names) != count:
        raise UserError(f"{len(names)} class names for a network of {count} classes")
    return names
