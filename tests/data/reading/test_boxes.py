"""Clips of key frames with their boxes: read around the moment of the boxes, in the pixels of the view."""

import dataclasses

import numpy as np
import pytest

from tests.settings import data_config
from tests.videos import numbered_frames, write_video
from vidjax.config import ConfigError, Spec
from vidjax.data.reading.clips import frame_at
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.records import Boxes, Labels, Record
from vidjax.inputs import BoxInput, FeatureInput

SPEC = Spec.of_video("toy", num_frames=4, stride=2, size=16, resize=(16,))
SPEC = dataclasses.replace(SPEC, inputs={**SPEC.inputs, "boxes": BoxInput(3)})
BOX = (0.25, 0.25, 0.75, 1.0)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("boxes") / "v.mp4", numbered_frames(20)))


@pytest.mark.parametrize(("at", "first"), [(1.0, 6), (0.96, 6), (0.0, -4), (1.9, 15)])
def test_clips_are_around_the_moment_of_the_boxes(path, at, first):
    """Whatever the rule; beyond the ends the first or last frame is repeated."""
    reader = ExampleReader(SPEC, data_config(sampling_eval="multi_clip"))
    record = Record(path, Boxes(at, (BOX,), ((0,),)), at=at)
    expected = np.clip(first + 2 * np.arange(4), 0, 19)
    for inputs, views in (reader.evaluate(record, 1, 1), reader.train(record, np.random.default_rng(0))):
        np.testing.assert_array_equal(views.frames[0], expected)
        assert inputs["video"].shape == (1, 4, 16, 16, 3) and list(inputs) == ["video", "boxes"]
    _, views = reader.evaluate(Record(path, Labels((0,)), at=at), 1, 1)
    assert views.frames[0, 0] == 6  # labels are of the whole video: the clip is in its middle


def test_boxes_follow_crops_and_mirroring(path):
    record = Record(path, Boxes(1.0, (BOX,), ((0,),)), at=1.0)
    reader = ExampleReader(SPEC, data_config())
    inputs, views = reader.evaluate(record, 1, 3)  # 16×24: left, centre, right
    shift = np.array([0.0, -4.0, -8.0])[:, None]
    expected = np.clip(np.concatenate([6 + shift, shift * 0 + 4, 18 + shift, shift * 0 + 16], axis=1), 0, 16)
    np.testing.assert_allclose(inputs["boxes"][:, 0], expected, atol=1e-4)
    for seed in range(6):
        inputs, views = reader.train(record, np.random.default_rng(seed))
        width = inputs["boxes"][0, 0, 2] - inputs["boxes"][0, 0, 0]
        assert 0 < width <= 16
        if views.mirrored[0]:
            break
    assert views.mirrored[0]


def test_an_example_is_collated_to_the_most_boxes(path):
    reader = ExampleReader(SPEC, data_config())
    records = [Record(path, Boxes(1.0, (BOX,) * n, ((0,),) * n), at=1.0) for n in (0, 1, 4)]
    batch = reader.layout().collate([{"inputs": reader.evaluate(record, 1, 1)[0]} for record in records])
    assert batch["inputs"]["boxes"].shape == (3, 1, 3, 4)
    np.testing.assert_array_equal(batch["inputs"]["boxes"].any(axis=-1).sum(axis=-1)[:, 0], [0, 1, 3])


def test_one_input_draws_the_views():
    spec = dataclasses.replace(SPEC, inputs={**SPEC.inputs, "features": FeatureInput(4, 8)})
    with pytest.raises(ConfigError, match=r"one input of kind video or features.*, and boxes.* beside it"):
        ExampleReader(spec, data_config())


def test_the_nearest_frame():
    times = np.array([0.0, 0.1, 0.2, 0.35])
    assert [frame_at(times, t) for t in (-1, 0.0, 0.04, 0.05, 0.06, 0.3, 9)] == [0, 0, 0, 0, 1, 3, 3]
