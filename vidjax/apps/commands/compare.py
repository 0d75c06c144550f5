"""The command `vidjax compare`."""

import argparse

from vidjax.apps.command_parser import Commands


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("compare", help="compare the accuracies of evaluated runs, in a table and a plot")
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="work directory, or folder of eval.py; seeds are averaged"
    )
    parser.add_argument("--plot", help="file for the plot; '': none (default: compare.png, or none with --json)")
    parser.add_argument(
        "--show", nargs="*", metavar="FIELD", help="settings to list beside the model (default: all that differ)"
    )
    parser.add_argument(
        "--gmacs", action="store_true", help="also count multiply-adds per clip, and plot accuracies against them"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.compare import compare

    return compare(
        args.runs, plot=args.plot, show=args.show, as_json=args.json, markdown=args.markdown, gmacs=args.gmacs
    )
