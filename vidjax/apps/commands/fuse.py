"""The command `vidjax fuse`."""

import argparse

from vidjax.apps.command_parser import Commands
from vidjax.nn.score_fusion import RULES


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("fuse", help="accuracy of several evaluated networks combined, such as two streams")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder with the scores.npz of an evaluation")
    parser.add_argument(
        "--weights", nargs="+", type=float, metavar="W", help="weights of the networks (default: equal)"
    )
    parser.add_argument(
        "--scores",
        choices=RULES,
        default=RULES[0],
        help="what is averaged: probabilities, or logits, where weights 1 1 add them (default: %(default)s)",
    )
    parser.add_argument("--out", default="", help="folder for the fused scores.npz (default: not written)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.fuse import fuse_runs

    return fuse_runs(args.runs, weights=args.weights, rule=args.scores, out=args.out, as_json=args.json)
