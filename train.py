"""Train a model: python train.py --config=configs/motion.py --workdir=runs/motion [--config.field=value …]."""

import sys

from absl import app, flags
from ml_collections import config_flags

from vidjax.config import ConfigError, check_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, a file with get_config().")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints, logs and results; an earlier run there is continued."
)


def main(_: list[str]) -> int:
    from vidjax.apps.messages import explain
    from vidjax.training.loop import Interrupted, train

    def run() -> None:
        try:
            train(_CONFIG.value, _WORKDIR.value)
        except Interrupted as stop:
            print(stop.message)

    return explain(run)


if __name__ == "__main__":
    try:
        check_flags(sys.argv)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
