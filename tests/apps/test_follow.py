"""Events of a stream: when classes begin and end, and the two states that answer in turn."""

import numpy as np
import pytest

from vidjax.apps.follow import Events


def said(scores, threshold=0.5):
    events = Events(threshold)
    found = [event for t, row in enumerate(scores) for event in events.add(float(t), np.asarray(row))]
    found += events.finish(float(len(scores)))
    return [(event.seconds, event.label, event.begins) for event in found], found


def test_a_class_begins_at_the_threshold_and_ends_below_half_of_it():
    events, found = said([[0.1, 0], [0.6, 0], [0.3, 0], [0.9, 0], [0.2, 0], [0.1, 0]])
    assert events == [(1.0, 0, True), (4.0, 0, False)]
    assert found[1].since == 1 and found[1].score == pytest.approx(0.9)


def test_classes_overlap_and_end_with_the_video():
    events, _ = said([[0.6, 0.1], [0.6, 0.7], [0.1, 0.8]])
    assert events == [(0.0, 0, True), (1.0, 1, True), (2.0, 0, False), (3.0, 1, False)]


def test_nothing_happens_below_the_threshold():
    assert said([[0.4], [0.49], [0.2]])[0] == []
