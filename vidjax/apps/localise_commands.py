"""Arguments of the commands for long videos: features and localise."""

import argparse
from collections.abc import Sequence

from vidjax.apps.command_parser import positive, positive_float

COMMANDS = ("features", "localise")
CONFIGURED = ("features",)  # those that take --config.field=value


def add(commands: argparse._SubParsersAction) -> None:
    """Add the parsers of the commands."""
    _add_features(commands)
    localise = commands.add_parser(
        "localise",
        help="find when actions happen in long videos",
        description="Find the segments of actions in videos. RUN is a classifier, whose scores over time become "
        "segments, or a network trained to localise, which reads the features of --features-run.",
    )
    localise.add_argument("run", help="work directory of a run, or folder written by convert")
    localise.add_argument("videos", help="video file, folder, CSV file with a column path, or JSON Lines")
    localise.add_argument("--out", required=True, help="folder for segments, subtitles and timelines")
    localise.add_argument("--features-run", metavar="RUN", help="run of the network that computed the features")
    localise.add_argument("--video", action="store_true", help="also write each video with its segments drawn on it")
    localise.add_argument(
        "--follow", action="store_true", help="print events as they come, from a causal network: recurrent, or TSM"
    )
    localise.add_argument(
        "--least", type=positive_float, metavar="SCORE", help="score from which segments are shown (default: chosen)"
    )
    localise.add_argument("--smoothing", choices=("median", "gaussian", "none"), help="of a classifier's scores")
    _add_windows(localise)


def _add_features(commands: argparse._SubParsersAction) -> None:
    features = commands.add_parser(
        "features",
        help="compute features of long videos, for networks that localise",
        description="Compute feature vectors over sliding windows, each frame being decoded once, and write a file per "
        "video. Complete files are kept, and an interrupted command goes on from where it was.",
        epilog="--config.field=value changes any setting of the experiment; `vidjax train --help` lists them.",
    )
    features.add_argument("run", help="work directory of a run, or folder written by convert")
    features.add_argument(
        "videos", nargs="?", help="video, folder, list or annotations of segments (default: those of --config)"
    )
    features.add_argument("out", nargs="?", help="folder for the files (default: data.features.folder of --config)")
    features.add_argument("--config", metavar="FILE", help="experiment, as for train.py, for videos and folder")
    features.add_argument("--half", action="store_true", help="store 16-bit numbers (default: 32)")
    _add_windows(features)


def _add_windows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stride", type=positive, default=0, help="frames from window to window (default: half of one)")
    parser.add_argument("--window", type=positive, default=0, help="frames of a window (default: the network's clip)")
    parser.add_argument(
        "--fps", type=positive_float, default=0.0, help="frames per second to take (default: the network's, or all)"
    )
    parser.add_argument("--batch-size", type=positive, help="clips at a time (default: 4 on CPUs, 16 on accelerators)")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")


def run(args: argparse.Namespace, settings: Sequence[str]) -> int:
    """Run a command and return its exit status."""
    windows = {name: getattr(args, name) for name in ("stride", "window", "fps", "batch_size", "step")}
    if args.command == "features":
        from vidjax.apps.features import features

        return features(args.run, args.videos, args.out, settings=settings, half=args.half, **windows)
    from vidjax.apps.localise import localise

    return localise(
        args.run,
        args.videos,
        args.out,
        features_run=args.features_run,
        video=args.video,
        follow=args.follow,
        least=args.least,
        smoothing=args.smoothing,
        **windows,
    )
