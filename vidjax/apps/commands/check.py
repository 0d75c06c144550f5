"""The command `vidjax check`."""

import argparse
import dataclasses
from pathlib import Path

from vidjax.apps.command_parser import SETTINGS, Commands, positive, positive_float


def add(commands: Commands) -> None:
    """Add the command's parser."""
    from vidjax.config.choices import DATASETS

    parser = commands.add_parser(
        "check",
        help="find missing, unreadable and too short videos of a data set",
        description="Find videos that are missing, that do not open, whose first frame does not decode, or that end "
        "before their header says, and segments that end after their video. With --config, or --num-frames and "
        "--stride or --fps, also find videos shorter than a clip. With --decode, also find damage after the first "
        "frame.",
        epilog=f"{SETTINGS} The options above override the config.",
    )
    parser.add_argument(
        "data",
        nargs="?",
        help="CSV file, folder of classes, or published annotations (default: that of the config)",
    )
    parser.add_argument("--config", metavar="FILE", help="experiment, as for train.py, for data and clip length")
    parser.add_argument("--eval", help="CSV file, folder or annotations for evaluation, checked as well")
    parser.add_argument("--root", help="folder with the videos (default: that of the annotations)")
    parser.add_argument("--dataset", choices=DATASETS, help="published data set of the annotations", metavar="NAME")
    parser.add_argument("--split", type=positive, help="official split of the data set (default: 1)")
    parser.add_argument("--num-frames", type=positive, help="frames per clip, to find shorter videos")
    parser.add_argument("--stride", type=positive, help="source frames between two frames of a clip (default: 1)")
    parser.add_argument("--fps", type=positive_float, help="frames per second of the clip, instead of a stride")
    parser.add_argument("--decode", action="store_true", help="decode every frame: slow, but finds all damage")
    parser.add_argument(
        "--sound",
        action="store_true",
        help="also find files without a sound track that decodes (default: by the config)",
    )
    parser.add_argument(
        "--timeout", type=positive_float, help="seconds until a stalled file counts as bad (default: 60)"
    )
    parser.add_argument("--workers", type=positive, help="videos checked in parallel (default: number of cores)")
    parser.add_argument("--out", default="check.csv", help="file for the report, a line per video (default: check.csv)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.check_videos import Check, check, read_check
    from vidjax.config import DataConfig
    from vidjax.data.listing.segment_files import declares_segments
    from vidjax.data.records import LABELS, Boxes, Segments

    settings = args.settings
    places = {name: getattr(args, name) for name in ("eval", "root", "dataset", "split")}
    clip = {name: getattr(args, name) for name in ("num_frames", "stride", "fps", "timeout")}
    if settings:
        config, how, kinds, annotations = read_check(args.data, settings, decode=args.decode, **places, **clip)
    else:
        config = DataConfig(train=args.data or "", **{k: v for k, v in places.items() if v is not None})
        how = Check(decode=args.decode, **{k: v for k, v in clip.items() if v is not None})
        # A published data set may have any kind of annotations, and a file labels or boxes.
        kinds, annotations = frozenset() if config.dataset else LABELS | {Boxes.kind}, None
        if not config.dataset and declares_segments(Path(args.data or args.eval or "").expanduser()):
            kinds = frozenset({Segments.kind})
    how = dataclasses.replace(how, sound=True) if args.sound else how
    return check(config, how, kinds=kinds, annotations=annotations, out=args.out, workers=args.workers or 0)
