"""Command line: `vidjax COMMAND`, or python -m vidjax COMMAND."""

import argparse
import sys

from vidjax.apps import score_command
from vidjax.apps.command_parser import CommandParser
from vidjax.apps.commands import COMMANDS, add_all
from vidjax.config import ConfigError, split_arguments


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="vidjax", description="Train, evaluate and use networks for video.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("train", help="train a model, like train.py: --config=RECIPE --workdir=FOLDER", add_help=False)
    help_text = f"evaluate a model, like eval.py: --workdir=FOLDER; or files: {', '.join(score_command.KINDS)}"
    commands.add_parser("evaluate", help=help_text, add_help=False)
    add_all(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status, importing nothing heavy before the arguments are checked."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["evaluate"] and argv[1:] and not argv[1].startswith("-"):
        score_command.main(argv[1:])
    if argv and argv[0] in ("train", "evaluate"):  # these have a parser of their own
        if argv[0] == "train":
            from vidjax.apps.train_command import main as run
        else:
            from vidjax.apps.evaluate_command import main as run
        run([f"vidjax {argv[0]}", *argv[1:]])
    parser = _parser()
    settings, configured = [], bool(argv) and COMMANDS.get(argv[0], False)
    if configured:
        try:
            settings, argv = split_arguments(argv)
        except ConfigError as error:
            sys.exit(f"error: {error}")
    args, wrong = parser.parse_known_args(argv)
    args.settings = settings
    if wrong:
        hint = " (settings are --config.field=value)" if configured else ""
        parser.error(f"unrecognized arguments: {' '.join(wrong)}{hint}")
    from vidjax.apps.user_errors import explain

    return explain(lambda: args.run(args))


if __name__ == "__main__":
    sys.exit(main())
