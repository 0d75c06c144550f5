"""`vidjax explain`, on a small network and a generated video."""

import dataclasses
import json

import numpy as np
import pytest

import vidjax
from tests.test_predictor import CONFIG, NAMES, SPEC
from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace
from vidjax.training.checkpoints import Meta, save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = vidjax.create_model("conv3d_tiny", num_classes=3)
    return str(save_model(tmp_path_factory.mktemp("models") / "toy", model, Meta(CONFIG, SPEC, LabelSpace(NAMES))))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("videos") / "a [1].mp4", numbered_frames(30)))


@pytest.mark.parametrize("method", ["hirescam", "occlusion"])
def test_a_video_a_plot_and_figures(folder, video, tmp_path, capsys, method):
    assert main(["explain", folder, video, "--out", str(tmp_path / "why"), "--method", method, "--blocks", "2"]) == 0
    told = json.loads((tmp_path / "why" / "explanation.json").read_text())
    prediction = vidjax.Predictor(folder, num_crops=1)(video)
    assert told["class"] == prediction.classes[0].name and told["score"] == pytest.approx(prediction.classes[0].score)
    assert [len(clip["times"]) for clip in told["clips"]] == [4, 4]
    assert list(told["order"]) == ["as it is", "backwards", "shuffled", "frozen"]
    assert all(0 <= value <= 1 for value in told["order"].values())
    with vidjax.VideoReader(tmp_path / "why" / "explanation.mp4") as reader:
        assert len(reader) == 8 and (reader.height, reader.width) == (256, 512)
        assert np.ptp(reader.read(range(8))) > 50
    assert (tmp_path / "why" / "explanation.png").stat().st_size > 20_000
    assert f"results in {tmp_path / 'why'}" in capsys.readouterr().out


@pytest.mark.slow
def test_flow_is_shown_in_colours(video, tmp_path):
    data = dataclasses.replace(CONFIG.data, flow="dis_ultrafast")
    config = dataclasses.replace(CONFIG, data=data, model=dataclasses.replace(CONFIG.model, input="flow"))
    spec = resolve_spec(vidjax.get_spec("conv3d_tiny"), data, "flow")
    model = vidjax.create_model("conv3d_tiny", num_classes=3, input="flow")
    folder = save_model(tmp_path / "run", model, Meta(config, spec, LabelSpace(NAMES)))
    assert main(["explain", str(folder), video, "--out", str(tmp_path / "why"), "--num-clips", "1"]) == 0
    with vidjax.VideoReader(tmp_path / "why" / "explanation.mp4") as reader:
        assert len(reader) == 4


def test_an_unknown_class_and_a_broken_file(folder, video, tmp_path, capsys):
    assert main(["explain", folder, video, "--out", str(tmp_path), "--class", "sideways"]) == 1
    assert "'sideways' is no class of this network; it has up, down, still" in capsys.readouterr().err
    (tmp_path / "x.mp4").write_bytes(b"no video")
    assert main(["explain", folder, str(tmp_path / "x.mp4"), "--out", str(tmp_path)]) == 1
    assert "x.mp4" in capsys.readouterr().err


def test_a_layer_of_covered_blocks_is_refused(folder, video, tmp_path, capsys):
    assert main(["explain", folder, video, "--out", str(tmp_path), "--method", "occlusion", "--layer", "norms.1"]) == 1
    assert "layer = 'norms.1': covered blocks are of the clip, not of a layer" in capsys.readouterr().err


def test_a_rollout_needs_a_transformer(folder, video, tmp_path, capsys):
    assert main(["explain", folder, video, "--out", str(tmp_path), "--method", "rollout"]) == 1
    assert "is no Transformer over places of the clip, so that there is no rollout" in capsys.readouterr().err
    assert main(["explain", folder, video, "--out", str(tmp_path), "--method", "rollout", "--layer", "norms.1"]) == 1
    assert "the rollout is of all attention, not of a layer" in capsys.readouterr().err


@pytest.mark.slow
def test_the_rollout_of_a_transformer(video, tmp_path):
    spec = resolve_spec(vidjax.get_spec("timesformer_tiny"), CONFIG.data)
    model = vidjax.create_model("timesformer_tiny", num_classes=3, num_frames=4, size=16, patch=8)
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, name="timesformer_tiny"))
    save_model(tmp_path / "run", model, Meta(config, spec, LabelSpace(NAMES)))
    command = ["explain", str(tmp_path / "run"), video, "--out", str(tmp_path / "why"), "--method", "rollout"]
    assert main([*command, "--num-clips", "1"]) == 0
    told = json.loads((tmp_path / "why" / "explanation.json").read_text())
    assert told["method"] == "rollout" and told["layer"].endswith("attentions")
