"""`vidjax stream`: events of a source as it plays, with what they took, from a causal network."""

import re

import pytest

import vidjax
from tests.apps.test_embed import save, scene
from tests.videos import write_video
from vidjax.__main__ import main
from vidjax.config import ClipConfig, Config, DataConfig, ModelConfig
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace
from vidjax.training.checkpoints import Meta, save_model


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("stream") / "a.mp4", scene(0, 30), fps=15))


def test_a_network_of_whole_clips_is_refused(video, tmp_path, capsys):
    assert main(["stream", save(tmp_path / "run"), video]) == 1
    assert "sees whole clips, not a stream" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_causal_network_answers_frame_by_frame(video, tmp_path, capsys):
    data = DataConfig(clip=ClipConfig(num_frames=4, size=16, resize=(16,)))
    config = Config(model=ModelConfig(name="cnn_gru_tiny", compute_dtype="float32"), data=data)
    spec = resolve_spec(vidjax.get_spec("cnn_gru_tiny"), data)
    model = vidjax.create_model("cnn_gru_tiny", num_classes=3)
    run = str(save_model(tmp_path / "run", model, Meta(config, spec, LabelSpace(("a", "b", "c")))))
    out = tmp_path / "out.mp4"
    assert main(["stream", run, video, "--all-frames", "--least", "0.2", "--out", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{30 // spec.video.stride} frames answered, 0 dropped" in said and said.count(" begins ") > 0
    assert re.search(r"from a frame to its answer [\d.]+ ms, 99 % within", said) and said.endswith(str(out))
    with vidjax.VideoReader(out) as reader:
        assert len(reader) == 30 // spec.video.stride and reader.height >= 256
    followed = ["localise", run, video, "--out", str(tmp_path / "found"), "--follow", "--least", "0.2"]
    assert main(followed) == 0
    before = " ".join(capsys.readouterr().out.split())
    events = re.compile(r"\b([abc]) (begins|ends)")
    assert events.findall(said) == events.findall(before) != []
    assert main(["stream", run, video, "--seconds", "0.5"]) == 0
    assert " frames answered, " in capsys.readouterr().out
