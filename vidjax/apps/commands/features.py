"""The command `vidjax features`."""

import argparse

from vidjax.apps.command_parser import SETTINGS, Commands, add_windows, windows_of


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "features",
        help="compute features of long videos, for networks that localise",
        description="Compute feature vectors over sliding windows, each frame being decoded once, and write a file per "
        "video. Complete files are kept, and an interrupted command goes on from where it was.",
        epilog=SETTINGS,
    )
    parser.add_argument("checkpoint", metavar="run", help="work directory of a run, or folder written by convert")
    parser.add_argument(
        "videos", nargs="?", help="video, folder, list, or annotations of segments (default: those of --config)"
    )
    parser.add_argument("out", nargs="?", help="folder for the files (default: data.features.folder of --config)")
    parser.add_argument("--config", metavar="FILE", help="experiment, as for train.py, for videos and folder")
    parser.add_argument("--half", action="store_true", help="store 16-bit numbers (default: 32)")
    add_windows(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.features import features

    return features(args.checkpoint, args.videos, args.out, settings=args.settings, half=args.half, **windows_of(args))
