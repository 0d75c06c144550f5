"""The command that evaluates: eval.py, and `python -m vidjax evaluate`.

The config is the one stored with the checkpoint; flags override single fields of it. Importing this file defines its
flags, so that a process has either these or those of `train_command`.
"""

import argparse
import sys

from absl import app, flags
from ml_collections import config_flags

from vidjax import launch
from vidjax.config import Config, ConfigError, check_flags, take_kwargs, todays_flags

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a training run; its best checkpoint is evaluated.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Instead of --workdir: a folder of `vidjax convert`, or one step's."
)
_STEP = flags.DEFINE_integer("step", None, "Evaluate the checkpoint of this update instead of the best one.")
_OUT = flags.DEFINE_string(
    "out", None, "Folder for eval.json and the rest; default: the run's, or, with other views, step or data, one in it."
)

_CLUSTER = launch.define_flags()
_CONFIG: list = []  # the flag for the config, which is defined once the checkpoint is known


def _evaluate(_: list[str]) -> int:
    from vidjax.apps.evaluate import evaluate_checkpoint
    from vidjax.apps.user_errors import explain

    def run() -> None:
        launch.join(_CLUSTER())
        with launch.together():
            folder = _WORKDIR.value or _CHECKPOINT.value
            evaluate_checkpoint(folder, _CONFIG[0].value, step=_STEP.value, out=_OUT.value)

    return launch.leave(explain(run))


def _stored_config(argv: list[str]) -> Config:
    """The config in the checkpoint: overrides apply to it, so it is read before the flags are parsed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--workdir", "--checkpoint"):
        parser.add_argument(name)
    known, _ = parser.parse_known_args(argv[1:])
    if bool(known.workdir) == bool(known.checkpoint):
        if {"--help", "-h", "--helpfull", "--helpshort"} & set(argv):
            return Config()
        sys.exit("error: give either --workdir or --checkpoint")
    launch.skip_tpu_search()  # this imports JAX
    from vidjax.training.checkpoints import CheckpointFolderError, load_meta

    try:
        check_flags(argv)
        config = load_meta(known.workdir or known.checkpoint).config
        config.model.kwargs |= take_kwargs(argv)
        return config
    except (CheckpointFolderError, ConfigError) as error:
        sys.exit(f"error: {error}")


def main(argv: list[str]) -> None:
    """Evaluate as the arguments say, the first being the program's name, and exit."""
    argv = todays_flags(argv)
    _CONFIG.append(config_flags.DEFINE_config_dataclass("config", _stored_config(argv), sys_argv=argv))
    app.run(_evaluate, argv=argv)
