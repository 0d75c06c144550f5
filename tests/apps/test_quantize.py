"""`vidjax quantize`: int8 beside float32, ranges from training clips alone, symmetric for TensorRT."""

import json

import numpy as np
import pytest

from tests.export.runs import write_run
from tests.peers import needs
from vidjax.__main__ import main
from vidjax.apps import quantize as app
from vidjax.export.folder import read_info

onnx = needs("onnx")
for package in ("jax2onnx", "onnxruntime"):
    needs(package)


@pytest.fixture(scope="module")
def run(tmp_path_factory, halves):
    return write_run(tmp_path_factory.mktemp("runs") / "halves", halves)


@pytest.fixture(scope="module")
def exported(run):
    out = run.parent / "exported"
    assert main(["export", str(run), str(out), "--format", "onnx"]) == 0
    return out


def test_an_export_in_int8_beside_float32(exported, halves, tmp_path, capsys, monkeypatch):
    seen = {}
    read = app.read_clips

    def spy(videos, *args):
        seen[len(seen)] = {record.path for record in videos.records}
        return read(videos, *args)

    monkeypatch.setattr(app, "read_clips", spy)
    monkeypatch.setattr(app, "has_vnni", lambda: True)
    out = tmp_path / "int8"
    assert main(["quantize", str(exported), str(out), "--clips", "8"]) == 0
    printed = capsys.readouterr().out
    report = json.loads((out / "quantize.json").read_text())
    _, held_out = app.load_videos(read_info(out).meta.config)
    assert len(seen) == 1 and seen[0] and not seen[0] & {record.path for record in held_out.records}
    for name in ("float32", "int8"):
        assert {"clip", "video"} <= report[name]["figures"].keys() and report[name]["figures"]["video"]["top1"] >= 0
        assert report[name]["bytes"] > 0 and set(report[name]["cpu_ms_per_clip"]) == {"1", "8"}
    assert 0.5 <= report["agreement"] <= 1 and report["num_videos"] == len(held_out)
    assert report["error"] > 0 and len(report["layers"]) == 3  # two convolutions and the classifier
    assert "times as fast" in printed and printed.splitlines()[-1].endswith("quantize.json")
    model = onnx.load(out / "model.onnx")
    operators = [node.op_type for node in model.graph.node]
    assert "QuantizeLinear" in operators and operators[-1] != "QuantizeLinear"
    weights = {array.name: array.data_type for array in model.graph.initializer}
    assert onnx.TensorProto.INT8 in weights.values()
    video = str(halves / "left" / "00.mp4")
    assert main(["predict", str(out), video, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)[0]["top"]) == 2
    for source, message in ((out, "is int8 already"), (tmp_path, "no vidjax checkpoint there")):
        assert main(["quantize", str(source), str(tmp_path / "again")]) == 1
        assert message in capsys.readouterr().err and not (tmp_path / "again").exists()


def test_a_run_for_tensorrt_is_symmetric_and_layers_stay_float(run, tmp_path, capsys):
    out = tmp_path / "int8"
    options = ["--for", "tensorrt", "--clips", "8", "--tolerance", "1e-9"]
    assert main(["quantize", str(run), str(out), *options]) == 0
    capsys.readouterr()
    info = read_info(out)
    assert info.int8["symmetric"] and not info.int8["reduce_range"] and len(info.int8["kept_float"]) == 2
    report = json.loads((out / "quantize.json").read_text())
    assert info.int8["kept_float"] == list(report["layers"])[:2], "those that cost most"
    model = onnx.load(out / "model.onnx")
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert nodes and all(not arrays[node.input[2]].any() for node in nodes)
    assert {arrays[node.input[2]].dtype for node in nodes} == {np.dtype(np.int8)}
