"""Settings on the command line, such as `--config.data.clip.size=112`, converted to the type of their field."""

import ast
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from vidjax.config.renamed import todays_name
from vidjax.config.section import ConfigError, unknown
from vidjax.config.settings import Config
from vidjax.config.stored import field_names, inner_type, setting, with_settings

_KWARGS = "model.kwargs."
_SWITCH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def split_arguments(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into those of the config and all others.

    Args:
      argv: command line: `--config=FILE`, `--config FILE`, `--config.field=value`, `--config.field value`,
        `--config.switch` to turn a switch on, and anything else.

    Returns:
      The config's arguments as `--config=FILE` and `--config.field=value`, and the others unchanged.

    Raises:
      ConfigError: if a setting has no value or does not exist.
    """
    own, others, rest = [], [], list(argv)
    while rest:
        arg = rest.pop(0)
        name, equals, value = arg.lstrip("-").partition("=")
        if not arg.startswith("-") or not (name == "config" or name.startswith("config.")):
            others.append(arg)
            continue
        if not equals:
            value = _next_value(name, rest)
        own.append(f"--{name}={value}")
    return own, others


def _next_value(name: str, rest: list[str]) -> str:
    """The value of the argument `name`, which is the first of `rest`, unless it is a switch that is on."""
    field = name.removeprefix("config").removeprefix(".")
    if field and not field.startswith(_KWARGS) and inner_type(_type_of(todays_name(field))) is bool:
        return "true"
    if not rest or rest[0].startswith("--"):
        if field.startswith(_KWARGS):
            _argument(field.removeprefix(_KWARGS), "")
        raise ConfigError(f"--{name}: give --{name}={'VALUE' if field else 'FILE'}")
    return rest.pop(0)


def overridden(config: Config, arguments: Sequence[str]) -> Config:
    """Copy of `config` with the settings of `--config.field=value` arguments.

    Arguments of a model's constructor need not be in the config yet: the value of `--config.model.kwargs.NAME=VALUE` is
    a Python literal, such as `(2, 4, 4)`, or `true`, `false`, or else a string.

    Raises:
      ConfigError: if a name is not a setting, with suggestions, or a value has the wrong type.
    """
    changes, kwargs = {}, {}
    for argument in arguments:
        name, _, text = argument.removeprefix("--config.").partition("=")
        if name.startswith(_KWARGS):
            kwargs |= _argument(name.removeprefix(_KWARGS), text)
        else:
            name = todays_name(name)
            changes[name] = _value(text, _type_of(name), name)
    config = with_settings(config, changes)
    config.model.kwargs = {**config.model.kwargs, **kwargs}
    return config


def _argument(name: str, text: str) -> Mapping[str, Any]:
    if not name.isidentifier() or not text:
        raise ConfigError(f"--config.{_KWARGS}{name}: give --config.{_KWARGS}NAME=VALUE, an argument of the model's "
                          "constructor")  # fmt: skip
    try:
        return {name: ast.literal_eval({"true": "True", "false": "False"}.get(text, text))}
    except (ValueError, SyntaxError):
        return {name: text}


def _type_of(name: str) -> Any:
    """Type of the setting with a dotted name."""
    if name not in (known := field_names(Config)):
        raise ConfigError(unknown(name, known))
    section, _, leaf = name.rpartition(".")
    return typing.get_type_hints(type(setting(Config(), section) if section else Config()))[leaf]


def _value(text: str, hint: Any, name: str) -> Any:
    """Value of `text` for a setting of type `hint`."""
    kind = inner_type(hint)
    if kind is not hint and text.lower() == "none":
        return None
    if kind is str:
        return text
    if kind is bool:
        if text.lower() in _SWITCH:
            return _SWITCH[text.lower()]
        raise ConfigError(f"--config.{name}={text}: must be true or false{', or None' if kind is not hint else ''}")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ConfigError(f"--config.{name}={text}: must be {what}") from None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = None
    if typing.get_args(kind)[0] is str and typing.get_origin(kind) is tuple:  # several strings, which need no quotes
        quoted = isinstance(value, str | list | tuple)
        parts = (value,) if isinstance(value, str) else value if quoted else text.split(",") if text else ()
        return tuple(part.strip() for part in map(str, parts))
    if value is None:
        raise ConfigError(f"--config.{name}={text}: must be a Python literal, such as 1,2 or (1, 2)")
    return value
