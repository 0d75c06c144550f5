"""Fields of optical flow that were computed beforehand, stored as 8-bit pictures.

Folders are read as denseflow (`flow_x_00000.jpg`, from 0), TSN (`flow_x_00001.jpg`, from 1) and mmaction2
(`x_00001.jpg`) write them: the names and the first number are found by looking.
"""

import os
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from vidjax.video.byte_sources import is_folder, read_bytes
from vidjax.video.errors import VideoError
from vidjax.video.flow import dequantise
from vidjax.video.image_folder import flow_name, folder_files


class Pictures(Protocol):
    """Encoded pictures of each field of a video, by its number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sequence[bytes]: ...


class StoredFlow:
    """Fields of a video, in the order of its frames; one is decoded when it is asked for.

    Attributes:
      path: path of the video or folder, for messages.
      method: name of the algorithm, "folder" if it is not known.

    Args:
      path: path of the video or folder, for messages.
      pictures: for each field, its encoded pictures: of motion to the right and of motion down, or one with the second
        below the first.
      bound: motion that became 255, pixels of the stored pictures.
      rounding: rule of the 8-bit values, see `vidjax.video.flow.quantise`.
      method: name of the algorithm.
    """

    def __init__(
        self,
        path: str,
        pictures: Pictures,
        bound: float,
        rounding: str = "nearest",
        method: str = "folder",
    ):
        self.path, self.method = path, method
        self._pictures, self._bound, self._rounding = pictures, bound, rounding

    def __len__(self) -> int:
        """Number of fields, one less than that of the video's frames."""
        return len(self._pictures)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the stored fields, pixels."""
        height, width = self.field(0).shape[:2]
        return height, width

    def field(self, number: int) -> np.ndarray:
        """Decode the field from the frame of a number to the next, float32 `(H, W, 2)`.

        Raises:
          VideoError: if a picture does not decode.
        """
        planes = [self._decoded(picture, number) for picture in self._pictures[number]]
        if len(planes) == 1:
            planes = np.split(planes[0], 2)
        if planes[0].shape != planes[1].shape:
            raise VideoError(self.path, f"field {number} has pictures of different sizes", "extract the flow again")
        return dequantise(np.stack(planes, axis=-1), self._bound, self._rounding)

    def _decoded(self, picture: bytes, number: int) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None:
            mend = "extract the flow, or prepare the data set, again"
            raise VideoError(self.path, f"field {number} of {len(self)} does not decode", mend)
        return image


class FlowPictures:
    """Encoded pictures of a folder's fields: pairs, in the order of time. Files are read when they are asked for.

    Args:
      folder: path or address of the folder; it may hold the frames, too.

    Raises:
      VideoError: if there are no pictures of flow, some are missing, or fields are not of neighbouring frames.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = os.fspath(folder)
        found: dict[str, dict[str, dict[int, str]]] = {}
        steps: dict[str, str] = {}
        for path in folder_files(self.folder):
            if (match := flow_name(path)) is None:
                continue
            kind = f"{match['before']}x_{match['step'] or ''}…"
            steps[kind] = match["step"] or "p1"
            found.setdefault(kind, {"x": {}, "y": {}})[match["axis"]][int(match["number"])] = path
        if not found:
            raise VideoError(
                self.folder,
                "holds no pictures of flow, such as flow_x_00001.jpg and flow_y_00001.jpg, or x_1.jpg and y_1.jpg",
                "extract the flow, or choose another data.flow",
            )
        if len(found) > 1:
            names = ", ".join(sorted(found))
            raise VideoError(self.folder, f"holds several kinds of flow ({names})", "keep one kind in the folder")
        ((kind, axes),) = found.items()
        if steps[kind] != "p1":
            step = steps[kind].replace("p", "").replace("m", "-")
            raise VideoError(
                self.folder,
                f"holds flow over a step of {step} frames",
                "extract it between neighbours, step 1",
            )
        first = min(min(axis, default=0) for axis in axes.values())
        last = max(max(axis, default=0) for axis in axes.values())
        if gaps := [f"{a} of {n}" for n in range(first, last + 1) for a in axes if n not in axes[a]][:3]:
            raise VideoError(self.folder, f"lacks the flow {', '.join(gaps)}", "extract it again, or leave it out")
        self._paths = [(axes["x"][n], axes["y"][n]) for n in range(first, last + 1)]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[bytes, bytes]:
        across, down = self._paths[index]
        return read_bytes(across), read_bytes(down)


def find_folder(root: str, video: str) -> str:
    """Folder of a video's fields.

    Args:
      root: folder of such folders, named like the videos without suffix, directly or below a folder named like that of
        the video; empty: the video's path is the folder.
      video: path of the video.

    Raises:
      VideoError: if there is none.
    """
    if not root:
        if not is_folder(video):
            raise VideoError(video, "is no folder of flow", "name the folder of such folders as data.flow_folder")
        return video
    parent, name = os.path.split(video.rstrip("/"))
    stem = name if is_folder(video) else os.path.splitext(name)[0]
    tried = [os.path.join(root, stem), os.path.join(root, os.path.basename(parent), stem)]
    for folder in tried:
        if is_folder(folder):
            return folder
    raise VideoError(video, f"has no folder of flow: there is neither {' nor '.join(tried)}", "extract its flow")
