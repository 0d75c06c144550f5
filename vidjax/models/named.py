"""Lookup in a table by name, with a hint for names that are almost right."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from vidjax.errors import UserError

T = TypeVar("T")


def named(table: Mapping[str, T], name: str, what: str) -> T:
    """Entry of a table.

    Args:
      table: entries by name.
      name: name to look up.
      what: kind of thing in the table, for the message, such as "detector".

    Raises:
      UserError: if there is no such name; the message names all of them.
    """
    if name not in table:
        close = difflib.get_close_matches(name, table, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise UserError(f"there is no {what} {name!r}.{hint} There are {', '.join(table)}.")
    return table[name]
