"""The error for a video that cannot be read."""

import os
import stat

from vidjax.errors import UserError

_DAMAGED = "it is damaged, incomplete or not a video: fetch or encode it again, or leave it out"


class VideoError(UserError):
    """A video that cannot be read: `PATH: reason; mend`.

    Attributes:
      path: path of the file, as a string.
      reason: the fault, without a subject ("is empty").
      mend: the remedy, as an imperative.
    """

    def __init__(self, path: str | os.PathLike, reason: str, mend: str = _DAMAGED):
        super().__init__(f"{os.fspath(path)}: {reason}; {mend}")
        self.path, self.reason, self.mend = os.fspath(path), reason, mend

    def __reduce__(self):
        # By default, exceptions are pickled with their message as the only argument; this one crosses processes.
        return type(self), (self.path, self.reason, self.mend)


def require_file(path: str) -> None:
    """Check that a path is a regular, non-empty file before anything tries to open it.

    Raises:
      VideoError: if the file is missing or empty, or a folder, pipe or device.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise VideoError(path, "no such file", "check the path") from None
    except (OSError, ValueError) as error:
        raise VideoError(path, f"cannot be looked up ({error})", "check the path and its permissions") from None
    # A pipe or a device would wait for a writer that never comes.
    if not stat.S_ISREG(status.st_mode):
        what = "is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file but a pipe, socket or device"
        raise VideoError(path, what, "give the path of a video file")
    if status.st_size == 0:
        raise VideoError(path, "is empty (0 bytes)", "fetch it again, or leave it out")
