"""The command `vidjax plan`."""

import argparse

from vidjax.apps.command_parser import SETTINGS, Commands, positive, positive_float


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "plan",
        help="compile a training for a TPU slice, and estimate memory, speed and hours",
        description="Compile the training step for TPUs (needs the extra tpu, but no TPU), or estimate it for GPUs.",
        epilog=SETTINGS,
    )
    parser.add_argument("--config", metavar="FILE", help="experiment, as for train.py (default: all defaults)")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--topology", default="", help="TPU slice: v4, v5e, v5p or v6e, and shape, such as v5e:16x16")
    where.add_argument("--gpu", default="", help="GPU and count, such as h200:8; estimated without its compiler")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--search", action="store_true", help="try meshes, remat and batch sizes; list the best that fit")
    what.add_argument("--scaling", action="store_true", help="plan 8 to 512 devices, with equal shares of the batch")
    parser.add_argument("--most", type=positive, help="most settings to compile in --search or --scaling (default: 12)")
    parser.add_argument("--out", help="file for the plot of --scaling (default: scaling.png)")
    parser.add_argument("--num-classes", type=positive, default=0, help="number of classes (default: the data set's)")
    parser.add_argument("--num-videos", type=positive, default=0, help="number of training videos (default: counted)")
    parser.add_argument(
        "--clips-per-core", type=positive_float, default=25.0,
        help="clips/s decoded from mp4 files by one host core, as measured by bench data (default: 25)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.config import ConfigError
    from vidjax.plan.forecast import plan

    if (args.most and not (args.search or args.scaling)) or (args.out and not args.scaling):
        raise ConfigError("--most needs --search or --scaling, and --out needs --scaling")
    return plan(
        args.settings,
        topology=args.topology,
        gpu=args.gpu,
        num_classes=args.num_classes,
        num_videos=args.num_videos,
        clips_per_core=args.clips_per_core,
        search=args.search,
        scaling=args.scaling,
        most=args.most or 12,
        out=args.out or "scaling.png",
        as_json=args.json,
    )
