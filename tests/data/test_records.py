"""Annotations of every kind, the classes they name, and the targets of a set."""

import dataclasses

import chex
import numpy as np
import pytest

from vidjax.data.records import (
    KINDS,
    Boxes,
    Caption,
    Labels,
    LabelSpace,
    Masks,
    Record,
    Segments,
    TrueFlow,
    VideoSet,
    classes_of,
    is_box,
    map_classes,
)

BOX = (0.1, 0.2, 0.5, 0.9)
EVERY = (
    Labels(("walk", "run")),
    Boxes(2.5, (BOX, BOX), (("walk", "run"), ()), (7, 8)),
    Segments(((0.5, 2.0, "walk"), (1.0, 3.0, "run"))),
    Masks("masks/a", (1, 2)),
    Caption(("somebody walks, then runs",)),
    TrueFlow("b.png", "a.flo"),
)


def test_there_is_one_annotation_of_each_kind():
    assert tuple(annotation.kind for annotation in EVERY) == KINDS


@pytest.mark.parametrize("annotation", EVERY, ids=KINDS)
def test_classes_are_found_and_replaced_wherever_they_stand(annotation):
    numbers = {"run": 0, "walk": 1}
    names = ("walk", "run") if annotation.kind in ("labels", "boxes", "segments") else ()
    assert classes_of(annotation) == names
    mapped = map_classes(annotation, numbers.__getitem__)
    assert sorted(classes_of(mapped)) == sorted(numbers[name] for name in names)
    back = map_classes(mapped, ("run", "walk").__getitem__)
    assert sorted(classes_of(back)) == sorted(names) and type(back) is type(annotation)
    kept = [f.name for f in dataclasses.fields(annotation) if f.name not in ("classes", "spans")]
    assert all(getattr(back, name) == getattr(annotation, name) for name in kept)


def test_classes_rise_within_a_video_and_a_box():
    numbers = {"run": 0, "walk": 1}
    assert map_classes(EVERY[0], numbers.__getitem__) == Labels((0, 1))
    assert map_classes(EVERY[1], numbers.__getitem__).classes == ((0, 1), ())
    assert map_classes(EVERY[2], numbers.__getitem__).spans == ((0.5, 2.0, 1), (1.0, 3.0, 0))


def test_nothing_known_has_no_classes():
    assert classes_of(None) == () and map_classes(None, str) is None


def test_labels_of_a_record_are_those_of_the_whole_video():
    assert Record("a.mp4", Labels((2, 5))).labels == (2, 5)
    assert Record("a.mp4", Boxes(0.0, (BOX,), ((1,),))).labels == Record("a.mp4").labels == ()


@pytest.mark.parametrize(
    ("corners", "ok"), [(BOX, True), ((0, 0, 1, 1), True), ((0.5, 0, 0.1, 1), False), ((0, 0.2, 0.5, 1.1), False)]
)
def test_boxes_lie_within_the_picture(corners, ok):
    assert is_box(corners) == ok


def test_targets_are_numbers_or_one_column_per_class():
    records = (Record("a", Labels((2,))), Record("b", Labels((0,))))
    one = VideoSet(records, LabelSpace(("x", "y", "z")))
    chex.assert_type(one.targets(), np.int32)
    np.testing.assert_array_equal(one.targets(), [2, 0])
    several = VideoSet((*records, Record("c", Labels(()))), LabelSpace(("x", "y", "z"), several=True))
    chex.assert_type(several.targets(), np.float32)
    np.testing.assert_array_equal(several.targets(), [[0, 0, 1], [1, 0, 0], [0, 0, 0]])
