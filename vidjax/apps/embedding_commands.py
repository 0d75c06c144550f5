"""Arguments of the commands for feature vectors of many videos: embed, search, duplicates and recommend."""

import argparse

from vidjax.apps.command_parser import positive, share

COMMANDS = ("embed", "search", "duplicates", "recommend")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the parsers of the commands."""
    _add_embed(commands)
    search = commands.add_parser(
        "search",
        help="find the embedded videos that resemble a video",
        description="Find the videos of an index that resemble QUERY, in it or not, and draw them on a contact sheet.",
    )
    search.add_argument("index", help="folder of `vidjax embed`")
    search.add_argument("query", help="video file")
    search.add_argument("--top", type=positive, default=10, help="videos to find (default: 10)")
    search.add_argument(
        "--by",
        choices=("video", "clip"),
        default="",
        help="compare the mean vectors of videos, or the most similar clips (default: video; with usearch: clip)",
    )
    search.add_argument(
        "--index",
        dest="method",
        choices=("exact", "usearch"),
        default="exact",
        help="exact search, or an approximate graph, whose recall is printed (default: exact)",
    )
    _add_common(search, "search/ and the name of the video")
    recommend = commands.add_parser(
        "recommend",
        help="find the embedded videos that resemble liked ones",
        description="Find the videos of an index that resemble liked ones rather than disliked ones.",
    )
    recommend.add_argument("index", help="folder of `vidjax embed`")
    recommend.add_argument("--liked", nargs="+", required=True, metavar="VIDEO", help="videos, in the index or not")
    recommend.add_argument("--disliked", nargs="+", default=[], metavar="VIDEO", help="videos, in the index or not")
    recommend.add_argument("--top", type=positive, default=10, help="videos to find (default: 10)")
    _add_common(recommend, "recommend")
    duplicates = commands.add_parser(
        "duplicates",
        help="find embedded videos that show the same pictures",
        description="Find pairs of videos that show the same pictures, cut, encoded or shifted in time differently, "
        "with the offset between them.",
    )
    duplicates.add_argument("index", help="folder of `vidjax embed`, of clips")
    duplicates.add_argument(
        "--threshold", type=share, help="least mean cosine of the clips along the overlap (default: 0.8)"
    )
    duplicates.add_argument("--overlap", type=share, help="least overlap, of the shorter video (default: 0.5)")
    duplicates.add_argument("--out", default="duplicates", help="folder for picture and JSON (default: duplicates)")
    duplicates.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_embed(commands: argparse._SubParsersAction) -> None:
    embed = commands.add_parser(
        "embed",
        help="keep feature vectors of videos, for search",
        description="Compute feature vectors of videos and keep them in a folder. Only new and changed videos are "
        "computed, and an interrupted command goes on from where it was.",
    )
    embed.add_argument("run", help="work directory of a run, or folder written by convert")
    embed.add_argument(
        "videos", nargs="+", metavar="video", help="video file, folder, CSV file with a column path, or JSON Lines"
    )
    embed.add_argument("out", help="folder of the vectors, new or made by the same command")
    embed.add_argument(
        "--layer", default="", help="layer, as `vidjax models NAME` lists it (default: the classifier's input)"
    )
    embed.add_argument(
        "--per", choices=("clip", "video"), default="clip", help="a vector per clip, or their mean (default: clip)"
    )
    embed.add_argument("--num-clips", type=positive, help="clips per video, from end to end (default: 10)")
    embed.add_argument("--num-crops", type=int, choices=(1, 3, 5, 10), help="crops per clip, averaged (default: 1)")
    embed.add_argument("--hop", type=positive, help="source frames from clip to clip, instead of a number of clips")
    embed.add_argument("--batch-size", type=positive, help="views at a time (default: 1 on CPUs, else 16)")
    embed.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    embed.add_argument("--json", action="store_true", help="print JSON instead of text")


def _add_common(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("--run", default="", help="folder of the network, if it has moved")
    parser.add_argument("--out", default="", help=f"folder for picture and JSON (default: {out})")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Run the command of parsed arguments."""
    given = {name: value for name, value in vars(args).items() if name not in ("command", "settings")}
    given["as_json"] = given.pop("json")
    if args.command == "embed":
        from vidjax.apps.embed import embed

        return embed(given.pop("run"), given.pop("videos"), given.pop("out"), **given)
    from vidjax.apps import search

    folder = given.pop("index")
    if args.command == "search":
        return search.search(folder, given.pop("query"), **given)
    given = {name: value for name, value in given.items() if value not in (None, "")}
    if args.command == "recommend":
        return search.recommend(folder, given.pop("liked"), given.pop("disliked"), **given)
    return search.duplicates(folder, **given)
