"""The command `vidjax predict`."""

import argparse

from vidjax.apps.command_parser import Commands, positive


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("predict", help="classify video files with a trained model")
    parser.add_argument(
        "checkpoint", help="work directory of a run, or folder written by convert, export, quantize or cascade"
    )
    parser.add_argument("videos", nargs="+", metavar="video", help="video file")
    parser.add_argument(
        "--labels",
        default="",
        help="classes in words, for a network of videos and texts: 'jumping,running', a file with one per line, or the "
        "name of a data set",
    )
    parser.add_argument(
        "--template",
        action="append",
        metavar="TEXT",
        help="with --labels: sentence with {} in the place of the class; several are averaged (default: five of them)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--top", type=positive, default=5, help="classes shown per video (default: 5)")
    parser.add_argument("--num-clips", type=positive, help="clips per video (default: as in the config)")
    crops = (1, 3, 5, 10)
    parser.add_argument("--num-crops", type=int, choices=crops, help="crops per clip (default: as in the config)")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.predict import predict

    return predict(
        args.checkpoint,
        args.videos,
        top=args.top,
        as_json=args.json,
        num_clips=args.num_clips,
        num_crops=args.num_crops,
        step=args.step,
        labels=args.labels,
        templates=args.template,
    )
