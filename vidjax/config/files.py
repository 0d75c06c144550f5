"""Configs from files, recipes and command-line arguments, for the commands of `python -m vidjax`."""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence

from vidjax.config import Config, ConfigError, overridden, split_arguments


def read_config(argv: Sequence[str], data: str | None = None) -> Config:
    """Read the config of `--config=FILE`, or the defaults, and apply the `--config.field=value` arguments.

    Args:
      argv: arguments `--config=FILE` and `--config.field=value`.
      data: training videos that replace `data.train`. Evaluation then takes its videos from `argv` or from a part of
        `data`, since the file's evaluation videos belong to its own training videos. None: keep the config's.

    Raises:
      ConfigError: if the file does not exist or returns no config, an argument is neither of these, or a value has the
        wrong type.
    """
    arguments, rest = split_arguments(argv)
    if rest:
        raise ConfigError(f"{rest[0]!r} is neither --config=FILE nor --config.field=value")
    files = [arg.removeprefix("--config=") for arg in arguments if arg.startswith("--config=")]
    settings = [arg for arg in arguments if not arg.startswith("--config=")]
    config = overridden(load_config(files[-1]) if files else Config(), settings)
    if data and data != config.data.train:
        given = any(arg.startswith("--config.data.eval=") for arg in settings)
        changes = {"train": data} if given else {"train": data, "eval": ""}
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))
    return config


def recipe(file: str) -> str:
    """Path of a config file; if `file` does not exist but names a recipe, the path of that recipe.

    Raises:
      ConfigError: if a bare name, without folder and .py, is not a recipe.
    """
    name = os.path.basename(file).removesuffix(".py")
    is_name, is_path = file == name, file == f"configs/{name}.py"
    if os.path.exists(file) or not (is_name or is_path):
        return file
    recipes = importlib.util.find_spec("configs")
    places = recipes.submodule_search_locations or () if recipes else ()
    folders = [place for place in places if os.path.isdir(place)]  # editable installations add other entries
    for folder in folders:
        if os.path.exists(path := os.path.join(folder, f"{name}.py")):
            return path
    if is_path:
        return file
    known = sorted(f.removesuffix(".py") for folder in folders for f in os.listdir(folder) if f.endswith(".py"))
    raise ConfigError(f"--config={file}: no such file, and no recipe of this name; there are {', '.join(known)}")


def load_config(file: str) -> Config:
    """Load the config of a file or, if there is no such file, of the recipe NAME installed with the package.

    Args:
      file: Python file with a get_config(), or a recipe as `NAME` or `configs/NAME.py`.

    Raises:
      ConfigError: if the file does not exist or returns no config, or there is no recipe of that name.
    """
    file = recipe(file)
    if not os.path.isfile(file):
        raise ConfigError(f"--config={file}: no such file")
    spec = importlib.util.spec_from_file_location("config_file", file)
    if spec is None:
        raise ConfigError(f"--config={file}: must be a Python file (.py) with a get_config()")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config() if hasattr(module, "get_config") else None
    if not isinstance(config, Config):
        raise ConfigError(f"--config={file}: must have a get_config() that returns a vidjax Config")
    return config
