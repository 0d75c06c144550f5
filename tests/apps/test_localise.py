"""`vidjax localise`: segments of a classifier and of a network that localises, and events of a stream."""

import dataclasses
import json

import pytest

import vidjax
from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.config import ClipConfig, Config, DataConfig, FeaturesConfig, ModelConfig, SamplingConfig
from vidjax.config.spec import resolve_spec
from vidjax.data.records import LabelSpace
from vidjax.models.fingerprint import weights_fingerprint
from vidjax.training.checkpoints import Meta, save_model

DATA = DataConfig(clip=ClipConfig(num_frames=4, size=16, resize=(20,)))
NAMES = LabelSpace(("a", "b", "c"))


def saved(folder, name, data=DATA, **kwargs):
    config = Config(model=ModelConfig(name=name, compute_dtype="float32", kwargs=kwargs), data=data)
    model = vidjax.create_model(name, num_classes=3, **kwargs)
    spec = resolve_spec(vidjax.get_spec(name), data)
    return str(save_model(folder, model, Meta(config, spec, NAMES))), model


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models") / "conv", "conv3d_tiny")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "long.mp4", numbered_frames(32))


def test_a_classifier_gives_segments_and_pictures(classifier, video, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["localise", classifier[0], str(video), "--out", str(out), "--stride", "2", "--least", "0.01"]) == 0
    assert f"{out}/segments.json" in capsys.readouterr().out.splitlines()[-1]
    document = json.loads((out / "segments.json").read_text())
    assert document["external_data"]["fingerprint"] == weights_fingerprint(classifier[1])
    for entry in document["results"]["long"]:
        start, end = entry["segment"]
        assert 0 <= start < end <= 3.2 and entry["label"] in NAMES.names
    assert (out / "long.png").exists() and (out / "long.srt").exists() and not (out / "long.mp4").exists()


def test_a_network_that_localises_reads_the_features_of_another(classifier, video, tmp_path, capsys):
    width = classifier[1].widths.pooled
    features = FeaturesConfig(width=width, stride=2.0, window=8.0, model=weights_fingerprint(classifier[1]))
    run, _ = saved(tmp_path / "steps", "localise_linear_tiny", DataConfig(features=features), width=width)
    command = ["localise", run, str(video), "--out", str(tmp_path / "out"), "--features-run"]
    assert main([*command, classifier[0]]) == 0
    assert (tmp_path / "out" / "features" / "long.npz").exists()
    assert list(json.loads((tmp_path / "out" / "segments.json").read_text())["results"]) == ["long"]
    other = dataclasses.replace(features, model="0123456789abcdef")
    run, _ = saved(tmp_path / "other", "localise_linear_tiny", DataConfig(features=other), width=width)
    command[1] = run
    assert main([*command, classifier[0]]) == 1
    assert "features of another network" in capsys.readouterr().err


def test_what_does_not_fit_is_said(classifier, video, tmp_path, capsys):
    command = ["localise", classifier[0], str(video), "--out", str(tmp_path)]
    assert main([*command, "--features-run", classifier[0]]) == 1
    assert "leave out --features-run" in capsys.readouterr().err
    assert main([*command, "--follow"]) == 1
    assert "sees whole clips, not a stream; --follow takes networks such as cnn_lstm_*" in capsys.readouterr().err


@pytest.mark.slow
def test_a_causal_network_follows_a_stream(video, tmp_path, capsys):
    run, _ = saved(tmp_path / "gru", "cnn_gru_tiny", DataConfig(clip=ClipConfig(num_frames=4, size=16, resize=(16,))))
    assert main(["localise", run, str(video), "--out", str(tmp_path / "out"), "--follow", "--least", "0.2"]) == 0
    said = capsys.readouterr().out
    assert "an answer is about the last 0.4 to 0.8 s" in said and "ms from a frame to its answer on average" in said
    entries = json.loads((tmp_path / "out" / "segments.json").read_text())["results"]["long"]
    assert len(entries) == said.count(" begins ") == said.count(" ends, after ") > 0


@pytest.mark.slow
def test_a_network_that_finds_segments_in_clips(video, tmp_path, capsys):
    sampling = SamplingConfig(eval="sliding_window", hop=10, short_video="hold")
    data = DataConfig(clip=ClipConfig(num_frames=16, size=16, resize=(16,)), sampling=sampling)
    run, model = saved(tmp_path / "ada", "adatad_tiny", data)
    command = ["localise", run, str(video), "--out", str(tmp_path / "out")]
    assert main([*command, "--least", "0.001"]) == 0
    document = json.loads((tmp_path / "out" / "segments.json").read_text())
    assert document["external_data"] == {"model": "adatad_tiny", "fingerprint": weights_fingerprint(model)}
    assert document["results"]["long"]
    for options, message in (
        (["--stride", "2"], "sees clips as in training"),
        (["--smoothing", "none"], "--smoothing is for the scores of a classifier"),
        (["--follow"], "--follow is for a causal classifier"),
        (["--features-run", run], "reads videos itself"),
    ):
        assert main([*command, *options]) == 1
        assert message in capsys.readouterr().err
