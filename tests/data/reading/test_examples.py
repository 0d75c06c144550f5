"""Examples of a network: its inputs by name, and networks whose inputs no file gives."""

import chex
import numpy as np
import pytest

from tests.videos import numbered_frames, write_video
from vidjax.config import ConfigError, DataConfig, Spec
from vidjax.data.reading.clips import ClipReader
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.reading.features import FeatureReader
from vidjax.data.records import Record
from vidjax.errors import UserError
from vidjax.inputs import AudioInput, FeatureInput, TextInput, VideoInput

VIDEO = VideoInput(4, 2, size=16, resize=(20,))


@pytest.mark.parametrize("name", ["video", "clip"])
def test_clips_are_called_as_the_network_calls_them(tmp_path, name):
    spec, config = Spec("toy", {name: VIDEO}), DataConfig()
    record = Record(str(write_video(tmp_path / "v.mp4", numbered_frames(20))))
    reader, alone = ExampleReader(spec, config), ClipReader(spec, config)
    inputs, views = reader.train(record, np.random.default_rng(0), mirror=True)
    video, same = alone.train(record, np.random.default_rng(0), mirror=True)
    chex.assert_trees_all_equal(inputs, {name: video})
    np.testing.assert_array_equal(views.affine, same.affine)
    reader.layout().check({"inputs": inputs}, lead=1)
    inputs, views = reader.evaluate(record, 2, 3)
    chex.assert_trees_all_equal(inputs, {name: alone.evaluate(record, 2, 3)[0]})
    assert len(views) == 6
    reader.layout().check({"inputs": inputs}, lead=1)


def test_parts_of_a_video_are_read(tmp_path):
    path = str(write_video(tmp_path / "v.mp4", numbered_frames(30)))
    reader = ExampleReader(Spec("toy", {"video": VIDEO}), DataConfig())
    for seed in range(5):
        _, views = reader.train(Record(path, start=1.0, end=2.0), np.random.default_rng(seed))
        assert views.frames.min() >= 10 and views.frames.max() < 20
    _, views = reader.evaluate(Record(path, start=1.0, end=2.0), 3, 1)
    assert views.frames.min() == 10 and views.frames.max() == 19


def test_features_are_read_from_their_files(tmp_path):
    np.save(tmp_path / "v.npy", np.arange(24, dtype=np.float32).reshape(8, 3))
    reader = ExampleReader(Spec("toy", {"features": FeatureInput(2, 3)}), DataConfig())
    assert isinstance(reader.reader, FeatureReader)
    inputs, views = reader.evaluate(Record(str(tmp_path / "v.npy")), 1, 1)
    assert inputs["features"][0, :, 0].tolist() == [6, 18] and len(views) == 1
    inputs, _ = reader.train(Record(str(tmp_path / "v.npy")), np.random.default_rng(0))
    reader.layout().check({"inputs": inputs}, lead=1)


@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        ({"words": TextInput(8, 100)}, r"words \(text\)"),
        ({"near": VIDEO, "far": VIDEO}, r"near \(video\), far \(video\)"),
        ({"near": AudioInput("slaney", 1.0), "far": AudioInput("slaney", 1.0)}, r"near \(audio\), far \(audio\)"),
        ({}, "nothing"),
    ],
)
def test_other_inputs_are_refused_by_name(inputs, given):
    message = f"toy takes {given}; files can be read only for one input of kind video or features or sequence or audio"
    with pytest.raises(ConfigError, match=message):
        ExampleReader(Spec("toy", inputs), DataConfig())


def test_a_network_of_other_channels_is_refused():
    with pytest.raises(UserError, match="depth takes 1 channels"):
        ExampleReader(Spec.of_video("depth", 4, mean=(0.5,), std=(0.5,)), DataConfig())
