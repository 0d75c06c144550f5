"""The parser of commands: options are shown as `--two-words`, and `--two_words` is the same."""

import argparse
import sys
from collections.abc import Sequence


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` whose long options may be written with underscores, as settings are."""

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As of `ArgumentParser`; what is not known is returned with dashes."""
        return super().parse_known_args([_dashed(arg) for arg in (sys.argv[1:] if args is None else args)], namespace)


def _dashed(arg: str) -> str:
    if not arg.startswith("--") or arg.startswith("--config."):
        return arg
    name, equals, value = arg.partition("=")
    return name.replace("_", "-") + equals + value
