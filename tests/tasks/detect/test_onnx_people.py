"""Detectors exported to ONNX: each form finds a red rectangle where it is; a real file through onnxruntime; errors."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest

from tests.peers import needs
from vidjax.errors import UserError
from vidjax.tasks.detect import onnx_people
from vidjax.tasks.detect.detectors import make_detector
from vidjax.tasks.detect.onnx_people import OnnxPeople, suppressed

SIDE = 96
BOX = np.array([0.25, 0.5, 0.75, 0.875])  # of the rectangle


def value(name, *shape, type="tensor(float)"):
    return SimpleNamespace(name=name, shape=list(shape), type=type)


class Session:
    """A detector that sees red: each form's answer for one rectangle, of the class `person`, among other rows."""

    def __init__(self, form, person=0, classes=0, side=SIDE, names=""):
        self.form, self.person, self.side, self.names = form, person, side, names
        self.classes = classes or {"deformable": 91, "rtdetr": 80}.get(form, 3)
        self.queries = form in ("detr", "deformable", "rtdetr")

    def get_inputs(self):
        shape = (1, 3, self.side, self.side) if self.side else ("batch", 3, "height", "width")
        mask = [value("pixel_mask", 1, "height", "width", type="tensor(int64)")] if self.queries else []
        return [value("pixels", *shape), *mask]

    def get_outputs(self):
        return [value(name, "?") for name in (("logits", "pred_boxes") if self.queries else ("output0",))]

    def get_modelmeta(self):
        return SimpleNamespace(custom_metadata_map={"names": self.names} if self.names else {})

    def run(self, outputs, feed):
        picture, yolox, imagenet = feed["pixels"], self.form.startswith("yolox"), self.form in ("detr", "deformable")
        assert picture.dtype == np.float32 and picture.shape[:2] == (1, 3)
        assert imagenet or picture.max() <= (255 if yolox else 1)
        rows, columns = np.nonzero(
            picture[0, 2 if yolox else 0] - picture[0, 1] > (100 if yolox else 1 if imagenet else 0.5)
        )
        top, bottom, left, right = (
            (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) if len(rows) else (0, 4, 0, 4)
        )
        box = np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
        height, width = picture.shape[2:]
        cells = np.concatenate([np.argwhere(np.ones((height // s, width // s)))[:, ::-1] for s in (8, 16, 32)])
        strides = np.repeat([8, 16, 32], [(height // s) * (width // s) for s in (8, 16, 32)])[:, None]
        count = {"yolov5": 3 * len(cells), "yolov10": 9}.get(self.form, 7 if self.queries else len(cells))
        boxes, chances = np.tile([width - 8.0, 8, 4, 4], (count, 1)), np.full((count, self.classes), 0.01)
        chances[:, (self.person + 1) % self.classes] = 0.3
        for row, chance in ((3, 0.9), (5, 0.8)):  # the second is suppressed, where there is suppression
            boxes[row], chances[row, self.person] = box, chance
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        any_object = np.ones((count, 1))
        if self.queries:
            mask = feed["pixel_mask"][0].astype(bool)
            assert mask.any() and not picture[0][:, ~mask].any()
            own = np.argwhere(mask).max(axis=0) + 1
            nothing = np.concatenate([chances, 0.05 * any_object], axis=1)
            logits = np.log(nothing) if self.form == "detr" else np.log(chances / (1 - chances))
            return [logits[None], (boxes / [own[1], own[0], own[1], own[0]])[None]]
        if self.form == "yolox raw":
            others = np.setdiff1d(np.arange(count), [3, 5])
            boxes[others, :2], boxes[others, 2:] = (cells * strides)[others], strides[others]
            boxes = np.concatenate([boxes[:, :2] / strides - cells, np.log(boxes[:, 2:] / strides)], axis=1)
        if self.form == "yolov10":
            return [np.concatenate([corners, chances.max(1)[:, None], chances.argmax(1)[:, None]], axis=1)[None]]
        if self.form == "yolov8":
            return [np.concatenate([boxes, chances], axis=1).T[None]]
        return [np.concatenate([boxes, any_object, chances], axis=1)[None]]


def frame(height, width):
    picture = np.full((height, width, 3), 40, np.uint8)
    x1, y1, x2, y2 = (BOX * np.tile([width, height], 2)).round().astype(int)
    picture[y1:y2, x1:x2] = (255, 0, 0)
    return picture


def detector(monkeypatch, session, **kwargs):
    monkeypatch.setattr(onnx_people, "_session", lambda path: session)
    return OnnxPeople("d.onnx", **kwargs)


@pytest.mark.parametrize("form", ["detr", "deformable", "rtdetr", "yolox", "yolox raw", "yolov5", "yolov8", "yolov10"])
@pytest.mark.parametrize("size", [(96, 96), (64, 160), (150, 60)])
def test_each_form_finds_the_rectangle(monkeypatch, form, size):
    people = detector(monkeypatch, Session(form), person=0)
    assert people.form == form.removesuffix(" raw")
    for box, score in people(np.stack([frame(*size)] * 2)):
        assert len(box) == (1 if form.startswith("yolo") and form != "yolov10" else 2)
        np.testing.assert_allclose(box[0], BOX, atol=0.05)
        assert score[0] == pytest.approx(0.9, abs=0.2)


def test_class_of_people(monkeypatch):
    assert detector(monkeypatch, Session("yolov8", names="{0: 'car', 1: 'Person', 2: 'dog'}")).person == 1
    assert detector(monkeypatch, Session("yolov8", classes=80)).person == 0
    assert detector(monkeypatch, Session("detr", classes=91)).person == 1
    with pytest.raises(UserError, match=r"which of its 3 classes is a person; give its number, as in d\.onnx@0"):
        detector(monkeypatch, Session("yolov8", names="not a table"))
    with pytest.raises(UserError, match="person = 3: the file has the classes 0…2"):
        detector(monkeypatch, Session("yolov5"), person=3)


def test_sizes_left_open(monkeypatch):
    people = detector(monkeypatch, Session("yolov8", side=0), person=0)
    ((box, _),) = people(frame(90, 160)[None])
    np.testing.assert_allclose(box[0], BOX, atol=0.01)


def test_suppression_keeps_the_best():
    box = np.array([[0, 0, 1, 1], [0, 0, 1, 0.9], [0, 0, 0.2, 0.2], [0, 0, 1, 0.3]])
    assert suppressed(box, 0.65).tolist() == [0, 2, 3] and suppressed(box, 0.25).tolist() == [0, 2]
    assert suppressed(np.zeros((0, 4)), 0.5).tolist() == []


def test_what_is_no_detector(monkeypatch):
    class Odd(Session):
        def run(self, outputs, feed):
            return [np.zeros((1, 10))]

    with pytest.raises(UserError, match=r"no detector in a known form: its outputs are output0 \(1, 10\)\. Known are"):
        detector(monkeypatch, Odd("yolov8"))

    class Channels(Session):
        def get_inputs(self):
            return [value("x", 1, 96, 96, 3)]

    with pytest.raises(UserError, match=r"its inputs are x \[1, 96, 96, 3\], not one of pictures"):
        detector(monkeypatch, Channels("yolov8"))


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number, content):
    """A field of a protocol buffer: a number, a text or a message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def described(name, shape):
    dims = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def constant_model(answers):
    """An ONNX file (format of onnx.proto, opset 13) that answers the same to every picture."""
    graph = b""
    for name, array in answers.items():
        graph += field(1, field(1, f"{name}_value") + field(2, name) + field(4, "Identity"))
        dims = b"".join(field(1, side) for side in array.shape)
        raw = struct.pack(f"<{array.size}f", *array.ravel())
        graph += field(5, dims + field(2, 1) + field(8, f"{name}_value") + field(9, raw))
        graph += field(12, described(name, array.shape))
    graph += field(2, "g") + field(11, described("pixel_values", (1, 3, "height", "width")))
    return field(1, 8) + field(8, field(1, "") + field(2, 13)) + field(7, graph)


def test_a_real_file(tmp_path):
    needs("onnxruntime")
    logits = np.full((1, 4, 92), -9.0, np.float32)
    logits[0, 2, 1], logits[0, :2, 17] = 3.0, 5.0
    path = tmp_path / "detr.onnx"
    path.write_bytes(constant_model({"logits": logits, "pred_boxes": np.full((1, 4, 4), 0.5, np.float32)}))
    people = make_detector(str(path))
    ((box, score),) = people(np.zeros((1, 40, 60, 3), np.uint8))
    np.testing.assert_allclose(box[0], [0.25, 0.25, 0.75, 0.75])
    assert score[0] == pytest.approx(1, abs=1e-3) and score[1:].max(initial=0) < 0.1
    assert make_detector(f"{path}@17").person == 17
    path.write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"detr\.onnx: onnxruntime cannot read it"):
        make_detector(str(path))
    with pytest.raises(UserError, match=r"none\.onnx: there is no such file"):
        make_detector(str(tmp_path / "none.onnx"))


def test_without_onnxruntime(tmp_path, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(onnx_people.importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"needs onnxruntime: pip install -e '\.\[onnx\]'"):
        OnnxPeople(tmp_path / "a.onnx")
