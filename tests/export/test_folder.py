"""Folders of exports: written whole or not at all, read back as they were."""

import json

import pytest

from tests.export.test_triton import INPUTS, META, OUTPUTS
from vidjax.errors import UserError
from vidjax.export.folder import ExportInfo, new_folder, read_info

INFO = ExportInfo("onnx", "onnxruntime", 7, INPUTS, OUTPUTS, META, 1.5, (0.25, 0.5), {"1": 1e-7}, {"clips": 64})


def test_what_is_written_is_read(tmp_path):
    INFO.write(tmp_path)
    assert read_info(tmp_path) == INFO
    assert (tmp_path / "classes.txt").read_text() == "left\nright\n"
    assert read_info(tmp_path / "elsewhere") is None and read_info(tmp_path / "classes.txt") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(format=99), "has format 99"),
        (lambda values: values.pop("kind"), "is damaged"),
        (lambda values: values.update(other=1), "is damaged"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, change, message):
    INFO.write(tmp_path)
    file = tmp_path / "export.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    with pytest.raises(UserError, match=rf"export\.json.*{message}|{message}"):
        read_info(tmp_path)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "a" / "out") as half:
        (half / "file").write_text("half")
        raise RuntimeError
    assert list((tmp_path / "a").iterdir()) == []
    with new_folder(tmp_path / "a" / "out") as half:
        (half / "file").write_text("whole")
    assert (tmp_path / "a" / "out" / "file").read_text() == "whole" and len(list((tmp_path / "a").iterdir())) == 1
    with pytest.raises(UserError, match="is there already"), new_folder(tmp_path / "a" / "out"):
        pass
