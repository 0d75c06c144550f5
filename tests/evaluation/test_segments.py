"""Scores of segments and proposals: to 12 digits those of the published code, and equal to plain loops."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.drawn import EVALUATORS, draw_segments, interval_iou, loop_ap, loop_hits
from vidjax.config.choices import PROPOSAL_PROTOCOLS, PROTOCOLS, TIOUS
from vidjax.errors import UserError
from vidjax.evaluation import segments
from vidjax.evaluation.paired_files import read_segments
from vidjax.evaluation.segments import SegmentArrays, proposal_recall, segment_ap, segment_recall

EXACT = {"rtol": 1e-12, "atol": 1e-14}
NAMES = {"official": "official", "actionformer": "deduplicated", "opentad": "opentad"}


@pytest.fixture(scope="module")
def golden():
    return json.loads((EVALUATORS / "temporal_expected.json").read_text())


def files(protocol="official", **options):
    places = EVALUATORS / "temporal_predictions.json", EVALUATORS / "temporal_gt.json"
    return read_segments(*places, "validation", protocol, **options)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("thresholds", ["activitynet", "thumos"])
def test_average_precision_is_that_of_the_published_code(golden, protocol, thresholds):
    pair, expected = files(protocol), golden[f"{NAMES[protocol]}_{thresholds}"]
    found = segment_ap(pair.truth, pair.predictions, TIOUS[thresholds], protocol)
    assert found.protocol == protocol
    np.testing.assert_allclose(found.mean, expected["mAP"], **EXACT)
    assert found.mAP == pytest.approx(expected["average_mAP"], rel=1e-12)
    if "ap" in expected:
        assert pair.labels == tuple(expected["classes"])
        np.testing.assert_allclose(found.ap.T, expected["ap"], **EXACT)
    if "recall_at_1x_5x" in expected:
        recall = segment_recall(pair.truth, pair.predictions, TIOUS[thresholds], protocol=protocol)
        np.testing.assert_allclose(recall, expected["recall_at_1x_5x"], **EXACT)


def test_recall_of_proposals_is_that_of_the_published_code(golden):
    pair, expected = files(labelled=False), golden["proposals"]
    found = proposal_recall(pair.truth, pair.predictions, protocol="mmaction2")
    np.testing.assert_allclose(found.average, expected["average_recall"], **EXACT)
    assert 100 * found.area == pytest.approx(expected["auc"], rel=1e-12)
    assert [found.at(n) for n in (1, 5, 10, 100)] == [expected[f"AR_at_{n}"] for n in (1, 5, 10, 100)]
    # Of the same definition in double precision, one overlap of exactly a threshold counts.
    exact = proposal_recall(pair.truth, pair.predictions)
    assert 0 < exact.area - found.area < 0.003


def test_named_thresholds_are_numpys():
    for name, ends in {"thumos": (0.3, 0.7, 5), "activitynet": (0.5, 0.95, 10), "epic": (0.1, 0.5, 5)}.items():
        assert TIOUS[name] == tuple(np.linspace(*ends).tolist())
    assert tuple(segments.PROTOCOLS) == PROTOCOLS and tuple(segments.PROPOSAL_PROTOCOLS) == PROPOSAL_PROTOCOLS


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_average_precision_equals_a_loop(seed, ties):
    truth, found = draw_segments(seed, ties=ties)
    result = segment_ap(truth, found, (0.3, 0.5), num_classes=3)
    for level, row in zip((0.3, 0.5), result.ap, strict=True):
        for k in range(3):
            own = np.flatnonzero(found.label == k)
            turns = own[np.argsort(found.score[own])[::-1]].tolist()
            mine = [j for j in range(len(truth)) if truth.label[j] == k]
            of = {
                i: [
                    (j, interval_iou((found.start[i], found.end[i]), (truth.start[j], truth.end[j])))
                    for j in mine
                    if truth.video[j] == found.video[i]
                ]
                for i in turns
            }
            hits = loop_hits(turns, of, level, best_only=False, later_first=True)
            np.testing.assert_allclose(row[k], loop_ap([hits[i] for i in turns], len(mine)), rtol=1e-13)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(PROTOCOLS))
def test_the_order_of_the_rows_does_not_matter(seed, protocol):
    truth, found = draw_segments(seed)
    order = np.random.default_rng(seed).permutation(len(found))
    one, two = (segment_ap(truth, each, (0.3, 0.5), protocol) for each in (found, found.rows(order)))
    np.testing.assert_array_equal(one.ap, two.ap)
    recalls = [proposal_recall(truth, each, (0.3, 0.5)).recall for each in (found, found.rows(order))]
    np.testing.assert_array_equal(*recalls)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_recalls_equal_loops(seed):
    truth, found = draw_segments(seed)

    def overlap(i, j):
        return interval_iou((found.start[i], found.end[i]), (truth.start[j], truth.end[j]))

    best = sorted(range(len(found)), key=lambda i: -found.score[i])
    recall = segment_recall(truth, found, (0.4,), (1, 2), "official", num_classes=2)
    for column, multiple in enumerate((1, 2)):
        shares = []
        for k in set(truth.label.tolist()):
            mine, hits = [j for j in range(len(truth)) if truth.label[j] == k], 0
            for j in mine:
                video = truth.video[j]
                size = sum(truth.video[i] == video for i in mine)
                top = [i for i in best if found.video[i] == video and found.label[i] == k][: multiple * size]
                hits += any(overlap(i, j) >= 0.4 for i in top)
            shares.append(hits / len(mine))
        assert recall[0, column] == pytest.approx(np.mean(shares))
    # With as many proposals per video as there are, the last point of the curve has all of them.
    videos = set(truth.video.tolist())
    curve = proposal_recall(truth, found, (0.4,), most=len(found) / len(videos))
    everything = [
        any(overlap(i, j) >= 0.4 for i in best if found.video[i] == truth.video[j]) for j in range(len(truth))
    ]
    assert curve.recall[0, -1] == pytest.approx(np.mean(everything))


def test_duplicates_are_those_of_the_protocol():
    """Equal within 1 ms to one that stays; a chain of small steps is not one duplicate after the other."""
    start = np.array([0.0, 0.0009, 0.0018, 0.0, 5.0, 7.0])
    end = np.array([1.0, 1.0, 1.0, 1.0, 5.0005, 7.0])
    truth = SegmentArrays(np.array([0, 0, 0, 1, 0, 0]), start, end, np.zeros(6, int))
    found = SegmentArrays(np.array([0]), np.array([0.0]), np.array([1.0]), np.array([0]), np.array([1.0]))
    counts = {name: int(segment_ap(truth, found, (0.5,), name).num_truths[0]) for name in PROTOCOLS}
    assert counts == {"official": 6, "actionformer": 3, "opentad": 4}


def test_classes_that_are_never_predicted_count_and_those_without_truth_do_not():
    truth = SegmentArrays(np.array([0, 0]), np.zeros(2), np.ones(2), np.array([0, 1]))
    found = SegmentArrays(np.zeros(2, int), np.zeros(2), np.ones(2), np.array([0, 2]), np.array([0.5, 0.9]))
    result = segment_ap(truth, found, (0.5,))
    np.testing.assert_array_equal(result.ap, [[1.0, 0.0, np.nan]])
    assert result.mAP == 0.5
    nothing = found.rows(np.zeros(2, bool))
    assert segment_ap(truth, nothing, (0.5,)).mAP == 0


def test_segments_without_length_overlap_nothing():
    point = SegmentArrays(np.array([0]), np.ones(1), np.ones(1), np.array([0]), np.ones(1))
    assert segment_ap(point, point, (0.5,)).mAP == 0


def test_what_cannot_be_scored_is_an_error():
    truth, found = draw_segments(0)
    with pytest.raises(UserError, match="finite score"):
        segment_ap(truth, truth)
    with pytest.raises(UserError, match="protocol 'mmaction2': must be one of official, actionformer, opentad"):
        segment_ap(truth, found, protocol="mmaction2")
    with pytest.raises(UserError, match="there are 8 and 0"):
        proposal_recall(truth, found.rows(np.zeros(len(found), bool)))
    elsewhere = SegmentArrays(found.video + 99, found.start, found.end, found.label, found.score)
    with pytest.raises(UserError, match="0 of 30 are in videos with truth"):
        proposal_recall(truth, elsewhere)
