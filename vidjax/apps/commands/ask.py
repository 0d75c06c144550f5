"""The command `vidjax ask`."""

import argparse

from vidjax.apps.command_parser import Commands, positive, positive_float, share


def add(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "ask",
        help="ask a question about a video; the answer appears word by word",
        description="Print the answer to a question about a video. RUN is a network of the task caption, such as a "
        "converted SmolVLM2.",
    )
    parser.add_argument("checkpoint", metavar="run", help="work directory of a run, or folder written by convert")
    parser.add_argument("video", help="video file")
    parser.add_argument("question", nargs="?", default="", help="question (default: what happens)")
    parser.add_argument(
        "--temperature", type=positive_float, default=0.0, help="draw words at this temperature (default: the best)"
    )
    parser.add_argument("--top-p", type=share, default=1.0, help="draw among the most probable words of this share")
    parser.add_argument("--length", type=positive, help="most tokens of the answer (default: the run's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from vidjax.apps.caption import ask

    return ask(
        args.checkpoint,
        args.video,
        args.question,
        temperature=args.temperature,
        top_p=args.top_p,
        length=args.length,
        seed=args.seed,
        step=args.step,
    )
