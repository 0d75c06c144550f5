"""Long videos of moving shapes: their actions, and what makes them hard."""

import csv
import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.data.listing.segment_files import SegmentFile
from vidjax.data.moving_shapes import STEPS
from vidjax.data.synthetic_long import long_plan, long_video, write_long


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.integers(90, 600))
def test_plans(seed, frames):
    spans = long_plan(np.random.default_rng(seed), frames)
    assert spans and spans[0][0] >= 8 and spans[-1][1] <= frames - 8
    for (_, after, label), (first, _, other) in itertools.pairwise(spans):
        assert first >= after and (first > after or label != other)
    assert all(last - first >= 14 and label in STEPS for first, last, label in spans)


def test_many_actions_follow_without_a_pause():
    spans = [long_plan(np.random.default_rng(seed), 300) for seed in range(40)]
    pairs = [(a[1], b[0]) for plan in spans for a, b in itertools.pairwise(plan)]
    assert 0.35 < np.mean([end == first for end, first in pairs]) < 0.55


def test_the_same_shapes_stay_in_view():
    frames, spans = long_video(np.random.default_rng(5), num_frames=120, size=32)
    assert frames.shape == (120, 32, 32, 3) and frames.dtype == np.uint8 and len(spans) >= 1
    # The colours of the shapes, most of them never hidden, are in every frame.
    colours = [set(map(tuple, frame[::2, ::2].reshape(-1, 3).tolist())) for frame in frames[::20]]
    assert len(set.intersection(*colours)) > 1
    again, _ = long_video(np.random.default_rng(5), num_frames=120, size=32)
    np.testing.assert_array_equal(frames, again)


def test_files_and_their_segments(tmp_path):
    folder = write_long(tmp_path / "long", num_train=2, num_eval=1, num_frames=120, size=16)
    rows = SegmentFile("train", str(folder / "train.csv")).rows()
    assert [row.path for row in rows] == ["train/train_0000.mp4", "train/train_0001.mp4"]
    assert all((folder / row.path).exists() for row in rows)
    for i, row in enumerate(rows):
        _, spans = long_video(np.random.default_rng((0, 0, i)), num_frames=120, size=16)
        assert row.annotation.spans == tuple((first / 10, last / 10, label) for first, last, label in spans)
        assert row.annotation.duration == 12 and row.annotation.fps == 10
    with open(folder / "val.csv") as file:
        assert next(csv.reader(file)) == ["path", "start", "end", "label", "duration", "fps"]
