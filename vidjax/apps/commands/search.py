"""The command `vidjax search`."""

import argparse

from vidjax.apps.command_parser import Commands, positive


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "search",
        help="find the embedded videos that resemble a video, or that a sentence describes",
        description="Find the videos of an index that resemble QUERY, a video in it or not, or that it describes, and "
        "draw them on a contact sheet.",
    )
    parser.add_argument("folder", metavar="index", help="folder of `vidjax embed`")
    parser.add_argument(
        "query", help="video file; or, if the network of the index reads texts, words such as 'a person falls'"
    )
    parser.add_argument("--top", type=positive, default=10, help="videos to find (default: 10)")
    parser.add_argument(
        "--by",
        choices=("video", "clip"),
        default="",
        help="compare the mean vectors of videos, or the most similar clips (default: video; with usearch: clip)",
    )
    parser.add_argument(
        "--index",
        dest="method",
        choices=("exact", "usearch"),
        default="exact",
        help="exact search, or an approximate graph, whose recall is printed (default: exact)",
    )
    parser.add_argument("--run", dest="checkpoint", default="", help="folder of the network, if it has moved")
    parser.add_argument(
        "--out", default="", help="folder for picture and JSON (default: search/ and the name of the video)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.search import search

    return search(
        args.folder,
        args.query,
        top=args.top,
        by=args.by,
        method=args.method,
        run=args.checkpoint,
        out=args.out,
        as_json=args.json,
    )
