"""Videos given as a folder with one image per frame, such as `00001.jpg` or `img_00001.jpg`."""

import os
import re
from collections.abc import Sequence

from vidjax.video.byte_sources import is_remote, list_files, read_bytes
from vidjax.video.errors import VideoError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
# A picture of one direction of flow: "flow_x_" or "x_", for denseflow perhaps the step in frames (p2, m1), a number.
_FLOW = re.compile(r"(?P<before>(?:flow_)?)(?P<axis>[xy])_(?:(?P<step>[pm]\d+)_)?(?P<number>\d+)")


class ImageFiles(Sequence):
    """Encoded images of a folder, sorted by the numbers in their names. A file is read when its image is asked for.

    Args:
      folder: path or address of the folder; all image names must have the same text before the number. Pictures of
      optical flow beside the frames are left out.

    Raises:
      VideoError: if there is no image, names differ before the number, or numbers are missing in between.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = os.fspath(folder)
        numbered: dict[int, str] = {}
        stems = set()
        files = folder_files(self.folder)
        frames = [path for path in files if flow_name(path) is None]
        for path in frames or files:
            name = os.path.basename(path)
            match = re.fullmatch(r"(.*?)(\d+)", os.path.splitext(name)[0])
            if not name.lower().endswith(IMAGE_SUFFIXES) or name.startswith(".") or not match:
                continue
            stems.add(match[1])
            numbered[int(match[2])] = path
        if not numbered:
            raise VideoError(self.folder, "is a folder without numbered images", "give a video, or a folder of frames")
        if len(stems) > 1:
            names = ", ".join(repr(f"{s}…") for s in sorted(stems))
            raise VideoError(self.folder, f"holds images of several kinds ({names})", "keep one kind in the folder")
        first, last = min(numbered), max(numbered)
        if gaps := [n for n in range(first, last + 1) if n not in numbered][:3]:
            raise VideoError(
                self.folder,
                f"lacks the images {', '.join(map(str, gaps))} between {first} and {last}",
                "fetch or extract it again, or leave it out",
            )
        self._paths = [numbered[n] for n in range(first, last + 1)]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> bytes:
        return read_bytes(self._paths[index])


def flow_name(path: str) -> re.Match[str] | None:
    """Parts of the name of a picture of flow: `before`, `axis`, `step` and `number`; None for other files."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    return _FLOW.fullmatch(stem) if suffix.lower() in IMAGE_SUFFIXES else None


def folder_files(folder: str) -> list[str]:
    """Paths of what is in a folder, local or remote, in no particular order."""
    return list_files(folder) if is_remote(folder) else [entry.path for entry in os.scandir(folder)]
