"""The command `vidjax inspect`."""

import argparse

from vidjax.apps.command_parser import SETTINGS, Commands, positive


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "inspect",
        help="show and check the clips that a training would read from a data set",
        description="Draw contact sheets of the clips of training and evaluation, and check sampling and splits.",
        epilog=SETTINGS,
    )
    parser.add_argument("data", nargs="?", help="CSV file or folder (default: that of the config)")
    parser.add_argument("--config", metavar="FILE", help="experiment, as for train.py (default: all defaults)")
    parser.add_argument("--out", help="folder for the results (default: inspect/ and the name of the data)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--videos", type=positive, default=8, help="videos on each contact sheet (default: 8)")
    parser.add_argument("--draws", type=positive, default=2, help="training clips per video (default: 2)")
    parser.add_argument(
        "--open", type=int, default=500, help="videos per split that the checks open; 0: all (default: 500)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.inspect import inspect

    return inspect(
        args.data,
        args.settings,
        out=args.out,
        as_json=args.json,
        num_videos=args.videos,
        num_draws=args.draws,
        num_opened=args.open,
    )
