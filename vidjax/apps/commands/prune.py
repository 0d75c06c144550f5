"""The command `vidjax prune`."""

import argparse

from vidjax.apps.command_parser import Commands, share


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "prune",
        help="make a narrower network of a trained one, to be fine-tuned",
        description="Write a narrower network of the same kind with the channels of a trained one that weigh most. It "
        "is small and fast by itself, and has to be fine-tuned: the command is printed.",
    )
    parser.add_argument("checkpoint", metavar="run", help="work directory of a run, or folder written by convert")
    parser.add_argument("out", help="folder to write the network to")
    parser.add_argument("--share", type=share, default=0.5, help="share of channels to keep (default: %(default)g)")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.prune import prune_run

    return prune_run(args.checkpoint, args.out, share=args.share, step=args.step)
