"""What is wrong with a file, said once and clearly."""

import os
import stat

from vidjax.errors import UserError

_DAMAGED = "it is damaged, incomplete or no video: fetch or encode it again, or leave it out"


class VideoError(UserError):
    """A video that cannot be read: `PATH: reason; mend`.

    Attributes:
      path: of the file, as a string.
      reason: what is wrong with it.
      mend: what to do about it.
    """

    def __init__(self, path: str | os.PathLike, reason: str, mend: str = _DAMAGED):
        super().__init__(f"{os.fspath(path)}: {reason}; {mend}")
        self.path, self.reason, self.mend = os.fspath(path), reason, mend

    def __reduce__(self):
        # Exceptions are pickled by their one-string arguments otherwise; this one crosses worker processes.
        return type(self), (self.path, self.reason, self.mend)


def require_file(path: str) -> None:
    """Refuses what is no file with something in it, before anything tries to open it.

    Raises:
      VideoError: for a missing or empty file, a folder, a pipe or a device.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise VideoError(path, "no such file", "check the path") from None
    except (OSError, ValueError) as error:
        raise VideoError(path, f"cannot be looked up ({error})", "check the path and its permissions") from None
    # A pipe or a device would wait for a writer that never comes.
    if not stat.S_ISREG(status.st_mode):
        what = "is a folder" if stat.S_ISDIR(status.st_mode) else "is no regular file but a pipe, socket or device"
        raise VideoError(path, what, "give the path of a video file")
    if status.st_size == 0:
        raise VideoError(path, "is empty (0 bytes)", "fetch it again, or leave it out")
