"""Base class of the dataclasses of settings, which know their place in the config and refuse unknown names."""

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from vidjax.config.choices import ALIASES
from vidjax.config.renamed import RENAMED, todays_name
from vidjax.errors import UserError


class ConfigError(UserError):
    """Raised for a setting that is unknown, of the wrong type or out of range; names the field and the remedy."""


class Section:
    """Section of the config; a subclass is a dataclass with its place: `class X(Section, path="data.clip")`.

    Unknown fields cannot be given or set, as `config.optimizer.lr = 1` would change nothing. Old names of fields that
    have moved to a section below still work, with a warning.

    Raises:
      ConfigError: if a name is unknown, with suggestions.
    """

    path: ClassVar[str]
    evaluated: ClassVar[
        tuple[str, ...]
    ] = ()  # fields on which the figures of an evaluation depend, outside data and eval
    _all: ClassVar[dict[str, type["Section"]]] = {}
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field]]  # of the subclasses, which are dataclasses

    def __init_subclass__(cls, path: str, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.path = path
        Section._all[path] = cls

    def __new__(cls, *_: Any, **given: Any) -> Self:
        for name in given:
            if name not in cls.__dataclass_fields__:
                raise ConfigError(cls.no_field(name))
        return super().__new__(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).__dataclass_fields__:
            return super().__setattr__(name, value)
        owner, leaf = self._moved(name)
        if owner is None:
            raise ConfigError(self.no_field(name))
        return setattr(owner, leaf, value)

    def __getattr__(self, name: str) -> Any:  # called only for unknown names
        owner, leaf = self._moved(name)
        if owner is None:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        return getattr(owner, leaf)

    def _moved(self, name: str) -> tuple[Any, str]:
        """Section below this one with the field called `name` in earlier versions, and its name there."""
        old, start = self._full(name), self._full("")
        if old not in RENAMED or not RENAMED[old].startswith(start):
            return None, name
        owner: Any = self
        *sections, leaf = todays_name(old).removeprefix(start).split(".")
        for section in sections:
            owner = getattr(owner, section)
        return owner, leaf

    @classmethod
    def _full(cls, name: str) -> str:
        return f"{cls.path}.{name}" if cls.path else name

    @classmethod
    def no_field(cls, name: str) -> str:
        """Message about a field `name` that this section does not have."""
        known = [section._full(field) for section in Section._all.values() for field in section.__dataclass_fields__]
        return unknown(cls._full(name), [name for name in known if name not in Section._all])


def evaluated_names() -> list[str]:
    """Dotted names of the settings of tasks on which the figures of an evaluation depend."""
    return [section._full(name) for section in Section._all.values() for name in section.evaluated]


def unknown(name: str, known: Iterable[str]) -> str:
    """Message about a dotted name that is not a setting: its new name, or suggestions among the `known` ones."""
    if name in RENAMED:
        return f"config.{name} is now called config.{RENAMED[name]}"
    known = list(known)
    section, _, leaf = name.rpartition(".")
    # Matches by alias, or by name in another section; those in the named section come first.
    close = [k for k in known if k in ALIASES.get(leaf.lower().replace("-", "_"), ()) or k.rpartition(".")[2] == leaf]
    close.sort(key=lambda k: not f"{k.rpartition('.')[0]}.".startswith(f"{section}."))
    if not close:
        alike = {k: difflib.SequenceMatcher(None, k.rpartition(".")[2], leaf).ratio() for k in known}
        close = sorted((k for k in known if alike[k] > 0.8), key=lambda k: -alike[k])
        close += [k for k in difflib.get_close_matches(name, known, n=3, cutoff=0.6) if k not in close]
    hint = f" Did you mean {' or '.join(f'config.{c}' for c in close[:3])}?" if close else ""
    return f"config.{name} is not a setting.{hint} `vidjax train --help` lists them all."
