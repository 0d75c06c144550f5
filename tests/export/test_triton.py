"""The configuration of a model in Triton's repository."""

import pytest

from tests.export.runs import NAMES
from vidjax.config import Config, Spec
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.export.folder import ExportInfo
from vidjax.export.triton import check_repository, model_name, write_repository
from vidjax.training.checkpoints import Meta

META = Meta(Config(), Spec.of_video("conv3d_tiny", 4), LabelSpace(NAMES))
INPUTS = {"video": ((4, 16, 16, 3), "uint8"), "boxes": ((8, 4), "float32")}
OUTPUTS = {"probabilities": ((2,), "float32"), "mask": ((4,), "bool")}


@pytest.mark.parametrize(("target", "accelerator"), [("onnxruntime", ""), ("tensorrt", "gpu"), ("openvino", "cpu")])
def test_the_configuration(tmp_path, target, accelerator):
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "classes.txt").write_text("left\nright\n")
    model = write_repository(tmp_path / "models", "m", tmp_path, ExportInfo("onnx", target, 0, INPUTS, OUTPUTS, META))
    assert (model / "1" / "model.onnx").read_bytes() == b"graph" and (model / "classes.txt").is_file()
    text = (model / "config.pbtxt").read_text()
    words = " ".join(text.split())
    assert 'name: "m" backend: "onnxruntime"' in words and "max_batch_size: 32" in words
    assert '{ name: "video", data_type: TYPE_UINT8, dims: [ 4, 16, 16, 3 ] },' in words
    assert (
        '{ name: "probabilities", data_type: TYPE_FP32, dims: [ 2 ], label_filename: "classes.txt" }, '
        '{ name: "mask", data_type: TYPE_BOOL, dims: [ 4 ] } ]' in words
    )
    assert text.count("{") == text.count("}") and text.count("[") == text.count("]")
    assert (f'{accelerator}_execution_accelerator: [ {{ name: "{target}" }} ]' in words) == bool(accelerator)
    with pytest.raises(UserError, match="is there already"):
        check_repository(tmp_path / "models", "m")


def test_the_name_is_that_of_the_folder():
    assert model_name("runs/my run.2") == "my_run_2"
