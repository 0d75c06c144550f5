"""Files of optical flow: Middlebury's `.flo`, KITTI's png, and the `.pfm` of FlyingThings.

A field is float32 `(H, W, 2)`: dx, right positive, and dy, down positive, in pixels. Layouts: Baker et al., A Database
and Evaluation Methodology for Optical Flow (`.flo`); Menze & Geiger, Object Scene Flow, its development kit (png).
"""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vidjax.errors import UserError

_TAG = b"PIEH"  # of a .flo file: 202021.25 in float32
_MOST = 100_000  # rows or columns; more, and the header is not a size
_STEPS = 64.0  # of a pixel, in KITTI's png
_ZERO = 2**15
UNKNOWN = 1e9  # motion in a .flo file that stands for "not known"; larger motion does, too


def read_flow(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Read a file of flow by its ending, one of .flo, .png and .pfm.

    Returns:
      The field, float32 `(H, W, 2)`, and where it is known, bool `(H, W)`; elsewhere it is 0.

    Raises:
      UserError: for another ending, and for a file that is absent, damaged or of another kind; it names the file and
        what was expected.
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise UserError(f"{path}: flow is read from {', '.join(_READERS)}; the ending must be one of these")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; expected a file of flow") from None
    return _READERS[path.suffix.lower()](path, content)


def write_flow(path: str | os.PathLike, flow: np.ndarray, known: np.ndarray | None = None) -> None:
    """Write a field by the ending of the path, one of .flo, .png and .pfm.

    A png has steps of 1/64 pixel between −512 and 512; faster motion is clipped. Unknown motion is stored in .flo files
    as 1e10, as Middlebury has it, and as 0 in others; a .pfm file has no place for what is known.

    Args:
      path: path of the file; its folder must exist.
      flow: field, float `(H, W, 2)`.
      known: where the field is known, bool `(H, W)`; None: everywhere.

    Raises:
      UserError: for another ending, another shape, or a field that is not finite where it is known.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise UserError(f"{path}: flow is written as {', '.join(_WRITERS)}; the ending must be one of these")
    flow = np.asarray(flow, np.float32)
    if flow.ndim != 3 or flow.shape[2] != 2 or not flow.size:
        raise UserError(f"{path}: flow of shape {flow.shape}; expected (H, W, 2)")
    known = np.ones(flow.shape[:2], bool) if known is None else np.asarray(known, bool)
    if known.shape != flow.shape[:2]:
        raise UserError(f"{path}: flow of shape {flow.shape}, but known of shape {known.shape}; expected (H, W)")
    if not np.isfinite(flow[known]).all():
        raise UserError(f"{path}: the flow has values that are not finite")
    content = _WRITERS[path.suffix.lower()](flow, known)
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(content)
    partial.replace(path)


def _read_flo(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    if content[:4] != _TAG or len(content) < 12:
        raise UserError(f"{path}: no .flo file: it begins with {content[:4]!r}, not {_TAG!r} and two sizes")
    width, height = (int(n) for n in np.frombuffer(content, "<i4", 2, 4))
    _check_size(path, content[12:], width, height, 8)
    flow = np.frombuffer(content, "<f4", 2 * width * height, 12).reshape(height, width, 2).astype(np.float32)
    known = (np.abs(flow[..., 0]) <= UNKNOWN) & (np.abs(flow[..., 1]) <= UNKNOWN)  # false for NaN
    return np.where(known[..., None], flow, 0), known


def _flo(flow: np.ndarray, known: np.ndarray) -> bytes:
    height, width = known.shape
    filled = np.where(known[..., None], flow, np.float32(10 * UNKNOWN))
    return _TAG + np.asarray([width, height], "<i4").tobytes() + filled.astype("<f4").tobytes()


def _read_png(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3 or stored.shape[2] != 3:
        found = "no picture" if stored is None else f"a picture of {stored.dtype} {stored.shape}"
        raise UserError(f"{path}: {found}; KITTI's flow is a png of three 16-bit channels")
    known = stored[..., 0] > 0  # OpenCV gives blue, green, red
    flow = (stored[..., :0:-1].astype(np.float32) - _ZERO) / _STEPS
    return np.where(known[..., None], flow, 0).astype(np.float32), known


def _png(flow: np.ndarray, known: np.ndarray) -> bytes:
    steps = np.clip(np.rint(np.where(known[..., None], flow, 0) * _STEPS) + _ZERO, 0, 2**16 - 1)
    stored = np.concatenate([known[..., None], np.where(known[..., None], steps, 0)[..., ::-1]], axis=2)
    done, content = cv2.imencode(".png", stored.astype(np.uint16))
    assert done
    return content.tobytes()


def _read_pfm(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    parts = content.split(None, 4)
    try:
        kind, width, height, scale = parts[0], int(parts[1]), int(parts[2]), float(parts[3])
        start = content.index(b"\n", content.index(parts[3], content.index(parts[2], content.index(b"\n")))) + 1
    except (ValueError, IndexError):
        raise UserError(
            f"{path}: no .pfm file: expected PF, width and height, and a scale in its first lines"
        ) from None
    if kind != b"PF" or not scale:
        raise UserError(f"{path}: a .pfm file of kind {kind!r} and scale {scale:g}; flow has three channels, kind PF")
    _check_size(path, content[start:], width, height, 12)
    order = "<f4" if scale < 0 else ">f4"
    rows = np.frombuffer(content, order, 3 * width * height, start).reshape(height, width, 3)[::-1, :, :2]
    known = np.isfinite(rows[..., 0]) & np.isfinite(rows[..., 1])
    return np.where(known[..., None], rows, 0).astype(np.float32), known


def _pfm(flow: np.ndarray, known: np.ndarray) -> bytes:
    height, width = known.shape
    rows = np.zeros((height, width, 3), "<f4")
    rows[..., :2] = np.where(known[..., None], flow, 0)
    return f"PF\n{width} {height}\n-1\n".encode() + rows[::-1].tobytes()


def _check_size(path: Path, content: bytes, width: int, height: int, each: int) -> None:
    if not (0 < width <= _MOST and 0 < height <= _MOST):
        raise UserError(f"{path}: a size of {width}×{height} pixels; the file is damaged")
    if len(content) != width * height * each:
        raise UserError(
            f"{path}: {len(content)} bytes after its head; {width}×{height} pixels have {width * height * each}"
        )


_READERS: dict[str, Callable[[Path, bytes], tuple[np.ndarray, np.ndarray]]] = {
    ".flo": _read_flo, ".png": _read_png, ".pfm": _read_pfm,
}  # fmt: skip
_WRITERS: dict[str, Callable[[np.ndarray, np.ndarray], bytes]] = {".flo": _flo, ".png": _png, ".pfm": _pfm}
