"""Which text names which detector; the files themselves are tested beside their readers."""

import pytest

from vidjax.errors import UserError
from vidjax.tasks.detect.detectors import make_detector


def test_what_names_a_detector():
    with pytest.raises(UserError, match=r"detector 'yolo': give NAME=CHECKPOINT, such as detr_r50=.*, or FILE\.onnx"):
        make_detector("yolo")
    with pytest.raises(UserError, match="no detector 'detr50'"):
        make_detector("detr50=weights.pth")
