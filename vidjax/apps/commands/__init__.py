"""The commands, a file each: `add(commands)` adds the parser, `run(args)` runs the command.

These files import nothing heavy before a command runs.
"""

import importlib

from vidjax.apps.command_parser import Commands

# Commands in the order of `vidjax --help`, and whether they take settings (--config.field=value).
COMMANDS = {
    "predict": False,
    "predict-many": False,
    "serve": False,
    "demo": False,
    "stream": False,
    "convert": False,
    "models": False,
    "fuse": False,
    "compare": False,
    "calibrate": False,
    "cascade": False,
    "prune": False,
    "export": True,
    "quantize": True,
    "explain": False,
    "check": True,
    "inspect": True,
    "features": True,
    "bank": True,
    "detect": False,
    "flow": False,
    "localise": False,
    "caption": False,
    "ask": False,
    "embed": False,
    "search": False,
    "recommend": False,
    "duplicates": False,
    "prepare": False,
    "bench": True,
    "plan": True,
}


def add_all(commands: Commands) -> None:
    """Add the parsers of all commands."""
    for name in COMMANDS:
        importlib.import_module(f"vidjax.apps.commands.{name.replace('-', '_')}").add(commands)
