"""The command `vidjax explain`."""

import argparse

from vidjax.apps.command_parser import Commands, positive


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "explain", help="show where and when a network sees its answer, and whether order matters"
    )
    parser.add_argument("checkpoint", help="work directory of a run, or folder written by convert")
    parser.add_argument("video", help="video file")
    parser.add_argument("--out", required=True, help="folder to write the video, the plot and the figures to")
    parser.add_argument("--class", dest="class_name", default="", help="class to explain (default: the best)")
    methods = ("hirescam", "gradcam", "rollout", "occlusion")
    parser.add_argument(
        "--method",
        choices=methods,
        default=methods[0],
        help=f"kind of map; rollout: of attention, whatever the class (default: {methods[0]})",
    )
    parser.add_argument("--layer", default="", help="path of the layer of the maps (default: the last with places)")
    parser.add_argument("--blocks", type=positive, default=4, help="for occlusion: blocks along each axis (default: 4)")
    parser.add_argument("--num-clips", type=positive, help="clips of the video (default: as in the config)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.explain import explain

    return explain(
        args.checkpoint,
        args.video,
        out=args.out,
        class_name=args.class_name,
        layer=args.layer,
        method=args.method,
        blocks=args.blocks,
        num_clips=args.num_clips,
    )
