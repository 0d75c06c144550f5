"""Conversion of configs to nested dictionaries for storage, and access to settings by dotted names."""

import copy
import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from vidjax.config.renamed import todays_name, todays_value, with_todays_names
from vidjax.config.section import ConfigError, Section, unknown
from vidjax.config.settings import Config

T = TypeVar("T")


def field_names(config: type | Any, prefix: str = "") -> list[str]:
    """Dotted names of all settings, such as `["seed", "model.name", …]`."""
    names = []
    hints = typing.get_type_hints(config if isinstance(config, type) else type(config))
    for f in dataclasses.fields(config):
        if dataclasses.is_dataclass(hints[f.name]):
            names += field_names(hints[f.name], f"{prefix}{f.name}.")
        else:
            names.append(prefix + f.name)
    return names


def to_dict(config: Any) -> dict[str, Any]:
    """Convert to nested dictionaries and lists for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(values: Mapping[str, Any], cls: type = Config, prefix: str = "") -> Any:
    """Make the dataclass `cls` with the fields in `values`; fields not given keep their defaults.

    Raises:
      ConfigError: if `cls` lacks a field or a value has the wrong type; names it.
    """
    hints = typing.get_type_hints(cls)
    if cls is Config:
        values = with_todays_names(values)
    kwargs = {}
    for name, value in values.items():
        if name not in hints:
            section = issubclass(cls, Section)
            raise ConfigError(cls.no_field(name) if section else unknown(prefix + name, [prefix + n for n in hints]))
        if dataclasses.is_dataclass(hints[name]):
            kwargs[name] = from_dict(value, hints[name], f"{prefix}{name}.")
        else:
            kwargs[name] = _coerce(todays_value(value, prefix + name), hints[name], prefix + name)
    return cls(**kwargs)


def inner_type(hint: Any) -> Any:
    """Type of a setting, without the alternative None."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint


def setting(config: Any, name: str) -> Any:
    """Value of the setting with a dotted name, such as `data.clip.size`."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def with_settings(config: T, values: Mapping[str, Any]) -> T:
    """Copy of `config`, or of a section, with new values of some settings, by their dotted names within it.

    Raises:
      ConfigError: if a name is not a setting, or a value has the wrong type.
    """
    config = copy.deepcopy(config)
    start = f"{config.path}." if config.path else ""
    known = field_names(config, start)
    for name, value in values.items():
        full = todays_name(start + name)
        if full not in known:
            raise ConfigError(unknown(full, known))
        section, _, leaf = full.removeprefix(start).rpartition(".")
        owner = setting(config, section) if section else config
        setattr(owner, leaf, _coerce(todays_value(value, full), typing.get_type_hints(type(owner))[leaf], full))
    return config


def _coerce(value: Any, hint: Any, name: str) -> Any:
    """Convert `value` to the type `hint`, accepting JSON's forms of it (lists for tuples, ints for floats)."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if (kind := inner_type(hint)) is not hint:
        return None if value is None else _coerce(value, kind, name)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_coerce(v, args[0], name) for v in value)
    if origin is tuple and isinstance(value, int | float) and not isinstance(value, bool):
        return (_coerce(value, args[0], name),)
    if origin is dict and isinstance(value, Mapping):
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise ConfigError(f"config.{name} = {value!r}: must be of type {wanted if origin is None else hint}")
