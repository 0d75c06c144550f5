"""What all errors that a user can mend have in common."""


class UserError(ValueError):
    """Something a user gave cannot be used; the message names it and the mend, and needs no traceback."""
