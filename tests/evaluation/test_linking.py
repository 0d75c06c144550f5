"""Linking: every box in exactly one tube, no dependence on the order of boxes, perfect tracks recovered, gaps, ties."""

import chex
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.data.listing.tube_files import read_tubes
from vidjax.errors import UserError
from vidjax.evaluation.boxes import box_iou
from vidjax.evaluation.linking import Tube, link_classes, link_tracks, make_tubes, write_tubes


def drawn(seed, count=24, frames=6, classes=3):
    """Rows of boxes in random order: clusters, so that many overlap, and some twice."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 3, (count, 2)) / 4 + rng.integers(0, 3, (count, 2)) / 20
    box = np.concatenate([corner, corner + rng.integers(3, 6, (count, 2)) / 10], axis=1)
    return rng.integers(0, frames, count), box, rng.integers(1, 10, count) / 10, rng.integers(0, classes, count)


def sets(numbers, *columns):
    """The tubes as sets of their boxes, whatever their numbers."""
    rows = [tuple(map(float, np.hstack(row))) for row in zip(*columns, strict=True)]
    return sorted(sorted(row for row, n in zip(rows, numbers, strict=True) if n == number) for number in set(numbers))


@given(st.integers(0, 10**6), st.integers(0, 40), st.integers(0, 2), st.sampled_from([0.1, 0.3, 0.6]))
@settings(max_examples=20)
def test_every_box_is_in_one_tube(seed, count, gap, iou):
    frame, box, score, label = drawn(seed, count)
    for numbers, kinds in (
        (link_tracks(frame, box, iou=iou, gap=gap), np.zeros(count, int)),
        (link_classes(frame, box, score, label, iou=iou, gap=gap), label),
    ):
        chex.assert_shape(numbers, (count,))
        assert set(numbers.tolist()) == set(range(len(set(numbers.tolist()))))  # 0, 1, … without holes
        tubes = make_tubes(numbers, frame, frame / 2, box, score, kinds)
        assert sum(len(tube.frames) for tube in tubes) == count
        for tube in tubes:
            assert (np.diff(tube.frames) >= 1).all() and (np.diff(tube.frames) <= gap + 1).all()
            overlaps = box_iou(tube.boxes[:-1], tube.boxes[1:])
            assert (overlaps >= iou).all()
            assert (kinds[numbers == tube.number] == tube.label).all()


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_the_order_of_boxes_changes_nothing(seed):
    frame, box, score, label = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(frame))
    moved = [array[order] for array in (frame, box, score, label)]
    for link in (lambda f, b, s, k: link_tracks(f, b), link_classes):
        assert sets(link(frame, box, score, label), frame, box) == sets(link(*moved), *moved[:2])


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 8), st.booleans())
@settings(max_examples=20)
def test_perfect_tracks_are_recovered(seed, tracks, frames, missing):
    """Boxes in rows that never meet, each moving by less than a third of its width, one of them seen with a gap."""
    rng = np.random.default_rng(seed)
    t, k = np.meshgrid(np.arange(frames), np.arange(tracks), indexing="ij")
    left = 0.1 + 0.02 * t * rng.choice([-1, 1], tracks)
    box = np.stack([left, k / tracks + 0.01, left + 0.2, k / tracks + 0.15], axis=-1)
    keep = np.ones(t.shape, bool)
    if missing and frames > 2:
        keep[frames // 2, rng.integers(tracks)] = False
    order = rng.permutation(keep.sum())
    frame, truth, box = (array[keep][order] for array in (t, k, box))
    score = rng.uniform(0.1, 1, len(frame))
    for numbers in (link_tracks(frame, box), link_classes(frame, box, score, np.full(len(frame), 7))):
        assert len(set(numbers.tolist())) == tracks
        assert len(set(zip(numbers.tolist(), truth.tolist(), strict=True))) == tracks


def test_the_greatest_sum_wins_where_greed_would_not():
    """Two boxes move on by half a step: the nearest pair first would leave a track without a box."""
    before = [[0.0, 0, 1.0, 1], [0.4, 0, 1.4, 1]]
    after = [[0.35, 0, 1.35, 1], [0.8, 0, 1.8, 1]]
    frame = np.array([0, 0, 1, 1])
    assert link_tracks(frame, np.array(before + after), iou=0.3).tolist() == [0, 1, 0, 1]
    # By class, the tube with the better score chooses first.
    numbers = link_classes(frame, np.array(before + after), np.array([0.5, 0.9, 0.5, 0.5]), np.zeros(4, int))
    assert numbers[2] == numbers[1] and numbers[3] != numbers[0]


def test_gaps_and_short_tubes():
    frame, box = np.array([0, 1, 4, 5, 9]), np.tile([0.1, 0.1, 0.5, 0.5], (5, 1))
    assert link_tracks(frame, box, gap=2).tolist() == [0, 0, 0, 0, 1]
    assert link_tracks(frame, box, gap=1).tolist() == [0, 0, 1, 1, 2]
    tubes = make_tubes(link_tracks(frame, box, gap=2), frame, frame * 2.0, box, np.arange(5) / 10, min_length=2)
    assert [tube.number for tube in tubes] == [0] and tubes[0].score == pytest.approx(0.15) and tubes[0].label == -1


def test_boxes_between_key_frames():
    tube = Tube(0, np.array([2, 4]), np.array([1.0, 2.0]), np.array([[0, 0, 0.5, 0.5], [0.2, 0, 0.7, 0.5]]), np.ones(2))
    np.testing.assert_allclose(tube.at(1.5), [0.1, 0, 0.6, 0.5])
    assert tube.at(0.9) is None and tube.at(2.1) is None
    np.testing.assert_allclose(tube.at(2.1, hold=0.2), tube.boxes[1])
    dense = tube.every_frame(np.arange(20) / 4)
    assert dense.frames.tolist() == [4, 5, 6, 7, 8] and dense.times.tolist() == [1, 1.25, 1.5, 1.75, 2]
    np.testing.assert_allclose(dense.boxes[2], [0.1, 0, 0.6, 0.5])
    still = Tube(0, np.array([2]), np.array([1.1]), np.array([[0, 0, 0.5, 0.5]]), np.ones(1))
    assert still.every_frame(np.arange(20) / 4).frames.tolist() == [4]


def test_written_tubes_are_read_by_the_scorer(tmp_path):
    frame, box, score, label = drawn(3)
    tubes = make_tubes(link_classes(frame, box, score, label), frame, frame / 2, box, score, label)
    write_tubes(tmp_path / "t.json", {"a": tubes, "b": []}, ["走る", "sit", "run"])
    read = read_tubes(tmp_path / "t.json", scored=True)
    assert len(read) == len(tubes)
    for ours, theirs in zip(tubes, read, strict=True):
        assert (theirs.video, theirs.label) == ("a", ["走る", "sit", "run"][ours.label])
        np.testing.assert_array_equal(theirs.frames, ours.frames)
        np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-6)
        assert theirs.score == pytest.approx(ours.score, abs=1e-6)
    write_tubes(tmp_path / "p.json", {"a": make_tubes(link_tracks(frame, box), frame, frame / 2, box, score)},
                sizes={"a": (100, 200)})  # fmt: skip
    pixels = read_tubes(tmp_path / "p.json")
    assert {tube.label for tube in pixels} == {""}
    assert max(tube.boxes[:, 2].max() for tube in pixels) == pytest.approx(200 * box[:, 2].max(), abs=1e-3)


def test_what_cannot_be_linked():
    with pytest.raises(UserError, match="one length, not 2, 1"):
        link_tracks(np.zeros(2, int), np.zeros((1, 4)))
    with pytest.raises(UserError, match="iou = 0"):
        link_tracks(np.zeros(1, int), np.zeros((1, 4)), iou=0)
    with pytest.raises(UserError, match="gap = -1"):
        link_classes(np.zeros(1, int), np.zeros((1, 4)), np.zeros(1), np.zeros(1, int), gap=-1)
