"""The training command: train.py, and `python -m vidjax train`."""

import argparse
import sys
from pathlib import Path

from vidjax import launch
from vidjax.apps.command_parser import CommandParser
from vidjax.config import Config, ConfigError, split_arguments
from vidjax.config.files import read_config
from vidjax.config.help_text import settings_help


def parser(program: str) -> argparse.ArgumentParser:
    """Make the parser of all arguments but settings; `program` is the command's name."""
    parser = CommandParser(
        program,
        usage="%(prog)s --config=RECIPE --workdir=FOLDER [options] [--config.SECTION.NAME=VALUE …]",
        description="Train a model, or continue the training in a work directory.",
    )
    parser.add_argument("--config", metavar="RECIPE", help="name of a recipe, or file with get_config()")
    parser.add_argument("--workdir", help="folder for checkpoints, logs and results; an earlier run there is continued")
    parser.add_argument(
        "--dry-run", nargs="?", const=True, default=False, type=_switch, metavar="BOOL",
        help="check settings, annotations, devices and each process's share, report the plan, and write nothing",
    )  # fmt: skip
    parser.add_argument(
        "--stopped-status", type=int, default=0, metavar="STATUS",
        help="exit status after SIGTERM, once the state is saved; use a value other than 0 if the launcher restarts "
        "only failed processes",
    )  # fmt: skip
    launch.add_flags(parser)
    return parser


def main(argv: list[str]) -> None:
    """Run the training command and exit; the first argument is the program's name."""
    program = parser(argv[0] if argv[0].startswith("vidjax ") else Path(argv[0]).name)
    try:
        settings, rest = split_arguments(argv[1:])
        if {"-h", "--help"} & set(rest):
            program.print_help()
            print(f"\n{settings_help(read_config(settings))}")
            sys.exit(0)
        args = program.parse_args(rest)
        if not args.workdir or not any(setting.startswith("--config=") for setting in settings):
            program.error("give --config=RECIPE and --workdir=FOLDER; --help lists all arguments and settings")
        config = read_config(settings)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    sys.exit(_train(config, args))


def _train(config: Config, args: argparse.Namespace) -> int:
    from vidjax.apps.user_errors import explain

    def run() -> int:
        launch.join(launch.discover(args.coordinator, args.num_processes, args.process_id))
        from vidjax.training.loop import dry_run, train
        from vidjax.training.stopping import Interrupted

        try:
            with launch.together():
                (dry_run if args.dry_run else train)(config, args.workdir)
        except Interrupted as stop:
            print(stop.message)
            return stop.code or args.stopped_status
        return 0

    return launch.leave(explain(run))


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text} is neither true nor false")
    return text.lower() == "true"
