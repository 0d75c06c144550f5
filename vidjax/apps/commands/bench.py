"""The command `vidjax bench`."""

import argparse

from vidjax.apps.command_parser import SETTINGS, Commands, positive, positive_float, share


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("bench", help="measure the input pipeline or the update of a training")
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    data = what.add_parser(
        "data",
        help="measure the input pipeline",
        description="Measure clips per second and core, where the time goes, and how many cores an accelerator needs.",
        epilog=SETTINGS,
    )
    data.add_argument("--seconds", type=positive_float, default=30.0, help="seconds to measure (default: 30)")
    data.add_argument("--accelerator", type=str.lower, default="h100", help="accelerator to feed (default: h100)")
    data.add_argument(
        "--accelerator-clips-per-s", type=positive_float, metavar="CLIPS",
        help="clips/s of one accelerator, as measured in training (default: estimated from the model)",
    )  # fmt: skip
    data.add_argument("--mfu", type=share, default=0.5, help="share of the accelerator's peak reached (default: 0.5)")
    step = what.add_parser(
        "step",
        help="measure the update on the devices at hand",
        description="Measure clips per second, share of the measured peak, compile time and memory, on random clips, "
        "and compare them with the prediction of `vidjax plan` for these devices.",
        epilog=SETTINGS,
    )
    step.add_argument("--updates", type=positive, default=20, help="updates to time (default: 20)")
    step.add_argument("--num-classes", type=positive, default=0, help="number of classes (default: the data set's)")
    step.add_argument("--data", action="store_true", help="also measure the wait for the config's input pipeline")
    for each in (data, step):
        each.add_argument("--config", metavar="FILE", help="experiment, as for train.py (default: all defaults)")
        each.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    settings = args.settings
    if args.what == "step":
        from vidjax.apps.bench_step import bench_step

        return bench_step(
            settings, updates=args.updates, num_classes=args.num_classes, data=args.data, as_json=args.json
        )
    from vidjax.apps.bench import bench_data

    return bench_data(
        settings,
        seconds=args.seconds,
        accelerator=args.accelerator,
        accelerator_clips_per_s=args.accelerator_clips_per_s,
        mfu=args.mfu,
        as_json=args.json,
    )
