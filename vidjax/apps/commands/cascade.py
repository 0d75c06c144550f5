"""The command `vidjax cascade`."""

import argparse

from vidjax.apps.command_parser import Commands


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "cascade", help="ask a dear network, or later layers, only about what a cheap one chooses"
    )
    parser.add_argument("fast", metavar="FAST", help="work directory of the cheap, evaluated run, or of one with exits")
    parser.add_argument(
        "slow",
        metavar="SLOW",
        nargs="?",
        help="work directory of the dear run, evaluated on the same videos; none: FAST goes on from its early exits",
    )
    parser.add_argument(
        "--out",
        default="",
        help="folder to write the cascade to, for `vidjax predict` (default: `cascade` in that of the dear run)",
    )
    parser.add_argument(
        "--drop", type=float, default=0.005, help="accepted loss of accuracy, as a fraction (default: 0.005)"
    )
    parser.add_argument(
        "--salient",
        action="store_true",
        help="show the dear network only the clips of every video of which the cheap one is surest",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.cascade import cascade

    return cascade(args.fast, args.slow, out=args.out, drop=args.drop, salient=args.salient, as_json=args.json)
