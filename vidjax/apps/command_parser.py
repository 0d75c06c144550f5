"""The argument parser of the commands, which accepts `--two_words` for `--two-words`, and the types of numbers."""

import argparse
import sys
from collections.abc import Sequence


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
    """Read a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def share(text: str) -> float:
    """Read a number in 0-1, without 0."""
    if not 0 < (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0-1")
    return value
