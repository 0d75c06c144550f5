"""Frame mAP: to 12 digits that of the published code, equal to a plain loop, and what does not count."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.drawn import EVALUATORS, loop_ap, loop_hits
from vidjax.config.choices import BOX_PROTOCOLS
from vidjax.errors import UserError
from vidjax.evaluation import boxes
from vidjax.evaluation.boxes import BoxArrays, box_iou, frame_ap, frame_times
from vidjax.evaluation.paired_boxes import read_boxes

PREFIX = "PascalBoxes_PerformanceByCategory/AP@0.5IOU/"


@pytest.mark.parametrize("case", ["official", "slowfast", "slowfast_excluded", "mmaction2", "mmaction2_excluded"])
def test_average_precision_is_that_of_the_published_code(case):
    expected = json.loads((EVALUATORS / "ava_expected.json").read_text())[case]
    protocol, excluded = case.partition("_")[0], "_" in case
    places = [EVALUATORS / f"ava_{name}" for name in ("predictions.csv", "gt.csv", "action_list.pbtxt", "excluded.csv")]
    pair = read_boxes(*places[: 3 + excluded], protocol=protocol)
    numbers = {"num_classes": len(pair.labels), "named": pair.named, "excluded": pair.excluded}
    found = frame_ap(pair.truth, pair.predictions, 0.5, protocol, **numbers)
    assert found.protocol == protocol and found.left_out["without an area"] >= 2
    overall = expected.get("overall", expected.get("PascalBoxes_Precision/mAP@0.5IOU"))
    assert found.mAP == pytest.approx(overall, rel=1e-12)
    for name, value in zip(pair.labels, found.ap, strict=True):
        if PREFIX + name in expected:
            assert value == pytest.approx(expected[PREFIX + name] or float("nan"), rel=1e-12, nan_ok=True) or (
                value == expected[PREFIX + name] == 0
            )


def draw(seed, ties=False, frames=3, classes=2, truths=8, detections=30):
    """Boxes on a coarse grid, all with an area."""
    rng = np.random.default_rng(seed)

    def columns(count):
        corner = rng.integers(0, 5, (count, 2))
        box = np.concatenate([corner, corner + rng.integers(1, 4, (count, 2))], axis=1) / 8
        return rng.integers(0, frames, count), box, rng.integers(0, classes, count)

    scores = rng.integers(0, 4, detections) / 4 if ties else rng.permutation(detections) / detections
    return BoxArrays(*columns(truths)), BoxArrays(*columns(detections), scores)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(BOX_PROTOCOLS))
def test_average_precision_equals_a_loop(seed, protocol):
    truth, found = draw(seed)
    result = frame_ap(truth, found, 0.4, protocol, num_classes=2)
    for k in range(2):
        mine = np.flatnonzero(truth.label == k).tolist()
        rows = np.flatnonzero(found.label == k).tolist()
        if protocol != "slowfast":
            there = truth.frame
            rows = [i for i in rows if found.frame[i] in there]
        of = {i: [(j, box_iou(found.box[i], truth.box[j])) for j in mine if truth.frame[j] == found.frame[i]]
              for i in rows}  # fmt: skip
        by_score = sorted(rows, key=lambda i: -found.score[i])
        hits = loop_hits(rows if protocol == "slowfast" else by_score, of, 0.4, best_only=True, later_first=False)
        expected = loop_ap([hits[i] for i in by_score], len(mine))
        if protocol == "mmaction2" and not rows:
            expected = float("nan")
        np.testing.assert_allclose(result.ap[k], expected, rtol=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["official", "mmaction2"]))
def test_the_order_of_the_rows_does_not_matter(seed, protocol):
    truth, found = draw(seed)
    order = np.random.default_rng(seed).permutation(len(found))
    one, two = (frame_ap(truth, each, 0.4, protocol) for each in (found, found.rows(order)))
    np.testing.assert_array_equal(one.ap, two.ap)


def test_fifty_detections_of_a_frame_count_by_the_official_rules():
    truth = BoxArrays(np.zeros(1, int), np.array([[0, 0, 1, 1]]), np.zeros(1, int))
    right = BoxArrays(np.zeros(1, int), np.array([[0, 0, 1, 1]]), np.zeros(1, int), np.array([0.1]))
    wrong = np.tile([0, 0, 0.1, 0.1], (50, 1))
    found = BoxArrays(
        np.zeros(51, int), np.concatenate([right.box, wrong]), np.zeros(51, int), np.linspace(0.1, 0.9, 51)
    )
    results = {name: frame_ap(truth, found, protocol=name) for name in BOX_PROTOCOLS}
    assert results["official"].mAP == 0 and results["slowfast"].mAP == pytest.approx(1 / 51)
    assert results["official"].left_out == {"after the best 50 of a frame": 1} and not results["mmaction2"].left_out


def test_frames_without_truth():
    box = np.array([[0, 0, 1, 1]])
    truth = BoxArrays(np.array([0]), box, np.zeros(1, int))
    found = BoxArrays(np.arange(3), box.repeat(3, 0), np.zeros(3, int), np.array([0.1, 0.5, 0.9]))
    named = np.array([1])
    found_ap = {name: frame_ap(truth, found, protocol=name, named=named).mAP for name in BOX_PROTOCOLS}
    assert found_ap == {"official": 1 / 2, "slowfast": 1 / 3, "mmaction2": 1.0}


def test_classes_without_predictions_or_truth():
    box = np.array([[0, 0, 1, 1]])
    truth = BoxArrays(np.zeros(2, int), box.repeat(2, 0), np.array([0, 1]))
    found = BoxArrays(np.zeros(3, int), box.repeat(3, 0), np.array([0, 2, 7]), np.ones(3))
    official, other = (frame_ap(truth, found, protocol=name, num_classes=3) for name in ("official", "mmaction2"))
    np.testing.assert_array_equal(official.ap, [1, 0, np.nan])
    np.testing.assert_array_equal(other.ap, [1, np.nan, np.nan])
    assert official.left_out == {"of other classes": 1}


def test_what_cannot_be_scored_is_an_error():
    truth, found = draw(0)
    with pytest.raises(UserError, match="finite score"):
        frame_ap(truth, truth)
    with pytest.raises(UserError, match="8 true boxes are inverted"):
        frame_ap(BoxArrays(truth.frame, truth.box[:, [2, 1, 0, 3]], truth.label), found)
    with pytest.raises(UserError, match="protocol 'coco'"):
        frame_ap(truth, found, protocol="coco")
    assert tuple(boxes.PROTOCOLS) == BOX_PROTOCOLS


def test_times_that_are_one_frame():
    assert frame_times(np.array([902.0, 902.25]), "official").tolist() == [902.0, 902.25]
    assert frame_times(np.array([902.0, 902.25]), "slowfast").tolist() == [902.0, 902.0]


def test_iou_of_boxes():
    a = np.array([[0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]], float)
    b = np.array([[1, 1, 3, 3], [2, 2, 3, 3], [0, 0, 0, 0]], float)
    np.testing.assert_allclose(box_iou(a, b), [1 / 7, 0, 0])
