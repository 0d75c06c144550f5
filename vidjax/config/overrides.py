"""Settings on the command line: `--config.data.clip.size=112`."""

import ast
import os
from collections.abc import Sequence
from typing import Any

from vidjax.config.renamed import todays_name
from vidjax.config.section import ConfigError, unknown
from vidjax.config.settings import Config
from vidjax.config.stored import field_names


def check_flags(argv: Sequence[str]) -> None:
    """Refuse a `--config=FILE` that is not there and `--config.some.field=…` flags that name no setting.

    Raises:
      ConfigError: naming the file, or the field and the closest ones that exist.
    """
    for arg, following in zip(argv, [*argv[1:], ""], strict=True):
        name, _, value = arg.lstrip("-").partition("=")
        if arg.startswith("-") and name == "config" and not os.path.isfile(file := value or following):
            raise ConfigError(f"--config={file}: no such file")
    known = set(field_names(Config))
    for arg in argv:
        name = arg.lstrip("-").split("=")[0]
        if not arg.startswith("-") or not name.startswith("config."):
            continue
        name = name.removeprefix("config.")
        if name not in known and not name.startswith("model.kwargs."):
            raise ConfigError(unknown(name, known))


def todays_flags(argv: Sequence[str]) -> list[str]:
    """Arguments with the settings among them as they are called now; see `vidjax.config.renamed`."""
    flags = []
    for arg in argv:
        name, equals, value = arg.lstrip("-").partition("=")
        if arg.startswith("-") and name.startswith("config."):
            arg = f"--config.{todays_name(name.removeprefix('config.'))}{equals}{value}"
        flags.append(arg)
    return flags


def take_kwargs(argv: list[str]) -> dict[str, Any]:
    """What the flags `--config.model.kwargs.NAME=VALUE` in `argv` say; they are removed from it.

    A model's arguments are its own, so a config need not hold them already, as it must for other settings. VALUE is a
    Python literal, such as `(2, 4, 4)`; `true`, `false`; or else a string.

    Raises:
      ConfigError: for a flag without a name or a value.
    """
    prefix, taken, rest = "config.model.kwargs.", {}, iter(argv[:])
    argv.clear()
    for arg in rest:
        name, equals, value = arg.lstrip("-").partition("=")
        if not arg.startswith("-") or not name.startswith(prefix):
            argv.append(arg)
            continue
        value = value if equals else next(rest, "")
        name = name.removeprefix(prefix)
        if not name.isidentifier() or not value:
            raise ConfigError(f"{arg}: give --{prefix}NAME=VALUE, an argument of the model's constructor")
        try:
            taken[name] = ast.literal_eval({"true": "True", "false": "False"}.get(value, value))
        except (ValueError, SyntaxError):
            taken[name] = value
    return taken
