"""Evaluation of captions: scores of what was said, and the file of it."""

import csv

import numpy as np

from tests.data.reading.test_prompts import CAPTIONS, INPUT, QUESTION
from vidjax.config import Spec
from vidjax.data.records import Caption, LabelSpace, Record, VideoSet
from vidjax.evaluation.evaluator import Rows
from vidjax.nn.generation import Decoding
from vidjax.tasks.caption.evaluator import CaptionEvaluator

VIDEOS = VideoSet(
    (Record("a.mp4", Caption(CAPTIONS)), Record("b.mp4", QUESTION), Record("c.mp4", Caption(()))), LabelSpace(())
)


def evaluator():
    return CaptionEvaluator(VIDEOS, Spec("a", {"text": INPUT}), Decoding(12))


def said(*texts):
    reader = INPUT.reader()
    rows = np.zeros((len(texts), 12), np.int32)
    for row, text in zip(rows, texts, strict=True):
        ids = [*reader.encode(text), reader.end]
        row[: len(ids)] = ids
    return rows


def rows(*index):
    return Rows(np.array(index), 0, np.ones(len(index), int))


def test_scores_and_the_file(tmp_path):
    first, second = evaluator(), evaluator()
    first.add(rows(2, 0), said("left", "It goes left."))
    second.add(rows(1), said("square"))
    first.merge(second)
    figures = first.summary()["caption"]
    assert figures["exact"] == 0.5 and 0 < figures["bleu1"] < 1 and figures["cider"] > 0
    assert first.write(tmp_path, "a run") == ["captions.csv"]
    with open(tmp_path / "captions.csv", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [row["path"] for row in found] == ["a.mp4", "b.mp4", "c.mp4"]
    assert (found[1]["question"], found[1]["caption"], found[1]["exact"]) == (QUESTION.question, "square", "0")
    assert found[0]["references"] == " | ".join(CAPTIONS)


def test_only_the_first_view_is_asked_for():
    asked = evaluator()
    assert asked.wants(np.array([0, -1]), 0)
    assert not asked.wants(np.array([0, -1]), 1) and not asked.wants(np.array([-1]), 0)


def test_nothing_said_has_no_figures():
    assert all(np.isnan(value) for value in evaluator().summary()["caption"].values())
    alone = evaluator()
    alone.add(rows(2), said("left"))
    assert np.isnan(alone.summary()["caption"]["cider"])
