"""What all errors that a user can mend have in common, and how a missing extra is named in them."""


class UserError(ValueError):
    """Something a user gave cannot be used; the message names it and the mend, and needs no traceback."""


def install(extra: str) -> str:
    """The command that brings what an optional part of vidjax needs.

    vidjax is installed from its source, in no package index: there its name could be anybody's.

    Args:
      extra: one of `[project.optional-dependencies]` in `pyproject.toml`.
    """
    return f"pip install -e '.[{extra}]' in vidjax's folder"
