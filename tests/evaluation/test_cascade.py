"""Cascades at every threshold, against asking one video after the other."""

import numpy as np
import pytest

from vidjax.evaluation.cascade import by_clips, curve, held_out, surest

RNG = np.random.default_rng(0)
TARGETS = RNG.integers(0, 4, 300)


def scores(sharpness):
    logits = RNG.standard_normal((300, 4)) + sharpness * np.eye(4)[TARGETS]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_every_threshold_is_as_if_each_video_were_asked():
    fast, slow = scores(1.0), scores(3.0)
    found = curve(fast, slow, TARGETS)
    for threshold, asked, accuracy in zip(found.thresholds, found.asked, found.accuracy, strict=True):
        unsure = fast.max(axis=1) < threshold
        answers = np.where(unsure, slow.argmax(axis=1), fast.argmax(axis=1))
        assert asked == pytest.approx(unsure.mean()) and accuracy == pytest.approx((answers == TARGETS).mean())
    assert (found.asked[0], found.asked[-1]) == (0, 1) and np.all(np.diff(found.thresholds) > 0)


def test_the_cheapest_place_within_the_drop():
    found = curve(scores(1.0), scores(3.0), TARGETS)
    for drop in (0.0, 0.01, 0.1):
        place = found.place(drop)
        assert found.accuracy[place] >= found.accuracy[-1] - drop - 1e-9
        assert np.all(found.accuracy[:place] < found.accuracy[-1] - drop)
    assert found.place(1.0) == 0


def test_equal_confidences_are_on_one_side():
    even = np.full((4, 2), 0.5)
    found = curve(even, even, np.array([0, 0, 1, 1]))
    assert found.asked.tolist() == [0, 1] and found.accuracy.tolist() == [0.5, 0.5]


def test_held_out_figures_lie_between_the_networks():
    accuracy, asked = held_out(scores(1.0), scores(3.0), TARGETS, 0.01)
    assert 0.7 < accuracy <= 1 and 0 < asked < 1


def test_the_surest_clips_come_first_and_all_of_them_give_the_mean():
    clips = np.array([[0.5, 0.5], [0.1, 0.9], [0.8, 0.2], [0.9, 0.1]])
    assert surest(clips, 1) == [1] and surest(clips, 3) == [1, 2, 3] and surest(clips, 9) == [0, 1, 2, 3]
    # The dear network is right on the second clip of the first video alone, where the cheap one is sure.
    fast = np.stack([clips, clips[::-1]])
    slow = np.tile([0.4, 0.6], (2, 4, 1))
    slow[0, [0, 2, 3]] = [0.9, 0.1]
    chosen, spread = by_clips(fast, slow, np.array([1, 1]))
    assert chosen[0] == 1.0 and chosen[-1] == spread[-1] == 0.5 and spread[0] == 0.5
    highest, _ = by_clips(fast, slow, np.array([0, 1]), "max")
    assert highest.tolist() == [0.5, 1.0, 1.0, 1.0]
