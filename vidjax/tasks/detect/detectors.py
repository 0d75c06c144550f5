"""Detectors of people by name and checkpoint, or by ONNX file."""

from vidjax.errors import UserError
from vidjax.tasks.detect.people import Detector


def make_detector(text: str) -> Detector:
    """Load a detector of people.

    Args:
      text: `NAME=CHECKPOINT`, such as "detr_r50=weights/detr-resnet-50", see `vidjax.models.detectors`; or
        `FILE.onnx`, or `FILE.onnx@NUMBER` with the number of its class of people, see
        `vidjax.tasks.detect.onnx_people`.

    Raises:
      UserError: if the text is of neither form, no detector has that name, or the file cannot be read or used.
    """
    file, at, number = text.rpartition("@")
    file = file if at and number.isdigit() else text
    if file.endswith(".onnx"):
        from vidjax.tasks.detect.onnx_people import OnnxPeople

        return OnnxPeople(file, person=int(number) if file != text else None)
    name, equals, checkpoint = text.partition("=")
    if not (equals and name and checkpoint):
        raise UserError(f"detector {text!r}: give NAME=CHECKPOINT, such as detr_r50=detr-resnet-50, or FILE.onnx")
    from vidjax.tasks.detect.detr_people import DetrPeople

    return DetrPeople.load(name, checkpoint)
