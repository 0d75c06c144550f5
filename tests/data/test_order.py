"""Mixtures and balanced classes: exact shares, every video in its turn, by the place alone."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.data.order import Order, make_strata
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet


def video_set(labels, sources=(), num_classes=None):
    """One video per entry of `labels`: an int, or a tuple of them."""
    tuples = [label if isinstance(label, tuple) else (label,) for label in labels]
    count = num_classes or 1 + max((k for t in tuples for k in t), default=0)
    records = tuple(Record(f"{i}.mp4", Labels(t)) for i, t in enumerate(tuples))
    multi = any(len(t) != 1 for t in tuples)
    return VideoSet(records, LabelSpace(tuple("abcdefghijkl"[:count]), multi), sources=tuple(sources))


def draw(order, length, epochs):
    return np.array([order[i] for i in range(length * epochs)]).reshape(epochs, length)


sets = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=40)
@given(sets, st.sampled_from(["", "class", "sqrt"]), st.lists(st.floats(0.05, 9), min_size=3, max_size=3),
       st.integers(0, 2**32 - 1))  # fmt: skip
def test_shares_hold_from_the_start_and_rounds_leave_no_video_out(members, balance, weights, seed):
    members = sorted(members, key=lambda m: m[1])
    videos = video_set([c for c, _ in members], [s for _, s in members], num_classes=5)
    strata = make_strata(videos, weights, balance)
    assert sum(s.share for s in strata) == pytest.approx(1)
    np.testing.assert_array_equal(np.sort(np.concatenate([s.videos for s in strata])), np.arange(len(videos)))
    order, length, epochs = Order(strata, len(videos), seed), len(videos), 7
    drawn = draw(order, length, epochs)
    for end in range(1, epochs + 1):
        counts = np.bincount(drawn[:end].ravel(), minlength=length)
        for stratum in strata:
            mine = counts[stratum.videos]
            assert abs(mine.sum() - stratum.share * length * end) < 2
            assert mine.max() - mine.min() <= 1  # none comes again before all have come


@settings(deadline=None, max_examples=40)
@given(sets, st.lists(st.integers(0, 500), min_size=1, max_size=20), st.integers(0, 99))
def test_the_place_alone_decides(members, places, seed):
    videos = video_set([c for c, _ in members])
    whole = Order(make_strata(videos, balance="class"), len(videos), seed)
    row = [whole[i] for i in range(501)]
    jumps = pickle.loads(pickle.dumps(Order(make_strata(videos, balance="class"), len(videos), seed)))
    assert [jumps[i] for i in places] == [row[i] for i in places]


def test_sources_give_clips_in_proportion_to_their_weights():
    videos = video_set([0] * 90 + [1] * 10, sources=[0] * 90 + [1] * 10)
    strata = make_strata(videos, (3, 1))
    assert [s.share for s in strata] == [0.75, 0.25]
    drawn = draw(Order(strata, 100, 0), 100, 4)
    assert [(row < 90).sum() for row in drawn] == [75] * 4
    assert np.bincount(drawn.ravel())[90:].tolist() == [10] * 10
    assert len({tuple(row) for row in drawn}) == 4


def test_a_source_left_empty_gives_its_share_to_the_others():
    videos = video_set([0, 1, 0, 1], sources=[0, 0, 2, 2])
    assert [s.share for s in make_strata(videos, (1, 5, 3))] == [0.25, 0.75]


def test_classes_are_balanced_exactly():
    videos = video_set([0] * 60 + [1] * 30 + [2] * 10)
    labels = np.array([r.labels[0] for r in videos.records])
    for row in draw(Order(make_strata(videos, balance="class"), 99, 3), 99, 3):
        assert np.bincount(labels[row]).tolist() == [33, 33, 33]
    shares = [s.share for s in make_strata(video_set([0] * 16 + [1] * 4 + [2]), balance="sqrt")]
    assert shares == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_balance_holds_within_each_source():
    videos = video_set([0, 0, 0, 1, 1, 2], sources=[0, 0, 0, 0, 1, 1])
    strata = make_strata(videos, (2, 1), "class")
    assert [s.videos.tolist() for s in strata] == [[0, 1, 2], [3], [4], [5]]
    assert [s.share for s in strata] == pytest.approx([1 / 3, 1 / 3, 1 / 6, 1 / 6])


def test_several_labels_count_for_each_class_and_no_label_is_a_class():
    videos = video_set([(0, 1), (0,), (0,), (1,), ()], num_classes=3)
    strata = make_strata(videos, balance="class")
    assert [s.videos.tolist() for s in strata] == [[0, 1, 2], [0, 3], [4]]
    counts = np.bincount(draw(Order(strata, 5, 0), 5, 18).ravel())  # 30 draws of each stratum
    assert counts.tolist() == [10 + 15, 10, 10, 15, 30]


def test_substitutes_are_of_the_same_stratum():
    videos = video_set([0, 1, 0, 1, 1], sources=[0, 0, 0, 1, 1])
    order = Order(make_strata(videos, (1, 1), "class"), 5, 0)
    assert [order.peers(i).tolist() for i in range(5)] == [[0, 2], [1], [0, 2], [3, 4], [3, 4]]


def test_seeds_give_other_orders():
    videos = video_set([0, 1] * 20)
    one, two = (draw(Order(make_strata(videos, balance="class"), 40, seed), 40, 1) for seed in (1, 2))
    assert not np.array_equal(one, two)
