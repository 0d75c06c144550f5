"""A `Config` from command-line arguments, for the commands of `python -m vidjax`: as train.py takes them."""

import dataclasses
import importlib.util
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from vidjax.config import Config, ConfigError, check_flags, take_kwargs


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
    argv = ["vidjax", *argv]
    check_flags(argv)
    files = [arg.partition("=")[2] for arg in argv if arg.startswith("--config=")]
    config = _load(files[-1]) if files else Config()
    argv = [arg for arg in argv if not arg.startswith("--config=")]
    config.model.kwargs |= take_kwargs(argv)
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dataclass("config", config, flag_values=values, sys_argv=argv)
        rest = values(argv)[1:]
    except flags.Error as error:
        raise ConfigError(str(error)) from None
    if rest:
        raise ConfigError(f"{rest[0]!r} is neither --config=FILE nor --config.field=value")
    config = values.config
    if data and data != config.data.train:
        given = any(arg.lstrip("-").startswith("config.data.eval=") for arg in argv)
        changes = {"train": data} if given else {"train": data, "eval": ""}
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))
    return config


def _load(file: str) -> Config:
    spec = importlib.util.spec_from_file_location("config_file", file)
    if spec is None:
        raise ConfigError(f"--config={file}: must be a Python file (.py) with a get_config()")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config() if hasattr(module, "get_config") else None
    if not isinstance(config, Config):
        raise ConfigError(f"--config={file}: must have a get_config() that returns a vidjax Config")
    return config
