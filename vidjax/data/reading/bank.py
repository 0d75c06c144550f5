"""Long-term feature banks: vectors of the boxes of whole videos, computed beforehand.

A bank is a folder with a file per video, `NAME.npz` for `NAME.mp4` or `FOLDER/NAME.npz` for `FOLDER/NAME.mp4`:
"times", seconds `(N,)`, and "vectors" `(N, D)`, those of a time in order of importance. They are what the classifier of
a detection network reads of a box, `network.head.vectors(network.encode(video).maps, boxes)`.

Paper: Wu et al., Long-Term Feature Banks for Detailed Video Understanding (1812.05038).
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidjax.config import ConfigError
from vidjax.data.records import Record
from vidjax.data.text import DataError
from vidjax.data.views import Views
from vidjax.inputs import BankInput


def bank_file(folder: str | os.PathLike, video: str) -> Path:
    """Path of a video's file in a bank: that of as much of the end of the video's path as the bank has, or else of its
    name alone."""
    parts = Path(video).with_suffix(".npz").parts
    places = [Path(folder).joinpath(*parts[first:]) for first in range(bool(Path(video).anchor), len(parts))]
    return next((place for place in places if place.exists()), places[-1])


def write_bank(
    file: str | os.PathLike, times: np.ndarray, vectors: np.ndarray, *, model: str = "", video: str = ""
) -> Path:
    """Write the vectors of a video, in half precision, as the published banks are; returns the file.

    Args:
      file: path of the file, whose folder is made if it is not there.
      times: time of each vector's box, seconds `(N,)`.
      vectors: vectors, `(N, D)`.
      model: fingerprint of the network that computed them; empty: unknown.
      video: path of the video, of which its name and folder are kept; empty: unknown.

    Raises:
      DataError: if the numbers of times and vectors differ.
    """
    file, times, vectors = Path(file), np.asarray(times, np.float64), np.asarray(vectors, np.float16)
    if times.ndim != 1 or vectors.ndim != 2 or len(times) != len(vectors):
        raise DataError(f"{file}: times {times.shape} and vectors {vectors.shape}: expected (N,) and (N, D)")
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_suffix(".part.npz")
    np.savez(whole, times=times, vectors=vectors, model=np.array(model), video=np.array(_short(video)))
    return whole.replace(file)


def _short(video: str) -> str:
    """Name of a video with its folder's."""
    return "/".join(Path(video).parts[-2:])


def check_bank(file: Path, model: str, video: str) -> None:
    """Check that a file of a bank is of a network and a video.

    Raises:
      DataError: if it is of others, or no such file.
    """
    try:
        with np.load(file) as arrays:
            found = {name: str(arrays[name]) if name in arrays else "unknown" for name in ("model", "video")}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: cannot be read as a file of a feature bank: {error}") from error
    for name, wanted, what in (("model", model, "network"), ("video", _short(video), "video")):
        if found[name] != wanted:
            raise DataError(f"{file}: is of another {what}, {found[name]}, not {wanted}; give another folder")


def read_bank(file: str | os.PathLike, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Read times, float64 `(N,)`, and vectors, float32 `(N, D)`, of a video.

    Raises:
      DataError: if there is no such file, or it holds something else than vectors of this width and their times.
    """
    try:
        with np.load(file) as arrays:
            times, vectors = np.asarray(arrays["times"], np.float64), np.asarray(arrays["vectors"], np.float32)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file in the feature bank; make it by `vidjax bank`") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: cannot be read as a file of a feature bank: {error}") from error
    if times.ndim != 1 or vectors.shape != (len(times), width):
        raise DataError(f"{file}: has vectors {vectors.shape} at {times.shape} times, expected (N, {width}) at (N,)")
    return times, vectors


@dataclass(frozen=True)
class BankReader:
    """Reader of the part of a bank around a clip's key time.

    The part is divided into seconds, the key time at the beginning of the second half. The first rows of a second are
    the first vectors in it, as many as fit; the other rows are zeros.

    Attributes:
      input: number and width of the vectors, and seconds.
      folder: the bank.

    Raises:
      ConfigError: if no bank is given, or there is no such folder.
    """

    input: BankInput
    folder: str

    def __post_init__(self) -> None:
        if not self.folder:
            raise ConfigError(
                "config.data.clip.bank is empty: give the folder of the feature bank that the network reads, made by "
                "`vidjax bank`"
            )
        if not Path(self.folder).is_dir():
            raise ConfigError(
                f"config.data.clip.bank = {self.folder!r}: no such folder; make the feature bank by `vidjax bank`"
            )

    def of(self, record: Record, views: Views, rng: np.random.Generator | None = None) -> np.ndarray:
        """Read the vectors around each view, float32 `(V, steps, D)`.

        Raises:
          DataError: if the video has no file in the bank, or a damaged one.
        """
        del rng
        times, vectors = read_bank(bank_file(self.folder, record.path), self.input.width)
        middle = views.times[:, views.times.shape[1] // 2]
        centres = middle if record.moment is None else np.full(len(views), record.moment)
        return np.stack([self._around(float(centre), times, vectors) for centre in centres])

    def _around(self, centre: float, times: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        seconds, per_second = self.input.seconds, self.input.steps // self.input.seconds
        part = np.zeros((seconds, per_second, self.input.width), np.float32)
        # A time of whole seconds, kept as a decimal fraction, may fall short of them.
        numbers = np.floor(times - centre + seconds // 2 + 1e-6).astype(np.int64)
        for number in np.unique(numbers[(numbers >= 0) & (numbers < seconds)]):
            own = vectors[numbers == number][:per_second]
            part[number, : len(own)] = own
        return part.reshape(self.input.steps, self.input.width)
