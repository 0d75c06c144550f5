"""The command `vidjax recommend`."""

import argparse

from vidjax.apps.command_parser import Commands, positive


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "recommend",
        help="find the embedded videos that resemble liked ones",
        description="Find the videos of an index that resemble liked ones rather than disliked ones.",
    )
    parser.add_argument("folder", metavar="index", help="folder of `vidjax embed`")
    parser.add_argument("--liked", nargs="+", required=True, metavar="VIDEO", help="videos, in the index or not")
    parser.add_argument("--disliked", nargs="+", default=[], metavar="VIDEO", help="videos, in the index or not")
    parser.add_argument("--top", type=positive, default=10, help="videos to find (default: 10)")
    parser.add_argument("--run", dest="checkpoint", default="", help="folder of the network, if it has moved")
    parser.add_argument("--out", default="recommend", help="folder for picture and JSON (default: recommend)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.search import recommend

    return recommend(
        args.folder,
        args.liked,
        args.disliked,
        top=args.top,
        run=args.checkpoint,
        out=args.out,
        as_json=args.json,
    )
