"""The evaluation command: eval.py, and `python -m vidjax evaluate`.

The config is the one stored with the checkpoint; `--config.field=value` changes single settings of it.
"""

import argparse
import sys
from pathlib import Path

from vidjax import launch
from vidjax.apps.command_parser import CommandParser
from vidjax.apps.score_command import KINDS
from vidjax.config import Config, ConfigError, overridden, split_arguments
from vidjax.config.help_text import settings_help


def parser(program: str) -> argparse.ArgumentParser:
    """Make the parser of all arguments but settings; `program` is the command's name."""
    parser = CommandParser(
        program,
        usage="%(prog)s --workdir=FOLDER [options] [--config.SECTION.NAME=VALUE …]",
        epilog=f"Files of predictions are scored, without a model, by `vidjax evaluate {'|'.join(KINDS)}`; see their "
        "--help.",
        description="Evaluate a model with the config stored with it. An evaluation that differs from the run's own is "
        "written beside its result.",
    )
    parser.add_argument("--workdir", help="folder of a training run; its best checkpoint is evaluated")
    parser.add_argument("--checkpoint", help="folder of `vidjax convert`, or of one step; instead of --workdir")
    parser.add_argument("--step", type=int, help="evaluate the checkpoint of this update instead of the best one")
    parser.add_argument(
        "--out", help="folder for eval.json and the other files (default: the run's, or, with other views, step or "
        "data, a new one in it)",
    )  # fmt: skip
    parser.add_argument(
        "--labels",
        default="",
        help="evaluate as a classifier of classes in words, for a network of videos and texts: a file with one class "
        "per line, the name of a data set, or the classes, separated by commas",
    )
    launch.add_flags(parser)
    return parser


def main(argv: list[str]) -> None:
    """Run the evaluation command and exit; the first argument is the program's name."""
    program = parser(argv[0] if argv[0].startswith("vidjax ") else Path(argv[0]).name)
    try:
        settings, rest = split_arguments(argv[1:])
        asked = {"-h", "--help"} & set(rest)
        args = program.parse_args([arg for arg in rest if arg not in ("-h", "--help")])
        folder = args.workdir or args.checkpoint
        if bool(args.workdir) == bool(args.checkpoint) and not (asked and not folder):
            sys.exit("error: give either --workdir or --checkpoint")
        if any(setting.startswith("--config=") for setting in settings):
            raise ConfigError("the config is the checkpoint's; --config.field=value changes single settings of it")
        config = overridden(_stored(folder) if folder else Config(), settings)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    if asked:
        program.print_help()
        print(f"\n{settings_help(config)}")
        sys.exit(0)
    sys.exit(_evaluate(config, folder, args))


def _stored(folder: str) -> Config:
    launch.skip_tpu_search()  # this imports JAX
    from vidjax.training.checkpoints import CheckpointFolderError, load_meta

    try:
        return load_meta(folder).config
    except CheckpointFolderError as error:
        sys.exit(f"error: {error}")


def _evaluate(config: Config, folder: str, args: argparse.Namespace) -> int:
    from vidjax.apps.evaluate import evaluate_checkpoint
    from vidjax.apps.user_errors import explain

    def run() -> None:
        launch.join(launch.discover(args.coordinator, args.num_processes, args.process_id))
        with launch.together():
            evaluate_checkpoint(folder, config, step=args.step, out=args.out, labels=args.labels)

    return launch.leave(explain(run))
