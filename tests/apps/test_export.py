"""`vidjax export`: other runtimes give the answers of the run, without vidjax, and `predict` takes them like it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vidjax
from tests.export.runs import write_run
from tests.models.abstract import filled
from tests.peers import needs
from vidjax.__main__ import main
from vidjax.config import Config, ModelConfig
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import LabelSpace, Record
from vidjax.errors import UserError
from vidjax.evaluation.calibration import Calibration, write_calibration
from vidjax.evaluation.metrics import softmax
from vidjax.export import parity
from vidjax.export.folder import read_info
from vidjax.export.program import TrainedNetwork
from vidjax.models.registry import abstract_model
from vidjax.training.checkpoints import Meta, save_model

for package in ("jax2onnx", "onnx", "onnxruntime"):
    needs(package)

# What somebody else writes, with the runtime alone.
ONNX = """
import sys, json, numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
names = [value.name for value in session.get_outputs()]
answers = dict(zip(names, session.run(names, {"video": numpy.load("clips.npy")})))
"""
STABLEHLO = """
import sys, json, pathlib, jax.export, safetensors.numpy, numpy
exported = jax.export.deserialize(bytearray(pathlib.Path("cpu.stablehlo").read_bytes()))
answers = exported.call(safetensors.numpy.load_file("weights.safetensors"), {"video": numpy.load("clips.npy")})
"""
TELL = """
assert not {"vidjax", "flax"} & sys.modules.keys()
assert "jax" not in sys.modules or "onnxruntime" not in sys.modules
print(json.dumps({name: numpy.asarray(value).tolist() for name, value in answers.items()}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, halves):
    folder = write_run(tmp_path_factory.mktemp("runs") / "halves", halves)
    write_calibration(folder, Calibration(2.0, 0, 12))
    return folder


@pytest.fixture(scope="module")
def clips(run):
    """Three clips, as read."""
    meta = TrainedNetwork.load(run).meta
    reader = ExampleReader(meta.spec, meta.config.data)
    videos = sorted(Path(meta.config.data.train).rglob("*.mp4"))[:3]
    return np.concatenate([reader.evaluate(Record(str(video)), 1, 1)[0]["video"] for video in videos])


def stranger(code, folder, clips):
    np.save(folder / "clips.npy", clips)
    command = [sys.executable, "-I", "-c", code + TELL]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return {name: np.array(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "code"),
    [
        pytest.param(["--format", "onnx"], ONNX, id="onnx"),
        pytest.param(["--platforms", "cpu,tpu"], STABLEHLO, id="hlo"),
    ],
)
def test_strangers_get_the_runs_answers(run, halves, clips, tmp_path, capsys, options, code):
    out = tmp_path / "out"
    assert main(["export", str(run), str(out), *options]) == 0
    assert str(out) in capsys.readouterr().out.splitlines()[-1]
    wanted = TrainedNetwork.load(run).reference()({"video": clips})
    found = stranger(code, out, clips)
    assert found.keys() == wanted.keys() == {"logits", "probabilities"}
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["probabilities"], softmax(found["logits"] / 2), atol=1e-5)
    info = read_info(out)
    assert (
        info.temperature == 2 and max(info.parity.values()) < 1e-5 and info.inputs["video"] == ((4, 16, 16, 3), "uint8")
    )
    # The same pipeline as the run's: clips, crops, temperature, names.
    video = str(halves / "left" / "00.mp4")
    (run_says,), (export_says,) = (_predicted(folder, video, capsys) for folder in (run, out))
    assert [row["class"] for row in run_says["top"]] == [row["class"] for row in export_says["top"]]
    for own, other in zip(run_says["clips"], export_says["clips"], strict=True):
        assert (own["start"], own["end"]) == (other["start"], other["end"])
        assert [row["score"] for row in other["top"]] == pytest.approx([row["score"] for row in own["top"]], abs=1e-5)
    predictor = vidjax.Predictor(out)
    with pytest.raises(UserError, match="give classes alone"):
        predictor.features(video)
    with pytest.raises(UserError, match="was exported from update 0"):
        vidjax.Predictor(out, step=3)


def _predicted(folder, video, capsys):
    assert main(["predict", str(folder), video, "--json", "--num-crops", "3"]) == 0
    return json.loads(capsys.readouterr().out)


def test_other_answers_are_refused_and_leave_nothing(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(parity, "relative_error", lambda found, wanted: 2e-4)
    models = tmp_path / "models"
    options = ["--format", "onnx", "--for", "tensorrt", "--triton", str(models)]
    assert main(["export", str(run), str(tmp_path / "out"), *options]) == 1
    assert "relative error 2.0e-04, 2.0e-04, 2.0e-04 for 1, 3, 8 clips" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert main(["export", str(run), str(tmp_path / "out"), *options]) == 0
    assert (models / "out" / "1" / "model.onnx").stat().st_size > 1000
    onnx = needs("onnx")
    kernels = {array.name: array.dims for array in onnx.load(tmp_path / "out" / "model.onnx").graph.initializer}
    nodes = [node for node in onnx.load(tmp_path / "out" / "model.onnx").graph.node if node.op_type == "Conv"]
    assert nodes and all(len(kernels[node.input[1]]) == 5 for node in nodes), "TensorRT has 3D convolutions"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--for", "tensorrt"], "--for: is for --format onnx"),
        (["--triton", "models"], "--triton: is for --format onnx"),
        (["--format", "onnx", "--platforms", "cpu"], "--platforms: is for --format stablehlo"),
        (["--platforms", "cpu,npu"], "--platforms npu: choose from cpu, cuda, tpu"),
        (["--config=motion"], "the config is the checkpoint's"),
        (["--config.data.train=nowhere.csv"], "nowhere.csv"),
    ],
)
def test_options_that_do_not_fit(run, tmp_path, capsys, options, message):
    assert main(["export", str(run), str(tmp_path / "out"), *options]) == 1
    assert message in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_network_without_an_answer_is_refused(tmp_path):
    name = "videomae_tiny_pretrain"
    spec = vidjax.get_spec(name)
    config = Config(model=ModelConfig(name=name))
    folder = save_model(tmp_path / "run", filled(abstract_model(name)), Meta(config, spec, LabelSpace(())))
    with pytest.raises(UserError, match="trained to reconstruct, for which nothing is exported"):
        TrainedNetwork.load(folder)
