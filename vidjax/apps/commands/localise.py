"""The command `vidjax localise`."""

import argparse

from vidjax.apps.command_parser import Commands, add_windows, share, windows_of


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "localise",
        help="find when actions happen in long videos",
        description="Find the segments of actions in videos: as JSON, subtitles and a timeline. RUN is a classifier, "
        "whose scores over time become segments, or a network trained to localise, which reads the features that "
        "--features-run gives.",
    )
    parser.add_argument("checkpoint", metavar="run", help="work directory of a run, or folder written by convert")
    parser.add_argument("videos", help="video file, folder, CSV file with a column path, or JSON Lines")
    parser.add_argument("--out", required=True, help="folder for the results")
    parser.add_argument("--features-run", metavar="RUN", help="run of the network that computes the features")
    parser.add_argument("--video", action="store_true", help="also write each video with its segments drawn on it")
    parser.add_argument(
        "--follow", action="store_true", help="print events as they come, from a causal network: recurrent, or TSM"
    )
    parser.add_argument(
        "--least", type=share, metavar="SCORE", help="least score of segments in pictures and subtitles (default: 0.3)"
    )
    parser.add_argument(
        "--smoothing", choices=("median", "gaussian", "none"), help="of a classifier's scores (default: median)"
    )
    add_windows(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.localise import localise

    return localise(
        args.checkpoint,
        args.videos,
        args.out,
        features_run=args.features_run,
        video=args.video,
        follow=args.follow,
        least=args.least,
        smoothing=args.smoothing,
        **windows_of(args),
    )
