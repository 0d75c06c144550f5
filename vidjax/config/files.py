"""A `Config` from command-line arguments, for the commands of `python -m vidjax`: as train.py takes them."""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence

from vidjax.config import Config, ConfigError, overridden, split_arguments


def read_config(argv: Sequence[str], data: str | None = None) -> Config:
    """The config of `--config=FILE`, or the defaults, with the `--config.field=value` among `argv` applied.

    Args:
      argv: these arguments.
      data: takes the place of `data.train`, and then evaluation has what `argv` gives or a part of that, for what the
        file has for evaluation belongs to its own training videos. None: that of the config.

    Raises:
      ConfigError: for a file that is not there or gives no config, an argument that is none of these, or a value of
        the wrong type.
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
    """`file`, or, where it names a recipe and is not at hand, the file of that recipe.

    Raises:
      ConfigError: for a name, without a folder and .py, of which there is no recipe.
    """
    name = os.path.basename(file).removesuffix(".py")
    is_name, is_path = file == name, file == f"configs/{name}.py"
    if os.path.exists(file) or not (is_name or is_path):
        return file
    recipes = importlib.util.find_spec("configs")
    places = recipes.submodule_search_locations or () if recipes else ()
    folders = [place for place in places if os.path.isdir(place)]  # an editable installation adds what is none
    for folder in folders:
        if os.path.exists(path := os.path.join(folder, f"{name}.py")):
            return path
    if is_path:
        return file
    known = sorted(f.removesuffix(".py") for folder in folders for f in os.listdir(folder) if f.endswith(".py"))
    raise ConfigError(f"--config={file}: no such file, and no recipe of this name; there are {', '.join(known)}")


def load_config(file: str) -> Config:
    """The config of a file, or, where no such file is at hand, of the recipe NAME that is installed with the package.

    Args:
      file: of Python, with a get_config(); a recipe is `NAME` or `configs/NAME.py`.

    Raises:
      ConfigError: for a file that is not there or gives no config, or a name of which there is no recipe.
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
