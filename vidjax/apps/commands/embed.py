"""The command `vidjax embed`."""

import argparse

from vidjax.apps.command_parser import Commands, add_engine, positive
from vidjax.launch import add_place_flags, place


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "embed",
        help="keep feature vectors of videos, for search",
        description="Compute feature vectors of videos and keep them in a folder. Only new and changed videos are "
        "computed, and an interrupted command goes on from where it was.",
    )
    parser.add_argument("checkpoint", metavar="run", help="work directory of a run, or folder written by convert")
    parser.add_argument(
        "videos", nargs="+", metavar="video", help="video file, folder, CSV file with a column path, or JSON Lines"
    )
    parser.add_argument("out", help="folder of the vectors, new or made by the same command")
    parser.add_argument(
        "--layer", default="", help="layer, as `vidjax models NAME` lists it (default: the classifier's input)"
    )
    parser.add_argument(
        "--per", choices=("clip", "video"), default="clip", help="a vector per clip, or their mean (default: clip)"
    )
    parser.add_argument("--num-clips", type=positive, help="clips per video, from end to end (default: 10)")
    parser.add_argument("--num-crops", type=int, choices=(1, 3, 5, 10), help="crops per clip, averaged (default: 1)")
    parser.add_argument("--hop", type=positive, help="source frames from clip to clip, instead of a number of clips")
    parser.add_argument("--batch-size", type=positive, help="views at a time (default: 1 on CPUs, else 16)")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    add_engine(parser)
    add_place_flags(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    own = place(args.process_id, args.num_processes)
    own.claim()
    from vidjax.apps.embed import Settings, embed

    return embed(
        args.checkpoint,
        args.videos,
        args.out,
        Settings(args.layer, args.per, args.num_clips, args.num_crops, args.hop, args.batch_size, args.step),
        rank=own.number,
        count=own.count,
        engine=args.engine,
        workers=args.workers,
        as_json=args.json,
    )
