"""The command `vidjax stream`."""

import argparse

from vidjax.apps.command_parser import Commands, positive, positive_float, share


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "stream",
        help="classes of a camera or an rtsp:// address, frame by frame",
        description="Print when classes begin and end in a live source, by a causal network: recurrent, or TSM. A "
        "network that is too slow sees the newest frames; older ones are dropped and counted.",
    )
    parser.add_argument("checkpoint", metavar="run", help="work directory of a run, or folder written by convert")
    parser.add_argument("source", help="camera such as /dev/video0, address rtsp://…, or video file")
    parser.add_argument("--out", default="", help="video to write, with the best class on every frame")
    parser.add_argument("--least", type=share, default=0.3, help="score at which a class begins (default: %(default)g)")
    parser.add_argument("--window", type=positive, default=0, help="frames of a state (default: the network's clip)")
    parser.add_argument("--fps", type=positive_float, default=0.0, help="frames per second (default: the network's)")
    parser.add_argument("--waiting", type=positive, default=2, help="most frames that wait (default: %(default)s)")
    parser.add_argument("--all-frames", action="store_true", help="of a file, drop no frame, however long it takes")
    parser.add_argument(
        "--seconds", type=positive_float, default=0.0, help="when to stop (default: the end, or Ctrl-C)"
    )
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.stream import stream

    return stream(
        args.checkpoint,
        args.source,
        out=args.out,
        least=args.least,
        window=args.window,
        fps=args.fps,
        waiting=args.waiting,
        paced=not args.all_frames,
        seconds=args.seconds,
        step=args.step,
    )
