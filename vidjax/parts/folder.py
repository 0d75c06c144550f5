"""Folders, local or remote, in which each file appears whole: written under another name, then renamed."""

import contextlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from vidjax.errors import UserError, install
from vidjax.video.byte_sources import file_system, is_remote

_UNFINISHED = ".tmp"


class FolderError(UserError):
    """Error: a folder for results cannot be read or written; the message names it and says why."""


class PartFolder:
    """A local or remote folder of whole files.

    Args:
      path: path, or an address such as gs://bucket/folder or s3://bucket/folder, that fsspec reads and writes.

    Raises:
      VideoError: if the package for such addresses is not installed; names it.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        self.remote = is_remote(self.path)
        self._files, self._inner = file_system(self.path) if self.remote else (None, os.path.expanduser(self.path))

    def __str__(self) -> str:
        return self.path

    def make(self) -> None:
        """Make the folder, if it is absent.

        Raises:
          FolderError: if that is not possible.
        """
        self._do(
            "made", lambda: os.makedirs(self._inner, exist_ok=True), lambda files: files.makedirs(self._inner, True)
        )

    def exists(self) -> bool:
        """Whether the folder exists; a remote one does if there is anything in it."""
        return self._do("looked up", lambda: os.path.isdir(self._inner), lambda files: files.exists(self._inner))

    def names(self) -> list[str]:
        """Names of the whole files in it, sorted; none if there is no such folder."""
        return [name for name in self._names() if not name.endswith(_UNFINISHED)]

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
          FileNotFoundError: if there is no such file.
          FolderError: if it cannot be read.
        """
        return self._do("read", lambda: self._place(name).read_bytes(), lambda files: files.cat_file(self._at(name)))

    def write(self, name: str, content: bytes) -> None:
        """Write a file, which appears whole or not at all, even if the process is killed; an earlier one is replaced.

        Raises:
          FolderError: if it cannot be written.
        """
        aside = f".{name}.{socket.gethostname()}-{os.getpid()}{_UNFINISHED}"  # other processes may write the same file

        def local() -> None:
            with open(self._place(aside), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._place(aside).replace(self._place(name))

        def remote(files: Any) -> None:
            files.pipe_file(self._at(aside), content)
            files.mv(self._at(aside), self._at(name))

        self._do("written", local, remote)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone already do not matter."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._do("written", lambda n=name: self._place(n).unlink(), lambda files, n=name: files.rm(self._at(n)))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""

        def remote(files: Any) -> None:
            files.mv(self._at(old), self._at(new))

        self._do("written", lambda: self._place(old).replace(self._place(new)), remote)

    def clear(self, files: Iterable[str] | None = None) -> None:
        """Remove what killed processes have left unfinished of some files; None: of all."""
        left = [name for name in self._names() if name.endswith(_UNFINISHED)]
        if files is not None:
            own = set(files)
            left = [name for name in left if name[1:].rpartition(".parquet.")[0] + ".parquet" in own]
        self.remove(left)

    def _names(self) -> list[str]:
        def remote(files: Any) -> list[str]:
            files.invalidate_cache(self._inner)
            return [name.rstrip("/").rpartition("/")[2] for name in files.ls(self._inner, detail=False)]

        try:
            return sorted(self._do("listed", lambda: os.listdir(self._inner), remote))
        except FileNotFoundError:
            return []

    def _place(self, name: str) -> Path:
        return Path(self._inner, name)

    def _at(self, name: str) -> str:
        return f"{self._inner.rstrip('/')}/{name}"

    def _do(self, what: str, local: Any, remote: Any) -> Any:
        try:
            return remote(self._files) if self.remote else local()
        except FileNotFoundError:
            raise
        except Exception as error:  # each file system raises its own
            if not (self.remote or isinstance(error, OSError)):
                raise
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise FolderError(
                f"{self.path} cannot be {what} ({reason}); check the folder and your permissions"
            ) from error


def parquet() -> ModuleType:
    """The module pyarrow.parquet.

    Raises:
      UserError: if it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"Parquet files need the package pyarrow: {install('search')}") from None
    return pyarrow.parquet


def to_parquet(table: Any, repeated: list[str]) -> bytes:
    """A table as a Parquet file, the same for the same table; columns of `repeated` values are stored by number."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    parquet().write_table(table, sink, compression="zstd", use_dictionary=repeated)
    return sink.getvalue().to_pybytes()


def from_parquet(content: bytes, columns: list[str] | None = None) -> Any:
    """The table of a Parquet file, or some columns of it."""
    import pyarrow as pa

    return parquet().read_table(pa.BufferReader(content), columns=columns)
