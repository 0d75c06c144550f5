"""The command `vidjax demo`."""

import argparse

from vidjax.apps.command_parser import Commands, positive, positive_float


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "demo",
        help="show a run's answers in a browser",
        description="Show a page in this machine's browser, which takes a video and shows its classes, a timeline, and "
        "the places that matter. It needs no network.",
    )
    parser.add_argument("checkpoint", metavar="run", help="work directory of a run, or folder written by convert")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=7860, help="port; 0: a free one (default: %(default)s)")
    parser.add_argument("--num-clips", type=positive, help="clips per video (default: as in the run's config)")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.add_argument("--top", type=positive, default=5, help="classes shown (default: %(default)s)")
    parser.add_argument(
        "--max-mib", type=positive_float, default=512.0, help="MiB of a video that it takes (default: %(default)g)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.demo import demo

    return demo(
        args.checkpoint,
        host=args.host,
        port=args.port,
        num_clips=args.num_clips,
        step=args.step,
        top=args.top,
        max_mib=args.max_mib,
    )
