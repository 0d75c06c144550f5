"""Constructors of settings' fields: default, help text, unit and allowed values."""

import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, field
from itertools import pairwise
from typing import Any

# A value → a message of what it must be instead; empty: the value is allowed.
Check = Callable[[Any], str]


def anything(default: Any, help: str, *, unit: str = "", check: Check | None = None) -> Any:
    """Field for any value of its type, or for those that pass `check`.

    Args:
      default: default value.
      help: meaning of the setting, understandable by itself.
      unit: unit of the value; empty: none.
      check: function from a value to a message of what it must be, empty if it is allowed.
    """
    return field(default=default, metadata={"help": help, "unit": unit, "check": check})


def choice(default: str, *others: str, help: str) -> Any:
    """Field for one of a few strings, of which the first is the default."""
    choices = tuple(dict.fromkeys((default, *others)))
    what = f"must be one of {', '.join(map(repr, choices))}"
    check = _must(lambda value: value in choices, what)
    return field(default=default, metadata={"help": help, "unit": "", "check": check, "choices": choices})


def one_of(default: int, numbers: Sequence[int], help: str, *, what: str) -> Any:
    """Field for one of a few numbers."""
    return anything(default, help, check=_must(lambda value: value in numbers, what))


def at_least(least: float, default: float, help: str, *, unit: str = "", meaning: str = "") -> Any:
    """Field for numbers of at least `least`; `meaning` explains that least number."""
    what = f"must be {least}{f' ({meaning})' if meaning else ''} or more"
    return anything(default, help, unit=unit, check=_must(lambda value: value >= least, what))


def positive(default: float, help: str, *, unit: str = "") -> Any:
    """Field for numbers above 0."""
    what = f"must be positive{f', in {unit}' if unit else ''}"
    return anything(default, help, unit=unit, check=_must(lambda value: value > 0, what))


def share(default: float, help: str, *, most: float = 1) -> Any:
    """Field for numbers in 0…`most`, both included."""
    return anything(default, help, check=_must(lambda value: 0 <= value <= most, f"must lie in 0…{most}"))


def below_one(default: float, help: str, *, off: float | None = None) -> Any:
    """Field for shares in 0…1 without 1; `off` is a number below 0 that is also allowed."""
    what = "must lie in 0…1" if off is None else f"must be {off:g} or lie in 0…1"
    return anything(default, help, check=_must(lambda value: value == off or 0 <= value < 1, what))


def above_zero(default: float, help: str, *, whole: str = "") -> Any:
    """Field for shares in 0…1 without 0; `whole` is the meaning of 1."""
    what = f"must lie in 0…1{f', 1 being {whole}' if whole else ''}"
    return anything(default, help, check=_must(lambda value: 0 < value <= 1, what))


def strictly_between(default: float, help: str) -> Any:
    """Field for shares in 0…1 without 0 and 1."""
    return anything(default, help, check=_must(lambda value: 0 < value < 1, "must lie between 0 and 1"))


def between(default: tuple[float, float], help: str, *, most: float, unit: str = "") -> Any:
    """Field for the bounds (low, high) of a random draw, 0 < low <= high <= `most`."""
    what = f"give (low, high) with 0 < low <= high <= {most}"
    return anything(default, help, unit=unit, check=_must(lambda v: len(v) == 2 and 0 < v[0] <= v[1] <= most, what))


def devices(default: int, help: str) -> Any:
    """Field for a number of devices, or -1 for all devices left."""
    return anything(
        default, help, check=_must(lambda v: v == -1 or v >= 1, "must be -1 (all devices left) or a number of devices")
    )


def per_channel(help: str, *, positive: bool = False) -> Any:
    """Field for a number per colour, for the two directions of flow, for these after the colours, or for none."""
    what = f"give three {'positive ' if positive else ''}numbers, or () (with flow: 2, or 5 with colours)"
    sizes = (0, 2, 3, 5)
    return anything((), help, check=_must(lambda v: len(v) in sizes and all(x > 0 or not positive for x in v), what))


def default_of(f: Field) -> Any:
    """Default value of a field."""
    return f.default_factory() if f.default is MISSING else f.default


def sides(value: Sequence[int]) -> str:
    """Check the size that frames are resized to."""
    return "" if len(value) <= 2 and all(side > 0 for side in value) else "give (short_side,) or (height, width)"


def falling_shares(value: Sequence[float]) -> str:
    """Check the sides of crops."""
    falling = all(a > b for a, b in pairwise(value))
    ok = len(value) > 0 and falling and all(0 < share <= 1 for share in value)
    return "" if ok else "give shares in 0…1 in descending order"


def weights(value: Sequence[float]) -> str:
    """Check the weights of sources."""
    what = "give a positive weight for each source; remove unwanted sources from config.data.train"
    return "" if all(0 < weight < math.inf for weight in value) else what


def pairs(value: Sequence[str]) -> str:
    """Check pairs of classes; the message names the first that is malformed."""
    for pair in value:
        names = [name.strip() for name in pair.split("<>")]
        if len(names) != 2 or not all(names) or names[0] == names[1]:
            return f"{pair!r} must be two classes joined by <>, such as 'turn left<>turn right'"
    return ""


def _must(allowed: Callable[[Any], bool], what: str) -> Check:
    return lambda value: "" if allowed(value) else what
