"""The command `vidjax bank`."""

import argparse

from vidjax.apps.command_parser import SETTINGS, Commands, positive


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "bank",
        help="make a long-term feature bank: vectors of the boxes of whole videos, for networks that read one",
        description="Compute a vector of each box in the key frames of videos by a trained network of boxes, and write "
        "a file per video; complete files are kept. Boxes are those of FILE, or those of the experiment that will read "
        "the bank, --config, in its data for training and evaluation.",
        epilog=SETTINGS,
    )
    parser.add_argument("checkpoint", metavar="run", help="work directory of a run, or folder written by convert")
    parser.add_argument("videos", nargs="?", help="video, folder or list of videos (default: those of --config)")
    parser.add_argument("out", nargs="?", help="folder of the bank (default: data.clip.bank of --config)")
    parser.add_argument("--boxes", default="", metavar="FILE", help="boxes of VIDEOS, in a form that detect takes")
    parser.add_argument("--least", type=float, default=0.9, help="least score of the boxes of FILE (default: 0.9)")
    parser.add_argument("--config", metavar="FILE", help="experiment, as for train.py, that will read the bank")
    parser.add_argument("--batch-size", type=positive, help="clips at a time (default: as in the run's evaluation)")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.feature_bank import feature_bank

    return feature_bank(
        args.checkpoint,
        args.videos,
        args.out,
        boxes=args.boxes,
        least=args.least,
        settings=args.settings,
        batch_size=args.batch_size,
        step=args.step,
    )
