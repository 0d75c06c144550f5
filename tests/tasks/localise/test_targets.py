"""Segments of a clip: on its grid, cut where the clip is, and padded."""

import numpy as np
import pytest

from vidjax.config import DataConfig, FeaturesConfig
from vidjax.data.reading.features import SequenceReader
from vidjax.data.records import LabelSpace, Record, Segments
from vidjax.data.text import DataError
from vidjax.data.views import whole
from vidjax.inputs import SequenceInput
from vidjax.tasks.localise.targets import SegmentTargets

LABELS = LabelSpace(("a", "b", "c"))
SPANS = ((10.0, 20.0, 1), (15.0, 60.0, 2), (70.0, 71.0, 0))


@pytest.fixture
def record(tmp_path):
    np.save(tmp_path / "v.npy", np.zeros((100, 3), np.float32))
    return Record(str(tmp_path / "v.npy"), Segments(SPANS))


def reader(steps):
    config = DataConfig(features=FeaturesConfig(stride=2.0, window=4.0, fps=2.0))
    return SequenceReader(SequenceInput(steps, 3), config)


def test_a_whole_video_gives_the_annotation_back(record):
    _, views = reader(100).evaluate(record, 1, 1)
    found = SegmentTargets(LABELS, 5).of(record, views)
    assert found["segments"].shape == (1, 5, 2) and found["classes"].shape == (1, 5)
    # A step is a second; the first stands for the middle of its window, 1 s.
    np.testing.assert_allclose(found["segments"][0, :3], np.array([span[:2] for span in SPANS]) - 1)
    np.testing.assert_array_equal(found["classes"][0], [1, 2, 0, 0, 0])
    assert (found["segments"][0, 3:] == 0).all()


def test_a_clip_cuts_segments_or_leaves_them_out(record):
    _, views = reader(20).evaluate(record, 1, 1)
    found = SegmentTargets(LABELS, 5, keep=0.3).of(record, views)
    assert views.frames[:, 0].tolist() == [0, 14, 28, 42, 56, 70, 84]
    # Steps 14 … 33, seconds 15 … 34, and a second of reach on both sides: 14 … 35.
    first, second = found["segments"][1, :2]
    np.testing.assert_allclose(first, [-1, 5])
    np.testing.assert_allclose(second, [0, 21])
    np.testing.assert_array_equal(found["classes"][1, :2], [1, 2])
    # Seconds 0 … 21: less than a third of the long one.
    assert (found["segments"][0, :, 1] > 0).sum() == 1 and found["classes"][0, 0] == 1
    assert (found["segments"][6] == 0).all()


def test_views_without_times_have_seconds(record):
    found = SegmentTargets(LABELS, 3).of(record, whole(2))
    np.testing.assert_allclose(found["segments"][1], [span[:2] for span in SPANS])


def test_more_segments_than_fit_are_an_error(record):
    with pytest.raises(DataError, match=r"has 3 segments, more than config.task.localise.max_segments = 2; raise it"):
        SegmentTargets(LABELS, 2).of(record, whole(1))
