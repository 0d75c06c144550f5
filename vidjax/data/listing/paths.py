"""Locations of a data set's videos: local paths and remote addresses (gs://bucket/videos)."""

import os
from pathlib import Path

from vidjax.video.byte_sources import file_system, is_remote, list_files

VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".m2ts", ".3gp", ".ogv",
    ".gif", ".vob", ".mts", ".divx", ".asf",
))  # fmt: skip
SOUND_SUFFIXES = frozenset((".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"))


def locate(root: str, path: str) -> str:
    """Resolve a path or address of an annotation file, relative to `root` unless it is absolute."""
    if is_remote(path) or (is_remote(root) and path.startswith("/")):
        return path
    return f"{root.rstrip('/')}/{path}" if is_remote(root) else str(Path(root).expanduser() / path)


class Presence:
    """Check of whether files exist. A remote folder is listed only once for all files in it.

    Servers without listings (http://) are not asked: missing files are discovered on reading.
    """

    def __init__(self):
        self._listed: dict[str, set[str]] = {}

    def __call__(self, path: str) -> bool:
        """Whether a file or folder exists at a path or an address.

        Raises:
          VideoError: if the package for such addresses is not installed.
        """
        if not is_remote(path):
            return os.path.exists(path)
        if path.startswith(("http://", "https://")):
            return True
        files, inner = file_system(path)
        folder = files._parent(inner)
        if folder not in self._listed:
            try:
                names = files.ls(folder, detail=False)
            except FileNotFoundError:
                names = []
            self._listed[folder] = {files._strip_protocol(name) for name in names}
        return files._strip_protocol(inner) in self._listed[folder]


def class_folders(source: str) -> dict[str, list[str]]:
    """Files below each sub-folder of a folder or address, in a fixed order, without hidden ones.

    Raises:
      VideoError: if an address cannot be listed.
    """
    if not is_remote(source):
        folders = sorted(p for p in Path(source).iterdir() if p.is_dir() and not p.name.startswith("."))
        return {
            folder.name: [str(p) for p in sorted(folder.rglob("*")) if not p.is_dir() and not p.name.startswith(".")]
            for folder in folders
        }
    found: dict[str, list[str]] = {}
    root = source.rstrip("/")
    for path in list_files(source, below=True):
        name, slash, rest = path[len(root) + 1 :].partition("/")
        if slash and not name.startswith(".") and not os.path.basename(rest).startswith("."):
            found.setdefault(name, []).append(path)
    return found


def own_files(source: str) -> list[str]:
    """Files directly in a folder or at an address, in a fixed order, without hidden ones.

    Raises:
      VideoError: if an address cannot be listed.
    """
    if not is_remote(source):
        return [str(p) for p in sorted(Path(source).iterdir()) if not p.is_dir() and not p.name.startswith(".")]
    root = source.rstrip("/")
    names = (path[len(root) + 1 :] for path in list_files(source, below=True))
    return [f"{root}/{name}" for name in names if "/" not in name and not name.startswith(".")]
