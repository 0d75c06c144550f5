"""The command `vidjax predict-many`."""

import argparse

from vidjax.apps.command_parser import Commands, add_engine, positive
from vidjax.launch import add_place_flags, place


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "predict-many",
        help="classes of very many videos, as Parquet files",
        description="Classify videos, with one Parquet file per shard of them and a row for each: its classes, or why "
        "it cannot be read. The same command again does the shards that are missing.",
    )
    parser.add_argument("checkpoint", metavar="run", help="work directory of a run, or folder written by convert")
    parser.add_argument("source", help="CSV file with a column path, JSON Lines, folder or video; or its address")
    parser.add_argument("out", help="folder for the results, also gs:// or s3://: new, or of the same command")
    parser.add_argument("--num-clips", type=positive, help="clips per video (default: as in the run's config)")
    parser.add_argument(
        "--num-crops", type=int, choices=(1, 3, 5, 10), help="crops per clip (default: as in the run's config)"
    )
    parser.add_argument("--batch-size", type=positive, help="views at a time (default: 1 on CPUs, else 16)")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.add_argument("--shard-size", type=positive, default=256, help="videos per file (default: %(default)s)")
    add_engine(parser)
    add_place_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    own = place(args.process_id, args.num_processes)
    own.claim()

    from vidjax.apps.predict_many import Views, predict_many

    return predict_many(
        args.checkpoint,
        args.source,
        args.out,
        Views(args.num_clips, args.num_crops, args.batch_size, args.step),
        shard_size=args.shard_size,
        rank=own.number,
        count=own.count,
        engine=args.engine,
        workers=args.workers,
    )
