"""People found by a detector exported to ONNX, run by onnxruntime on the CPU.

The form of a file is decided from the names and shapes of its inputs and outputs (N pictures, Q queries, K classes, A
places: one for each cell of 8, 16 and 32 pixels):

- "detr", as Optimum exports it: `pixel_values` (N, 3, H, W), perhaps `pixel_mask` (N, H, W); `logits` (N, Q, K + 1) and
  `pred_boxes` (N, Q, 4), centres and sizes as shares. Two outputs of such shapes may have other names.
- "deformable", Deformable and Conditional DETR: the same with 91 columns, each with a chance of its own.
- "rtdetr", RT-DETR: the same with 80 columns; RGB 0…1, pictures stretched to 640×640.
- "yolox": BGR 0…255, (N, 3, H, W); (N, A, 5 + K), centres and sizes, the score of any object, those of the classes.
  Files with and without decoded boxes (`--decode_in_inference`) are told apart by their numbers: decoded centres reach
  across the picture.
- "yolov5": RGB 0…1, (N, 3, H, W); (N, 3·A, 5 + K), the same in pixels.
- "yolov8", also YOLO11: RGB 0…1, (N, 3, H, W); (N, 4 + K, A), centres and sizes in pixels, scores of the classes.
- "yolov10", also exports with suppression: RGB 0…1, (N, 3, H, W); (N, n, 6), corners in pixels, score, class.

Sizes left open are 640×640, for the first two the short side 800 and the longest 1333. Pictures keep their aspect
ratio, with grey around them (YOLOX: at the right and bottom; DETR: 0 there), unless said otherwise.
"""

import ast
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from vidjax.errors import UserError, install
from vidjax.evaluation.boxes import box_iou
from vidjax.models.detectors import get_detector
from vidjax.tasks.detect.people import Found

_SIDE = 640  # pixels, where a file leaves it open
_GREY = 114
_DETR = get_detector("detr_r50")
_STRIDES = (8, 16, 32)
_MOST = 300  # candidates that enter the suppression
_KNOWN = "logits and pred_boxes of DETR, or one output of YOLOX, YOLOv5, YOLOv8 or YOLOv10"


class OnnxPeople:
    """Detector of people in an ONNX file: `detector(frames)` gives boxes and scores.

    Args:
      path: the file.
      person: number of the class of people; None: "person" of the names in the file, or else COCO's number where there
        are 80 (0) or 91 (1) classes, or 0 of a single class.
      iou: boxes of YOLO that overlap a better one by more are dropped.

    Attributes:
      form: the form found, one of those above, such as "detr".

    Raises:
      UserError: if onnxruntime is not installed, the file cannot be read, or it is in none of the forms above.
    """

    def __init__(self, path: str | os.PathLike, *, person: int | None = None, iou: float = 0.65):
        self.path, self.iou = os.fspath(path), iou
        self._session = _session(self.path)
        inputs = {value.name: value for value in self._session.get_inputs()}
        pictures = [value for value in inputs.values() if len(value.shape) == 4]
        if len(pictures) != 1 or (pictures[0].shape[1] not in (3, None) and not isinstance(pictures[0].shape[1], str)):
            found = ", ".join(f"{value.name} {value.shape}" for value in inputs.values())
            raise self._unknown(f"its inputs are {found}, not one of pictures (N, 3, H, W)")
        self._input = pictures[0]
        self._others = [value for name, value in inputs.items() if name != self._input.name]
        if [value for value in self._others if len(value.shape) != 3]:
            names = ", ".join(value.name for value in self._others)
            raise self._unknown(f"it has inputs besides pictures and their mask: {names}")
        self._outputs = [value.name for value in self._session.get_outputs()]
        self._half = self._input.type == "tensor(float16)"
        queries = {"logits", "pred_boxes"} <= set(self._outputs) or len(self._outputs) == 2
        self.form = "detr" if queries else "yolov8"  # until a blank picture tells
        picture, mask, _ = self._placed(np.zeros((480, 640, 3), np.uint8))
        self.form, classes = self._form_of(self._run(picture, mask), queries, picture.shape[2:])
        self.person = self._number(classes) if person is None else person
        if classes is not None and not 0 <= self.person < classes:
            raise UserError(f"{self.path}: person = {self.person}: the file has the classes 0…{classes - 1}")

    def __call__(self, frames: np.ndarray) -> Sequence[Found]:
        """Boxes and scores of the people in each frame of uint8 `(B, H, W, 3)`, RGB."""
        return [self._one(frame) for frame in frames]

    def _one(self, frame: np.ndarray) -> Found:
        form = _FORMS[self.form]
        picture, mask, box_of_frame = self._placed(frame)
        box, score = form.read(self._run(picture, mask), self.person, picture.shape[2:])
        if not form.shares:  # pixels of the picture
            box = (box - np.tile(box_of_frame[:2], 2)) / np.tile(box_of_frame[2:], 2)
        best = np.argsort(-score, kind="stable")[:_MOST]
        box, score = box[best], score[best]
        keep = suppressed(box, self.iou) if form.repeats else np.arange(len(box))
        return box[keep], score[keep]

    def _placed(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The picture `(1, 3, H, W)` as the file takes it, the mask of the frame in it `(1, H, W)`, and where the frame
        is: left, top, width and height, pixels."""
        form, (height, width) = _FORMS[self.form], frame.shape[:2]
        fixed = [side if isinstance(side, int) and side > 0 else 0 for side in self._input.shape[2:]]
        if form.open:
            whole = [side or form.open for side in fixed]
            shrink = min(whole[0] / height, whole[1] / width)
            size = whole if form.stretches else [max(1, form.cut(side * shrink)) for side in (height, width)]
        else:
            size = list(_DETR.fitted(height, width))
            shrink = min([1.0, *(side / own for side, own in zip(fixed, size, strict=True) if side)])
            size = [max(1, int(side * shrink)) for side in size]
            whole = [side or own for side, own in zip(fixed, size, strict=True)]
        thinned = form.imagenet and size[0] < height
        small = cv2.resize(
            frame, (size[1], size[0]), interpolation=cv2.INTER_AREA if thinned else cv2.INTER_LINEAR
        ).astype(np.float32)
        if form.imagenet:
            small = (small / 255 - np.array(_DETR.mean, np.float32)) / np.array(_DETR.std, np.float32)
        top, left = ((most - own) // 2 if form.around else 0 for most, own in zip(whole, size, strict=True))
        place = np.s_[top : top + size[0], left : left + size[1]]
        canvas = np.full((*whole, 3), 0 if form.imagenet else _GREY, np.float32)
        canvas[place] = small
        canvas = canvas[..., ::-1] if form.bytes else canvas if form.imagenet else canvas / np.float32(255)
        mask = np.zeros((1, *whole), np.int64)
        mask[0][place] = 1
        picture = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float16 if self._half else np.float32)
        return picture, mask, np.array([left, top, size[1], size[0]])

    def _run(self, picture: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}
        feed = {value.name: mask.astype(kinds.get(value.type, np.float32)) for value in self._others}
        try:
            answers = self._session.run(self._outputs, {self._input.name: picture, **feed})
        except Exception as error:  # onnxruntime's own kinds have no common class
            raise self._unknown(f"it cannot be run on a picture {picture.shape}: {error}") from None
        return dict(zip(self._outputs, answers, strict=True))

    def _form_of(self, answers: dict[str, np.ndarray], queries: bool, size: tuple[int, ...]) -> tuple[str, int | None]:
        """Form and number of classes, None if the outputs do not tell; `size`: height and width of the picture."""
        shapes = {name: array.shape for name, array in answers.items()}
        if queries:
            logits, boxes = _detr_outputs(answers)
            if logits is not None and boxes is not None:
                columns = logits.shape[-1]
                return {91: ("deformable", 91), 80: ("rtdetr", 80)}.get(columns, ("detr", columns - 1))
        elif len(answers) == 1 and len(next(iter(shapes.values()))) == 3:
            _, rows, columns = next(iter(shapes.values()))
            cells = sum((size[0] // s) * (size[1] // s) for s in _STRIDES)
            if rows in (cells, 3 * cells) and columns > 5:
                return ("yolox" if rows == cells else "yolov5"), columns - 5
            if columns == cells and rows > 4:
                return "yolov8", rows - 4
            if columns == 6:
                return "yolov10", None
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise self._unknown(f"its outputs are {found}")

    def _number(self, classes: int | None) -> int:
        """Number of the class of people."""
        text = self._session.get_modelmeta().custom_metadata_map.get("names", "")
        try:
            names = ast.literal_eval(text) if text else {}
        except (SyntaxError, ValueError):
            names = {}
        names = dict(enumerate(names)) if isinstance(names, list | tuple) else names
        for number, name in names.items() if isinstance(names, dict) else ():
            if str(name).lower() == "person":
                return int(number)
        usual = {80: 0, 91: 1, 1: 0}
        if classes not in usual:
            number = "" if classes is None else f"{classes} "
            raise UserError(
                f"{self.path}: does not say which of its {number}classes is a person; give its number, as in "
                f"{self.path}@0"
            )
        return usual[classes]

    def _unknown(self, what: str) -> UserError:
        return UserError(f"{self.path}: is no detector in a known form: {what}. Known are {_KNOWN}.")


def suppressed(box: np.ndarray, iou: float) -> np.ndarray:
    """Places of the boxes that overlap no better one kept by more than `iou`, int `(n,)`.

    Args:
      box: boxes x1, y1, x2, y2, `(N, 4)`, the best first.
      iou: most IoU of two boxes that are both kept.
    """
    overlaps, kept = box_iou(box[:, None], box[None]), np.ones(len(box), bool)
    for i in range(len(box)):
        if kept[i]:
            kept[i + 1 :] &= overlaps[i, i + 1 :] <= iou
    return np.flatnonzero(kept)


def _session(path: str) -> Any:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ModuleNotFoundError:
        raise UserError(f"{path}: reading ONNX files needs onnxruntime: {install('onnx')}") from None
    if not os.path.isfile(path):
        raise UserError(f"{path}: there is no such file; give the path of an exported detector")
    try:
        return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds have no common class
        raise UserError(f"{path}: onnxruntime cannot read it: {error}. Export it again.") from None


def _detr_outputs(answers: dict[str, np.ndarray]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Logits and boxes, by name or else by shape."""
    if {"logits", "pred_boxes"} <= answers.keys():
        return answers["logits"], answers["pred_boxes"]
    arrays = [array for array in answers.values() if array.ndim == 3]
    if len(arrays) != 2 or arrays[0].shape[1] != arrays[1].shape[1]:
        return None, None
    boxes = [array for array in arrays if array.shape[2] == 4]
    if len(boxes) != 1:
        return None, None
    return next(array for array in arrays if array is not boxes[0]), boxes[0]


def _corners(box: np.ndarray) -> np.ndarray:
    return np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], axis=1)


def _of_class(chances: np.ndarray, person: int) -> np.ndarray:
    """Chances of a person where that is the best class, else 0."""
    return np.where(chances.argmax(axis=1) == person, chances[:, person], 0)


def _only(box: np.ndarray, score: np.ndarray) -> Found:
    return box[score > 0], score[score > 0]


def _read_detr(answers: dict[str, np.ndarray], person: int, size: tuple[int, ...]) -> Found:
    logits, boxes = (array[0].astype(np.float64) for array in _detr_outputs(answers) if array is not None)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return _only(_corners(boxes), _of_class(chances[:, :-1], person))


def _read_chances(answers: dict[str, np.ndarray], person: int, size: tuple[int, ...]) -> Found:
    logits, boxes = (array[0].astype(np.float64) for array in _detr_outputs(answers) if array is not None)
    return _only(_corners(boxes), _of_class(1 / (1 + np.exp(-logits)), person))


def _read_yolox(answers: dict[str, np.ndarray], person: int, size: tuple[int, ...]) -> Found:
    rows = next(iter(answers.values()))[0].astype(np.float64)
    box, score = rows[:, :4], rows[:, 4] * _of_class(rows[:, 5:], person)
    if box[:, :2].max() < max(size) / 2:  # not decoded: offsets from the cells, in their sides, and log sizes
        grids = [np.mgrid[: size[0] // s, : size[1] // s][::-1].reshape(2, -1).T for s in _STRIDES]
        strides = np.repeat(_STRIDES, [len(grid) for grid in grids])[:, None]
        box = np.concatenate([box[:, :2] + np.concatenate(grids), np.exp(box[:, 2:])], axis=1) * strides
    return _only(_corners(box), score)


def _read_yolov5(answers: dict[str, np.ndarray], person: int, size: tuple[int, ...]) -> Found:
    rows = next(iter(answers.values()))[0].astype(np.float64)
    return _only(_corners(rows[:, :4]), rows[:, 4] * _of_class(rows[:, 5:], person))


def _read_yolov8(answers: dict[str, np.ndarray], person: int, size: tuple[int, ...]) -> Found:
    rows = next(iter(answers.values()))[0].T.astype(np.float64)
    return _only(_corners(rows[:, :4]), _of_class(rows[:, 4:], person))


def _read_yolov10(answers: dict[str, np.ndarray], person: int, size: tuple[int, ...]) -> Found:
    rows = next(iter(answers.values()))[0].astype(np.float64)
    return _only(rows[:, :4], np.where(rows[:, 5].round() == person, rows[:, 4], 0))


@dataclass(frozen=True)
class _Form:
    """What files of a form take and give.

    Attributes:
      read: function from outputs, class of people, and height and width of the picture to boxes (corners) and scores.
      shares: whether boxes are shares of the frame, not pixels of the picture.
      imagenet: whether pixels are normalised as for ImageNet.
      bytes: whether pixels are BGR 0…255.
      open: side where a file leaves it open; 0: as for DETR.
      stretches: whether frames are stretched to the picture.
      around: whether frames are in the middle of the picture.
      cut: rounding of the frame's sides.
      repeats: whether answers have to be suppressed.
    """

    read: Callable[[dict[str, np.ndarray], int, tuple[int, ...]], Found]
    shares: bool = False
    imagenet: bool = False
    bytes: bool = False
    open: int = _SIDE
    stretches: bool = False
    around: bool = True
    cut: Callable[[float], int] = round
    repeats: bool = True


_OF_DETR = {"shares": True, "imagenet": True, "open": 0, "around": False, "repeats": False}
_FORMS = {
    "detr": _Form(_read_detr, **_OF_DETR),
    "deformable": _Form(_read_chances, **_OF_DETR),
    "rtdetr": _Form(_read_chances, shares=True, stretches=True, repeats=False),
    "yolox": _Form(_read_yolox, bytes=True, around=False, cut=int),
    "yolov5": _Form(_read_yolov5),
    "yolov8": _Form(_read_yolov8),
    "yolov10": _Form(_read_yolov10, repeats=False),
}
