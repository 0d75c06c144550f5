"""Cascades at every threshold, against asking one video after the other."""

import numpy as np
import pytest

from vidjax.evaluation.cascade import answering, by_clips, choose, curve, held_out, measured, surest

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
    accuracy, (everything, asked) = held_out([scores(1.0), scores(3.0)], TARGETS, 0.01)
    assert 0.7 < accuracy <= 1 and 0 < asked < everything == 1


def test_two_stages_have_the_cheapest_place_of_their_curve():
    fast, slow = scores(1.0), scores(3.0)
    found = curve(fast, slow, TARGETS)
    for drop in (0.0, 0.02, 1.0):
        place = found.place(drop)
        (threshold,) = choose([fast, slow], TARGETS, drop)
        assert threshold == found.thresholds[place]
        accuracy, reached = measured([fast, slow], TARGETS, np.array([threshold]))
        assert accuracy == pytest.approx(found.accuracy[place]) and reached[1] == pytest.approx(found.asked[place])


def test_several_stages_lose_no_more_than_is_accepted_and_cost_less_for_more():
    stages, asked = [scores(s) for s in (1.0, 2.0, 3.0)], []
    whole = (stages[-1].argmax(axis=1) == TARGETS).mean()
    for drop in (0.0, 0.02, 0.1, 1.0):
        thresholds = choose(stages, TARGETS, drop)
        accuracy, reached = measured(stages, TARGETS, thresholds)
        assert accuracy >= whole - drop - 1e-9 and np.all(np.diff(reached) <= 0) and reached[0] == 1
        asked.append(reached[1:].sum())
        by_hand = [next((i for i in (0, 1) if stages[i][n].max() >= thresholds[i]), 2) for n in range(len(TARGETS))]
        assert answering(stages, thresholds).tolist() == by_hand
    assert asked == sorted(asked, reverse=True) and asked[-1] == 0 < asked[0]


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
