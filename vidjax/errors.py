"""The base class of errors that a user can fix, and the command to install a missing extra."""


class UserError(ValueError):
    """An input or setting that cannot be used; the message names it and the remedy, and needs no traceback."""


def install(extra: str) -> str:
    """The command that installs the dependencies of an optional part of vidjax.

    vidjax is installed from its source and not from a package index, where anybody could own its name.

    Args:
      extra: name of the extra, one of `[project.optional-dependencies]` in `pyproject.toml`.
    """
    return f"pip install -e '.[{extra}]' in vidjax's folder"
