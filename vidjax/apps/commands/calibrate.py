"""The command `vidjax calibrate`."""

import argparse

from vidjax.apps.command_parser import Commands


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("calibrate", help="make a run's probabilities say how often it is right")
    parser.add_argument("run_folder", metavar="RUN", help="work directory of an evaluated run")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.calibrate import calibrate

    return calibrate(args.run_folder, as_json=args.json)
