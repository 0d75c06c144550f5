"""The command `vidjax prepare`."""

import argparse

from vidjax.apps.command_parser import Commands, positive
from vidjax.errors import UserError


def add(commands: Commands) -> None:
    """Add the command's parser."""
    from vidjax.config.choices import DATASETS

    parser = commands.add_parser("prepare", help="write a data set as shards for fast random access")
    parser.add_argument("data", help="CSV file, folder with one subfolder per class, or published annotations")
    parser.add_argument("out", help="new folder; its last part, made of a-z, 0-9 and _, names the data set")
    parser.add_argument("--eval", default="", help="evaluation videos, given like DATA (default: as in training)")
    parser.add_argument("--root", default="", help="folder with the videos (default: that of the annotations)")
    parser.add_argument("--dataset", default="", choices=DATASETS, help="published data set of DATA", metavar="NAME")
    parser.add_argument("--split", type=positive, default=1, help="official split of the data set (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the held-out share, as config.seed (default: 0)")
    parser.add_argument("--eval-share", type=float, default=0.2, help="share held out if there is no evaluation split")
    parser.add_argument("--folder-fps", type=float, default=0.0, help="frames per second of image folders")
    parser.add_argument("--jpeg", action="store_true", help="store JPEG frames (default: store the files unchanged)")
    parser.add_argument("--sound", action="store_true", help="with --jpeg: store the sound too, as FLAC, one channel")
    parser.add_argument("--short-side", type=int, default=256, help="frames' short side, px; 0: full (default: 256)")
    parser.add_argument("--quality", type=quality, default=75, help="quality of JPEG frames, 1-100 (default: 75)")
    parser.add_argument("--workers", type=positive, help="encoding processes (default: number of cores)")
    parser.add_argument("--shard-mb", type=positive, help="megabytes per shard (default: 256)")
    parser.add_argument(
        "--beam", action="append", metavar="OPTION", help="Beam option, such as --beam runner=DirectRunner; repeatable"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status.

    Raises:
      UserError: for `--sound` without `--jpeg`.
    """
    from vidjax.apps.prepare import prepare
    from vidjax.config import Config, DataConfig
    from vidjax.data.prepared.encode import Encoding

    if args.sound and not args.jpeg:
        raise UserError("--sound: files are stored with their sound anyway; leave it out, or add --jpeg")
    data = DataConfig(train=args.data, eval=args.eval, root=args.root, dataset=args.dataset, split=args.split)
    data.eval_share, data.folder_fps = args.eval_share, args.folder_fps
    return prepare(
        Config(seed=args.seed, data=data),
        args.out,
        Encoding(args.jpeg, max(args.short_side, 0), args.quality, sound=args.sound),
        num_workers=args.workers,
        beam=args.beam,
        shard_mb=args.shard_mb,
    )


def quality(text: str) -> int:
    """Parse a JPEG quality, 1 to 100.

    Raises:
      ArgumentTypeError, ValueError: for anything else.
    """
    if not 1 <= (value := int(text)) <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not in 1-100")
    return value
