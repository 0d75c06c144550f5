"""The command `vidjax models`."""

import argparse

from vidjax.apps.command_parser import Commands


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("models", help="list the models and their costs, or the layers of one model")
    parser.add_argument("pattern", nargs="?", default="*", help="name or pattern, such as '*r50*' (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.add_argument("--depth", type=int, default=2, help="depth of the layers of one model; 0: all (default: 2)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.models import models

    return models(args.pattern, as_json=args.json, markdown=args.markdown, depth=args.depth)
