"""All features of a video: training clips with an action, parts of long videos, and their times."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.config import DataConfig, FeaturesConfig
from vidjax.data.reading.features import Parts, SequenceReader, grid_of, inside, resize_linearly
from vidjax.data.records import Record, Segments
from vidjax.inputs import SequenceInput


@pytest.fixture
def record(tmp_path):
    def make(count, spans=()):
        np.save(tmp_path / f"{count}.npy", np.repeat(np.arange(count, dtype=np.float32)[:, None], 3, axis=1))
        return Record(str(tmp_path / f"{count}.npy"), Segments(tuple(spans)))

    return make


def reader(steps=16, resized=False, views=1, **features):
    config = DataConfig(features=FeaturesConfig(stride=4.0, window=16.0, fps=4.0, **features))
    config.sampling.views = views
    return SequenceReader(SequenceInput(steps, 3, resized), config)


def test_a_video_that_fits_is_read_whole(record):
    for vectors, views in (reader().train(record(12), np.random.default_rng(0)), reader().evaluate(record(12), 1, 1)):
        assert vectors.shape == (1, 12, 3) and vectors.dtype == np.float32
        np.testing.assert_array_equal(vectors[0, :, 0], np.arange(12))
        grid, steps = grid_of(views, 0)
        assert steps == 12 and grid.first == 0 and grid.reach == 2
        np.testing.assert_allclose(views.times[0], np.arange(12) + 2.0)


def test_a_long_video_is_cut_where_an_action_is(record):
    spans = [(60.0, 66.0, 0)]
    for seed in range(12):
        vectors, views = reader().train(record(200, spans), np.random.default_rng(seed))
        first = int(vectors[0, 0, 0])
        np.testing.assert_array_equal(vectors[0, :, 0], first + np.arange(16))
        grid, steps = grid_of(views, 0)
        assert grid.first == first and steps == 16 and grid.reach == pytest.approx(2)
        place = grid.place([60.0, 66.0])[None]
        assert inside(place, -2, 18)[0] >= 0.5
        np.testing.assert_allclose(place[0], np.array([58.0, 64.0]) - first)


def test_without_actions_any_window_will_do(record):
    starts = {reader().train(record(200), np.random.default_rng(seed))[0][0, 0, 0] for seed in range(8)}
    assert len(starts) > 4


def test_short_videos_are_cut_to_a_drawn_share(record):
    lengths = {reader(crop=(0.5, 1.0)).train(record(12), np.random.default_rng(s))[0].shape[1] for s in range(40)}
    assert lengths == set(range(6, 13))


def test_views_of_different_lengths_are_padded(record):
    vectors, views = reader(crop=(0.5, 1.0), views=4).train(record(12), np.random.default_rng(1))
    known = ~np.isnan(vectors[..., 0])
    assert known.any(axis=1).all() and not known.all()
    for view in range(4):
        assert grid_of(views, view)[1] == known[view].sum()
        np.testing.assert_array_equal(vectors[view, known[view], 0], views.frames[view, known[view]])


@settings(max_examples=20, deadline=None)
@given(steps=st.integers(2, 40), count=st.integers(1, 300), place=st.floats(0, 1))
def test_every_place_belongs_to_one_part(steps, count, place):
    parts = Parts(steps)
    starts = parts.starts(count)
    assert starts[0] == 0 and starts[-1] + steps >= count and (len(starts) == 1 or starts[-1] < count)
    owners = []
    for number, first in enumerate(starts):
        low, high = parts.owned(number, len(starts))
        if low <= place * count - first < high:
            owners.append(number)
            # It lies within the part, or beyond an end of the video.
            assert number in (0, len(starts) - 1) or 0 <= place * count - first <= steps
    assert len(owners) == 1


def test_parts_of_a_long_video_overlap(record):
    vectors, views = reader().evaluate(record(40), 1, 1)
    np.testing.assert_array_equal(vectors[:, 0, 0], [0, 12, 24])
    np.testing.assert_array_equal(vectors[1, :, 0], np.arange(12, 28))
    assert [grid_of(views, v)[0].first for v in range(3)] == [0, 12, 24]
    assert not np.isnan(vectors).any()


def test_resized_features_have_their_own_grid(record):
    vectors, views = reader(8, resized=True).evaluate(record(20), 1, 1)
    assert vectors.shape == (1, 8, 3)
    grid, _ = grid_of(views, 0)
    stride = (19 * 4 + 16) / 8
    np.testing.assert_allclose(grid.seconds([0, 5]), [(0.5 * stride) / 4, (5.5 * stride) / 4])


def test_linear_resizing_by_definition():
    vectors = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    for steps in (3, 7, 20):
        at = np.clip((np.arange(steps) + 0.5) * 7 / steps - 0.5, 0, 6)
        for column in range(2):
            wanted = np.interp(at, np.arange(7), vectors[:, column])
            np.testing.assert_allclose(resize_linearly(vectors, steps)[:, column], wanted, atol=1e-5)
