"""The command `vidjax duplicates`."""

import argparse

from vidjax.apps.command_parser import Commands, share


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "duplicates",
        help="find embedded videos that show the same pictures",
        description="Find pairs of videos that show the same pictures, cut, encoded or shifted in time differently, "
        "with the offset between them.",
    )
    parser.add_argument("folder", metavar="index", help="folder of `vidjax embed`, of clips")
    parser.add_argument(
        "--threshold", type=share, default=0.8, help="least mean cosine of clips along the overlap (default: 0.8)"
    )
    parser.add_argument(
        "--overlap", type=share, default=0.5, help="least overlap, as a share of the shorter video (default: 0.5)"
    )
    parser.add_argument("--out", default="duplicates", help="folder for picture and JSON (default: duplicates)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.search import duplicates

    return duplicates(args.folder, threshold=args.threshold, overlap=args.overlap, out=args.out, as_json=args.json)
