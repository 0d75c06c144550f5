"""The argument parser of the commands, which accepts `--two_words` for `--two-words`, and types of arguments."""

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

Commands = argparse._SubParsersAction

# End of the help of commands with a config.
SETTINGS = "--config.field=value changes any setting; `vidjax train --help` lists them."


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` that also accepts long options with underscores, as in settings."""

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as `ArgumentParser` does; unknown arguments are returned with dashes."""
        return super().parse_known_args([_dashed(arg) for arg in (sys.argv[1:] if args is None else args)], namespace)


def _dashed(arg: str) -> str:
    if not arg.startswith("--") or arg.startswith("--config."):
        return arg
    name, equals, value = arg.partition("=")
    return name.replace("_", "-") + equals + value


def positive(text: str) -> int:
    """Parse a whole number above 0.

    Raises:
      ArgumentTypeError, ValueError: for anything else.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def positive_float(text: str) -> float:
    """Parse a finite number above 0.

    Raises:
      ArgumentTypeError, ValueError: for anything else.
    """
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def share(text: str) -> float:
    """Parse a number above 0 and at most 1.

    Raises:
      ArgumentTypeError, ValueError: for anything else.
    """
    if not 0 < (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0-1")
    return value


def add_windows(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of sliding windows over long videos."""
    parser.add_argument(
        "--stride", type=positive, default=0, help="frames from window to window (default: half of one)"
    )
    parser.add_argument("--window", type=positive, default=0, help="frames of a window (default: the network's clip)")
    parser.add_argument(
        "--fps", type=positive_float, default=0.0, help="frames per second to take (default: the network's, or all)"
    )
    parser.add_argument("--batch-size", type=positive, help="clips at a time (default: 4 on CPUs, else 16)")
    parser.add_argument("--step", type=int, help="update number of the checkpoint to use (default: the best)")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options `--engine` and `--workers`: who computes shards of videos."""
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="who computes: this process, or workers of Ray, on the cluster of RAY_ADDRESS or on this machine "
        "(default: local)",
    )
    parser.add_argument(
        "--workers", type=positive, default=0, help="workers of Ray (default: one per GPU, or per four processors)"
    )


def windows_of(args: argparse.Namespace) -> dict[str, Any]:
    """Values of the arguments of `add_windows`, by name."""
    return {name: getattr(args, name) for name in ("stride", "window", "fps", "batch_size", "step")}
