"""Sources of a video's bytes: a file on disk, memory, or another machine, read by ranges through fsspec."""

import importlib
import io
import os
import re
from collections import OrderedDict
from typing import Any, BinaryIO, Protocol

from vidjax.errors import install
from vidjax.video.deadline import Clock
from vidjax.video.errors import VideoError, require_file

_URL = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+)://")
# The package that fsspec needs for each common protocol, and the extra that installs it.
_NEEDS = {
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
}
_FILE = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")  # file extensions, which folders do not have
# FFmpeg reads files in memory in pieces of this size, since every request goes through Python.
BUFFER = 1 << 18
_BLOCK = 1 << 19  # bytes fetched at a time: at 50 ms and 100 Mbit/s, transfer takes about as long as the request itself
_BLOCKS = 32  # kept per file


class Source(Protocol):
    """The bytes of one file."""

    size: int  # bytes

    def for_ffmpeg(self) -> Any:
        """Return the file as FFmpeg opens it: a URL, or a file object at its beginning."""

    def open(self) -> BinaryIO:
        """Open the file for reading in binary."""


def is_remote(path: str) -> bool:
    """Whether `path` is an address such as gs://bucket/clip.mp4, rather than the path of a file."""
    match = _URL.match(path)
    return match is not None and match["protocol"].lower() not in ("file", "local")


def in_this_process(path: str) -> bool:
    """Whether only the process that created the file at an address can read it."""
    return is_remote(path) and _URL.match(path)["protocol"].lower() == "memory"


def find_source(path: str, clock: Clock, content: bytes | None = None) -> Source:
    """Find the source of the video `path`; `content` holds its bytes if they are in memory.

    Raises:
      VideoError: if the file is missing or empty, or the package for such addresses is not installed.
    """
    if content is not None:
        return _Memory(path, content, clock)
    if is_remote(path):
        return _Remote(path, clock)
    return _Disk(path.removeprefix("file://"))


def file_system(path: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it.

    Raises:
      VideoError: if no installed package reads such addresses; it names the one to install, or the known protocols.
    """
    import fsspec

    protocol = _URL.match(path)["protocol"].lower()
    package, extra = _NEEDS.get(protocol, ("", ""))
    if package:
        try:
            importlib.import_module(package)
        except ImportError:
            reason = f"{protocol}:// addresses are read with {package}, which is not installed"
            raise VideoError(path, reason, install(extra)) from None
    try:
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        raise VideoError(path, f"fsspec lacks a package for {protocol}://", str(error)) from None
    except ValueError as error:
        raise VideoError(path, f"is not an address that fsspec can read ({error})", "check the path") from None


class _Disk:
    def __init__(self, path: str):
        require_file(path)
        self._path, self.size = path, os.path.getsize(path)

    def for_ffmpeg(self) -> str:
        # "file:" so that no name is taken for a protocol.
        return "file:" + os.path.abspath(self._path)

    def open(self) -> BinaryIO:
        return open(self._path, "rb")


class _Memory(io.BytesIO):
    """The content of a file in memory. Its name gives FFmpeg a hint at the format."""

    def __init__(self, path: str, content: bytes, clock: Clock):
        super().__init__(content)
        self.name, self.size, self._content, self._check = os.path.basename(path), len(content), content, clock.check

    def read(self, size: int = -1) -> bytes:
        self._check()  # FFmpeg may read on and on without giving out a packet
        return super().read(size)

    def for_ffmpeg(self) -> "_Memory":
        self.seek(0)
        return self

    def open(self) -> BinaryIO:
        return io.BytesIO(self._content)


class _Remote:
    """A remote file, fetched in blocks as they are asked for; the latest ones are cached.

    Raises:
      VideoError: if there is no such file, or it cannot be reached before the deadline.
    """

    def __init__(self, path: str, clock: Clock):
        self._path, self._clock = path, clock
        self._files, self._inner = file_system(path)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._whole: bytes | None = None
        info = self._ask("info")
        if info.get("type") == "directory":
            raise VideoError(path, "is a folder", "give the path of a video file")
        self.size = info.get("size")
        if self.size is None:  # the server does not say: only reading the file does
            self._whole = self._ask("cat_file")
            self.size = len(self._whole)
        if self.size == 0:
            raise VideoError(path, "is empty (0 bytes)", "fetch it again, or leave it out")

    def for_ffmpeg(self) -> BinaryIO:
        return self.open()

    def open(self) -> BinaryIO:
        return _Ranges(self)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes from `start` to before `stop`."""
        self._clock.check()
        if self._whole is not None:
            return self._whole[start:stop]
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        pieces = [self._block(number) for number in range(first, last + 1)]
        return b"".join(pieces)[start - first * _BLOCK : stop - first * _BLOCK]

    def _block(self, number: int) -> bytes:
        if self._whole is not None:
            return self._whole[number * _BLOCK : (number + 1) * _BLOCK]
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        begin, end = number * _BLOCK, min((number + 1) * _BLOCK, self.size)
        data = self._ask("cat_file", start=begin, end=end)
        if len(data) == self.size > end - begin:  # a server without support for ranges sends everything
            self._whole, data = data, data[begin:end]
        if len(data) != end - begin:
            raise self._failed(f"gave {len(data)} bytes instead of {end - begin}")
        self._blocks[number] = data
        if len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)
        return data

    def _ask(self, what: str, **options: Any) -> Any:
        """Call a method of the file system and return its result, or give up at the deadline."""
        import fsspec.asyn

        self._clock.check()
        try:
            if getattr(self._files, "async_impl", False):
                method = getattr(self._files, f"_{what}")
                return fsspec.asyn.sync(self._files.loop, method, self._inner, timeout=self._clock.left(), **options)
            return getattr(self._files, what)(self._inner, **options)
        except FileNotFoundError as error:
            cause = error.__cause__  # over http://, fsspec raises this for servers that do not answer, too
            if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", 0) in (404, 410):
                raise VideoError(self._path, "no such file", "check the path") from None
            raise self._failed(f"cannot be read ({type(cause).__name__}: {cause})") from error
        except IsADirectoryError:
            raise VideoError(self._path, "is a folder", "give the path of a video file") from None
        except Exception as error:  # each file system raises its own
            if isinstance(error, TimeoutError) and self._clock.left() < 0.1:
                raise self._clock.error() from None
            raise self._failed(f"cannot be read ({type(error).__name__}: {error})") from error

    def _failed(self, reason: str) -> VideoError:
        return VideoError(self._path, reason, "check the address, the network and your credentials, and try again")


class _Ranges(io.RawIOBase):
    """A remote file as a readable, seekable file object."""

    def __init__(self, remote: _Remote):
        self.name, self._remote, self._at = os.path.basename(remote._path), remote, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._remote.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._remote.size if size is None or size < 0 else min(self._at + size, self._remote.size)
        if stop <= self._at:
            return b""
        data = self._remote.read(self._at, stop)
        self._at += len(data)
        return data


def exists(path: str) -> bool:
    """Whether a file or folder exists at a path or an address.

    Raises:
      VideoError: if an address cannot be looked up, for example because its package is not installed.
    """
    return _look("exists", path) if is_remote(path) else os.path.exists(path)


def is_folder(path: str) -> bool:
    """Whether a path or an address is a folder; addresses that end in a file extension are not looked up.

    Raises:
      VideoError: if an address cannot be looked up.
    """
    if not is_remote(path):
        return os.path.isdir(path)
    if path.startswith(("http://", "https://")):
        return path.endswith("/")  # every page of a server could be taken for a folder
    return not _FILE.search(path) and _look("isdir", path)


def read_bytes(path: str) -> bytes:
    """The content of the file at a path or an address.

    Raises:
      VideoError: if it does not exist or cannot be read.
    """
    if is_remote(path):
        return _look("cat_file", path)
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise VideoError(path, "no such file", "check the path") from None
    except OSError as error:
        raise VideoError(path, f"cannot be read ({error})", "check the disk") from error


def list_files(folder: str, *, below: bool = False) -> list[str]:
    """List the files in the folder at an address, as sorted addresses.

    Args:
      folder: address of the folder.
      below: also list the files in its subfolders.

    Raises:
      VideoError: if the folder cannot be listed.
    """
    files, inner = file_system(folder)
    found = _look("find", folder, maxdepth=None if below else 1)
    root, scheme = inner.rstrip("/"), folder.rstrip("/")
    return sorted(scheme + name.removeprefix(root) for name in map(files._strip_protocol, found))


def _look(what: str, path: str, **options: Any) -> Any:
    files, inner = file_system(path)
    try:
        return getattr(files, what)(inner, **options)
    except FileNotFoundError:
        raise VideoError(path, "no such file", "check the path") from None
    except Exception as error:  # each file system raises its own
        mend = "check the address, the network and your credentials, and try again"
        raise VideoError(path, f"cannot be looked up ({type(error).__name__}: {error})", mend) from error
