"""The command `vidjax flow`."""

import argparse

from vidjax.apps.command_parser import Commands, positive, positive_float
from vidjax.config.choices import FLOWS

FORMATS = ("video", "flo", "kitti")


def add(commands: Commands) -> None:
    """Add the command's parser."""
    methods = [name for name in FLOWS if name != "folder"]
    parser = commands.add_parser(
        "flow",
        help="optical flow of a video, as a video of colours or as files",
        description="Estimate the motion from each frame of a video to the next one. In colours, the hue is the "
        "direction and the saturation the speed.",
        epilog="N frames have N − 1 fields. Files are named like their first frame: OUT/frame_00000.flo, …",
    )
    parser.add_argument("video", metavar="VIDEO", help="video file, or folder of images")
    parser.add_argument("out", metavar="OUT", help="video file to write, such as flow.mp4; for files a folder")
    parser.add_argument(
        "--method", default="dis_fast", metavar="NAME",
        help=f"one of {', '.join(methods)}, or the folder of a run that trained a network (default: dis_fast)",
    )  # fmt: skip
    parser.add_argument("--weights", default="", metavar="FILE", help="checkpoint of raft_small or raft_large")
    parser.add_argument("--updates", type=positive, default=0, help="updates of the network (default: 12)")
    parser.add_argument(
        "--format", choices=FORMATS, default="video",
        help="video of colours, .flo files, or KITTI's 16-bit png files (default: video)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=positive, default=0, metavar="PIXELS", help="short side of the frames (default: the video's)"
    )
    parser.add_argument(
        "--bound", type=positive_float, default=0.0, metavar="PIXELS",
        help="speed that is fully saturated, pixels per frame (default: the fastest of each field)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.flow import write_flow_of

    return write_flow_of(
        args.video,
        args.out,
        method=args.method,
        weights=args.weights,
        updates=args.updates,
        form=args.format,
        size=args.size,
        bound=args.bound,
    )
