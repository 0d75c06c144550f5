"""The command that trains: train.py, and `python -m vidjax train`.

Importing this file defines its flags, so that a process has either these or those of `evaluate_command`.
"""

import sys

from absl import app, flags
from ml_collections import config_flags

from vidjax import launch
from vidjax.config import ConfigError, check_flags, take_kwargs, todays_flags
from vidjax.config.files import with_recipe

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, a file with get_config().")
_KWARGS: dict = {}  # the model's own arguments among the flags
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints, logs and results; an earlier run there is continued."
)
_CLUSTER = launch.define_flags()
_STOPPED_STATUS = flags.DEFINE_integer(
    "stopped_status",
    0,
    "Exit status after SIGTERM, the state being saved; where launchers repeat only what fails: not 0.",
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Check settings, annotations, devices and shares, say what would be done, and do nothing."
)


def _train(_: list[str]) -> int:
    from vidjax.apps.user_errors import explain

    def run() -> int:
        config = _CONFIG.value
        config.model.kwargs |= _KWARGS
        launch.join(_CLUSTER())
        from vidjax.training.loop import dry_run, train
        from vidjax.training.stopping import Interrupted

        try:
            with launch.together():
                (dry_run if _DRY_RUN.value else train)(config, _WORKDIR.value)
        except Interrupted as stop:
            print(stop.message)
            return stop.code or _STOPPED_STATUS.value
        return 0

    return launch.leave(explain(run))


def main(argv: list[str]) -> None:
    """Train as the arguments say, the first being the program's name, and exit."""
    try:
        argv = todays_flags(with_recipe(argv))
        check_flags(argv)
        _KWARGS.update(take_kwargs(argv))
    except ConfigError as error:
        sys.exit(f"error: {error}")
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(_train, argv=argv)
