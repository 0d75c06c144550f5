"""The command `vidjax serve`."""

import argparse

from vidjax.apps.command_parser import Commands, positive, positive_float


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "serve",
        help="answer requests over HTTP",
        description="Answer HTTP requests with a video file: its classes (POST /predict), feature vectors (POST "
        "/embed), and the segments in which it shows its classes (POST /segments). A network of boxes answers with "
        "the classes of those that a client gives (POST /boxes), one that speaks with a caption (POST /caption) or the "
        "answer to a question (POST /ask). Files are decoded in processes of their own, within limits, and clients "
        "need not be trusted.",
    )
    parser.add_argument(
        "checkpoint", metavar="run", help="work directory of a run, or folder written by convert or export"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0: a free one (default: %(default)s)")
    parser.add_argument("--num-clips", type=positive, help="clips per video (default: as in the run's config)")
    parser.add_argument(
        "--num-crops", type=int, choices=(1, 3, 5, 10), help="crops per clip (default: as in the run's config)"
    )
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.add_argument("--top", type=positive, help="classes in an answer (default: 5)")
    parser.add_argument("--max-mib", type=positive_float, default=64.0, help="MiB of an upload (default: %(default)g)")
    parser.add_argument("--seconds", type=positive_float, default=30.0, help="of a request (default: %(default)g)")
    parser.add_argument("--queue", type=positive, default=128, help="most requests at a time (default: %(default)s)")
    parser.add_argument("--max-batch", type=positive, default=8, help="most views at a time (default: %(default)s)")
    parser.add_argument("--threads", type=positive, help="files decoded at a time (default: two per CPU, 4 at least)")
    parser.add_argument(
        "--decode-seconds",
        type=positive_float,
        default=10.0,
        help="to open or read a file (default: %(default)g)",
    )
    parser.add_argument(
        "--decode-gib",
        type=positive_float,
        default=1.0,
        help="GiB to decode a file (default: %(default)g)",
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="HOST",
        help='host of addresses that clients may give, as {"url": "https://HOST/clip.mp4"}; repeatable (default: none)',
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.serve import serve
    from vidjax.serving.limits import Limits

    more = {"threads": args.threads} if args.threads else {}
    limits = Limits(
        max_bytes=int(args.max_mib * 2**20),
        seconds=args.seconds,
        queue=args.queue,
        decode_seconds=args.decode_seconds,
        decode_gib=args.decode_gib,
        max_batch=args.max_batch,
        **more,
    )
    return serve(
        args.checkpoint,
        limits,
        host=args.host,
        port=args.port,
        allow_hosts=args.allow_host,
        num_clips=args.num_clips,
        num_crops=args.num_crops,
        step=args.step,
        top=args.top,
    )
