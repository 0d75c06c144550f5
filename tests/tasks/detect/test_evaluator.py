"""Frame mAP of boxes: crops joined by what each shows, AVA's files, and their scores by the scorer of files."""

import csv
import dataclasses
from importlib.resources import files

import numpy as np
import pytest

from vidjax.config import DataConfig, DetectConfig
from vidjax.data.listing.class_lists import read_class_names, read_class_numbers
from vidjax.data.listing.load import load_eval_set
from vidjax.data.records import Boxes, LabelSpace, Record, VideoSet
from vidjax.data.text import DataError
from vidjax.evaluation.boxes import BoxArrays, frame_ap
from vidjax.evaluation.evaluator import Rows
from vidjax.models import get_spec
from vidjax.tasks.detect.ava_files import class_numbers, seconds_text, video_names
from vidjax.tasks.detect.evaluator import BoxEvaluator

SPEC = get_spec("slow_detect_tiny")
LABELS = LabelSpace(("a", "b", "c"), several=True)
BOX = ((0.1, 0.1, 0.5, 0.9), (0.4, 0.0, 0.9, 0.6), (0.0, 0.5, 0.3, 1.0))


def records():
    boxes = (Boxes(902.0, BOX, ((0,), (1, 2), (2,)), (7, 8, 9)), Boxes(3.5, BOX[:1], ((1,),)), Boxes(4.0, (), ()))
    return tuple(Record(f"videos/{i}.mp4", each, at=each.at) for i, each in enumerate(boxes))


def evaluator(settings=None, spec=SPEC, proposals=None):
    videos = records()
    if proposals is not None:
        asked = dataclasses.replace(videos[0].annotation, proposals=proposals)
        videos = (dataclasses.replace(videos[0], annotation=asked), *videos[1:])
    return BoxEvaluator(VideoSet(videos, LABELS), spec, settings or DetectConfig())


def rows(*index, view=0, views=1):
    return Rows(np.array(index), view, np.full(len(index), views))


def outputs(seed, count=3):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (count, 8, 3)).astype(np.float32), np.ones((count, 8), np.float32)


def test_figures_are_those_of_the_scorer_on_the_same_boxes():
    made, (logits, area) = evaluator(), outputs(0)
    made.add(rows(0, 1, 2), (logits, area))
    shares = 1 / (1 + np.exp(-logits.astype(np.float64)))
    frame, box, label, score = zip(
        *[(0, BOX[r], k, shares[0, r, k]) for r in range(3) for k in range(3)],
        *[(1, BOX[0], k, shares[1, 0, k]) for k in range(3)],
        strict=True,
    )
    found = BoxArrays(np.array(frame), np.array(box), np.array(label), np.array(score))
    truth = BoxArrays(np.array([0, 0, 0, 0, 1]), np.array([BOX[i] for i in (0, 1, 1, 2, 0)]), np.array([0, 1, 2, 2, 1]))
    expected = frame_ap(truth, found, num_classes=3)
    assert made.summary()["boxes"]["mAP"] == pytest.approx(expected.mAP, rel=1e-6)
    best = logits.argmax(axis=-1)
    right = [best[0, 0] == 0, best[0, 1] in (1, 2), best[0, 2] == 2, best[1, 0] == 1]
    assert made.summary()["boxes"]["accuracy"] == np.mean(right)
    details = made.details()
    assert details["num_frames"] == 3 and details["num_boxes"] == 4 and details["boxes_beyond_most"] == 0
    assert details["per_class"]["c"]["num_boxes"] == 2 and details["protocol"] == {"name": "official", "iou": 0.5}


def test_crops_are_joined_by_the_area_that_they_show():
    made = evaluator()
    (first, area), (second, other) = outputs(1, 1), outputs(2, 1)
    area[0, :3], other[0, :3] = (30, 0, 0), (10, 5, 0)
    made.add(rows(0, view=1, views=2), (second, other))
    made.add(rows(0, view=0, views=2), (first, area))
    (scores,) = made.detections.values()
    one, two = (1 / (1 + np.exp(-x[0].astype(np.float64))) for x in (first, second))
    np.testing.assert_allclose(scores[0], 0.75 * one[0] + 0.25 * two[0], rtol=1e-6)
    np.testing.assert_allclose(scores[1], two[1], rtol=1e-6)
    assert np.isnan(scores[2]).all()  # shown by no crop: not detected, and missed


def test_padding_and_boxes_beyond_the_most():
    few = dataclasses.replace(SPEC.inputs["boxes"], count=2)
    narrow = dataclasses.replace(SPEC, inputs={**SPEC.inputs, "boxes": few})
    made, (logits, area) = evaluator(spec=narrow), outputs(3, 1)
    made.add(rows(0), (logits[:, :2], area[:, :2]))
    assert made.detections[0].shape == (2, 3) and made.details()["boxes_beyond_most"] == 1


def test_proposals_are_what_is_detected():
    made = evaluator(proposals=((0.1, 0.1, 0.5, 0.9),))
    made.add(rows(0), (np.full((1, 8, 3), 5.0, np.float32), np.ones((1, 8), np.float32)))
    summary = made.summary()["boxes"]
    assert summary["mAP"] == pytest.approx((1 + 0 + 0) / 3) and np.isnan(summary["accuracy"])


def test_files_are_avas_and_give_the_same_figure(tmp_path):
    from vidjax.apps.score import score_boxes

    made = evaluator()
    made.add(rows(0, 1, 2), outputs(0))
    assert made.write(tmp_path, "") == ["detections.csv", "truth.csv", "classes.pbtxt"]
    lines = list(csv.reader((tmp_path / "truth.csv").read_text().splitlines()))
    assert lines[0] == ["0", "0902", "0.100000", "0.100000", "0.500000", "0.900000", "1", "7"]
    assert lines[-1] == ["2", "0004"] and lines[-2][:2] == ["1", "3.5"]
    detections, truth, classes = (str(tmp_path / name) for name in ("detections.csv", "truth.csv", "classes.pbtxt"))
    found = score_boxes(detections, truth, classes=classes, exclude="", protocol="official", iou=0.5)
    assert found.figures["mAP@0.5"] == pytest.approx(made.summary()["boxes"]["mAP"], abs=1e-6)


def test_names_and_times():
    assert class_numbers(("a", "b")) == [1, 2]
    assert class_numbers(read_class_names("ava"))[:3] == [1, 3, 4]
    assert [seconds_text(t) for t in (902.0, 3.25, 0.1)] == ["0902", "3.25", "0.1"]
    assert video_names({0: "x/a.mp4", 1: "x/b.mp4"}) == {0: "a", 1: "b"}
    assert video_names({0: "x/a.mp4", 1: "y/a.mp4", 2: "y/c.mp4"}) == {0: "x/a", 1: "y/a", 2: "c"}


def test_classes_that_the_data_cannot_show_do_not_count(tmp_path):
    """A network of AVA's 80 actions is evaluated on the 60: the best 50 detections of a frame are of these."""
    (tmp_path / "ava_val_v2.2.csv").write_text("x,0902,0.1,0.1,0.5,0.9,12,1\nx,0902,0.1,0.1,0.5,0.9,80,1\n")
    (tmp_path / "x.mp4").touch()
    names = (files("vidjax.data") / "labels" / "ava_80.txt").read_text().splitlines()
    assert len(names) == 80 and {n: names[n - 1] for n in read_class_numbers("ava")} == read_class_numbers("ava")
    config = DataConfig(dataset="ava", eval=str(tmp_path), root=str(tmp_path))
    videos = load_eval_set(config, LabelSpace(tuple(names)), frozenset({"boxes"}))
    assert len(videos.shown) == 60 and videos.records[0].annotation.classes == ((11, 79),)
    made = BoxEvaluator(videos, SPEC, DetectConfig())
    logits = np.where(np.isin(np.arange(80), [11, 79]), 0.5, 2.0)  # the wrong ones are surer
    made.add(rows(0), (np.broadcast_to(logits, (1, 8, 80)).astype(np.float32), np.ones((1, 8), np.float32)))
    assert made.summary()["boxes"]["mAP"] == 0.0  # 58 others are surer, and only 50 count
    logits = np.where(np.isin(np.arange(80), [11, 79, *(set(range(80)) - set(videos.shown))]), 2.0, 0.5)
    made = BoxEvaluator(videos, SPEC, DetectConfig())
    made.add(rows(0), (np.broadcast_to(logits, (1, 8, 80)).astype(np.float32), np.ones((1, 8), np.float32)))
    assert made.summary()["boxes"]["mAP"] == 1.0
    with pytest.raises(DataError, match="has other classes than the checkpoint"):
        load_eval_set(config, LabelSpace(("a", "b")), frozenset({"boxes"}))
