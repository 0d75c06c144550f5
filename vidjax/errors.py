"""Base class of errors that a user can fix, and the command that installs a missing extra."""


class UserError(ValueError):
    """Error: an input or setting cannot be used; the message names it and the remedy, and needs no traceback."""


def install(extra: str) -> str:
    """Command that installs the dependencies of an optional part of vidjax.

    vidjax is installed from source, not from a package index, where anyone could register its name.

    Args:
      extra: name of the extra, one of `[project.optional-dependencies]` in `pyproject.toml`.
    """
    return f"pip install -e '.[{extra}]' in vidjax's folder"
