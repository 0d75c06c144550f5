"""Train a model: python train.py --config=configs/motion.py --workdir=runs/motion [--config.field=value …].

The same command runs on one device, on all of a machine, and, started on each of them, on many machines; how these
find each other is in `configs/launch/`.
"""

import sys

from absl import app, flags
from ml_collections import config_flags

from vidjax.config import ConfigError, check_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, a file with get_config().")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints, logs and results; an earlier run there is continued."
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, where no launcher tells it.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes share the training; with the above.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0; with the above.")


def main(_: list[str]) -> int:
    from vidjax import launch
    from vidjax.apps.messages import explain

    def run() -> None:
        launch.join(launch.detect(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value))
        from vidjax.training.loop import Interrupted, train

        try:
            with launch.together():
                train(_CONFIG.value, _WORKDIR.value)
        except Interrupted as stop:
            print(stop.message)

    return launch.leave(explain(run))


if __name__ == "__main__":
    try:
        check_flags(sys.argv)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
