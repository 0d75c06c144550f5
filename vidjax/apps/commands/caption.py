"""The command `vidjax caption`."""

import argparse

from vidjax.apps.command_parser import Commands, positive, positive_float


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "caption",
        help="say what happens in videos, in a sentence or as subtitles",
        description="Print a caption of each video, or the answer to a question; with --out, write subtitles over its "
        "whole length. RUN is a network of the task caption.",
    )
    parser.add_argument("checkpoint", metavar="run", help="work directory of a run, or folder written by convert")
    parser.add_argument("videos", help="video file, folder, CSV file with a column path, or JSON Lines")
    parser.add_argument("--question", default="", help="question to answer (default: a caption)")
    parser.add_argument("--out", help="folder for subtitles, a file VIDEO.srt for each video")
    parser.add_argument("--beams", type=positive, help="beams of the search (default: the run's)")
    parser.add_argument("--length", type=positive, help="most tokens of a caption (default: the run's)")
    parser.add_argument("--stride", type=positive, default=0, help="frames from part to part (default: those of one)")
    parser.add_argument("--window", type=positive, default=0, help="frames of a part (default: the network's clip)")
    parser.add_argument(
        "--fps", type=positive_float, default=0.0, help="frames per second to take (default: the network's, or all)"
    )
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.caption import caption

    return caption(
        args.checkpoint,
        args.videos,
        question=args.question,
        out=args.out,
        beams=args.beams,
        length=args.length,
        stride=args.stride,
        window=args.window,
        fps=args.fps,
        step=args.step,
    )
