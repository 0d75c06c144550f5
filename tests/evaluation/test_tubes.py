"""Video mAP against the definitions written as plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.drawn import loop_ap, loop_hits
from vidjax.config.choices import TUBE_PROTOCOLS
from vidjax.errors import UserError
from vidjax.evaluation import tubes
from vidjax.evaluation.boxes import box_iou
from vidjax.evaluation.tubes import TubeArrays, tube_iou, video_ap


def draw(seed, count, scored, videos=2, classes=2):
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 6, count)
    frame = np.concatenate([rng.integers(1, 5) + np.arange(n) for n in length])
    corner = rng.integers(0, 3, (len(frame), 2)).astype(float)
    box = np.concatenate([corner, corner + rng.integers(2, 6, (len(frame), 2))], axis=1)
    score = rng.permutation(count) / count if scored else None
    return TubeArrays(rng.integers(0, videos, count), rng.integers(0, classes, count), length, frame, box, score)


def loop_iou(a, i, b, j, unit):
    """Temporal IoU × mean box IoU, frame by frame."""
    first, second = (
        dict(zip(t.frame[o : o + n].tolist(), t.box[o : o + n], strict=True))
        for t, o, n in ((a, a.begin[i], a.length[i]), (b, b.begin[j], b.length[j]))
    )
    together = min(max(first), max(second)) - max(min(first), min(second)) + unit
    total = max(max(first), max(second)) - min(min(first), min(second)) + unit
    shared = first.keys() & second.keys()
    if together <= 0 or not shared:
        return 0.0
    wider = np.array([0, 0, unit, unit])
    return together / total * np.mean([box_iou(first[f] + wider, second[f] + wider) for f in sorted(shared)])


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(TUBE_PROTOCOLS))
def test_video_ap_equals_a_loop(seed, protocol):
    truth, found = draw(seed, 6, False), draw(seed + 1, 15, True)
    unit, thresholds = int(protocol == "act"), (0.15, 0.4)
    rows = np.repeat(np.arange(15), 6), np.tile(np.arange(6), 15)
    overlaps = tube_iou(found, truth, *rows, unit).reshape(15, 6)
    expected = [[loop_iou(found, i, truth, j, unit) for j in range(6)] for i in range(15)]
    np.testing.assert_allclose(overlaps, expected, rtol=1e-12)
    result = video_ap(truth, found, thresholds, protocol, num_classes=2)
    assert result.protocol == protocol
    for level, row in zip(thresholds, result.ap, strict=True):
        for k in range(2):
            turns = [i for i in np.argsort(-found.score).tolist() if found.label[i] == k]
            mine = np.flatnonzero(truth.label == k).tolist()
            of = {i: [(j, overlaps[i, j]) for j in mine if truth.video[j] == found.video[i]] for i in turns}
            hits = loop_hits(turns, of, level, best_only=protocol == "official", later_first=False)
            hits = [hits[i] for i in turns]
            area = loop_ap(hits, len(mine))
            if protocol == "act" and mine:
                precision = [1.0, *(sum(hits[: n + 1]) / (n + 1) for n in range(len(hits)))]
                recall = [0.0, *(sum(hits[: n + 1]) / len(mine) for n in range(len(hits)))]
                area = np.trapezoid(precision, recall)
            np.testing.assert_allclose(row[k], area, rtol=1e-12)


def test_half_of_the_time_at_half_of_the_place():
    """Frames 0…10 and 5…15, boxes that overlap by a third."""
    frame = np.concatenate([np.arange(11), np.arange(5, 16)])
    box = np.repeat([[0.0, 0, 2, 1], [1, 0, 3, 1]], 11, axis=0)
    both = TubeArrays(np.zeros(2, int), np.zeros(2, int), np.array([11, 11]), frame, box)
    assert tube_iou(both, both, np.array([0]), np.array([1]))[0] == pytest.approx(5 / 15 / 3)


def test_a_taken_tube():
    """The second prediction takes the next best by the rules of ACT, and is false by the official ones."""
    box = np.array([[0.0, 0, 100, 100]])

    def many(starts, ends, score=None):
        frame = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
        length, count = np.subtract(ends, starts), len(starts)
        return TubeArrays(np.zeros(count, int), np.zeros(count, int), length, frame, box.repeat(len(frame), 0), score)

    truth, found = many([0, 2], [20, 22]), many([0, 0], [20, 20], np.array([0.9, 0.8]))
    ap = {name: float(video_ap(truth, found, (0.5,), name).ap[0, 0]) for name in TUBE_PROTOCOLS}
    assert ap == {"official": 0.5, "act": 1.0} and tuple(tubes.PROTOCOLS) == TUBE_PROTOCOLS


def test_tubes_without_scores_are_an_error():
    truth = draw(0, 3, False)
    with pytest.raises(UserError, match="finite score"):
        video_ap(truth, truth)
    nothing = TubeArrays(*(np.zeros(0, int),) * 4, np.zeros((0, 4)), np.zeros(0))
    assert video_ap(truth, nothing, (0.5,)).mAP == 0
