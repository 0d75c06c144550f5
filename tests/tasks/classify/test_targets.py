"""Classes as targets: of one label or several, each view its own, swapped where it is mirrored."""

import pickle

import chex
import numpy as np
import pytest

from vidjax.batch import BatchLayout
from vidjax.config import AugmentConfig
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.data.views import Views
from vidjax.tasks.classify.targets import ClassTargets, make_targets

NAMES = ("left", "right", "spin")
SWAPS = LabelSpace(NAMES, directional=True, mirrored={0: 1, 1: 0})
SEVERAL = LabelSpace(NAMES, several=True, directional=True, mirrored={0: 1, 1: 0})


def views(*mirrored):
    count = len(mirrored)
    return Views.of(np.zeros((count, 1), int), np.zeros((count, 1)), mirrored, [np.eye(2, 3)] * count)


def labels(targets, classes, *mirrored):
    found = targets.of(Record("x", Labels(classes)), views(*mirrored))
    assert list(found) == ["label"]
    BatchLayout({}, targets.fields()).check({"inputs": {}, "targets": found}, lead=1)
    return found["label"]


def test_one_class_of_each_view():
    found = labels(ClassTargets(SWAPS), (0,), False, True, True, False)
    chex.assert_type(found, np.int32)
    assert found.tolist() == [0, 1, 1, 0]
    assert labels(ClassTargets(SWAPS), (2,), False, True).tolist() == [2, 2]


def test_several_classes_of_each_view():
    found = labels(ClassTargets(SEVERAL), (0, 2), True, False)
    chex.assert_type(found, np.float32)
    assert found.tolist() == [[0, 1, 1], [1, 0, 1]]
    assert labels(ClassTargets(SEVERAL), (0, 1), True).tolist() == [[1, 1, 0]]
    assert labels(ClassTargets(SEVERAL), (), True, False).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize("several", [False, True])
def test_classes_that_do_not_tell_left_from_right_stay(several):
    targets = ClassTargets(LabelSpace(NAMES, several))
    plain, mirrored = labels(targets, (1,), False, True)
    np.testing.assert_array_equal(plain, mirrored)


def test_labels_with_times_are_those_of_the_frames_of_each_view():
    """The times of Charades: from the first frame of the clip to its last, ends included."""
    annotation = Labels((0, 1, 2), ((0.0, 2.0, 0), (1.5, 6.0, 2), (8.0, 9.0, 1), (1.0, 1.2, 0)))
    times = np.array([[0.0, 0.5, 1.0], [2.0, 2.5, 3.0], [6.5, 7.0, 7.5], [5.0, 6.5, 8.0]])
    seen = Views.of(np.zeros((4, 3), int), times, [False, False, False, True], [np.eye(2, 3)] * 4)
    found = ClassTargets(SEVERAL).of(Record("x", annotation), seen)["label"]
    # The last is mirrored: what was right is left.
    assert found.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [1, 0, 1]]
    assert VideoSet((Record("x", annotation),), SEVERAL).targets().tolist() == [[1, 1, 1]], "in evaluation all count"


def test_categories_that_are_not_annotated_are_unknown():
    space = LabelSpace(("action/run", "action/jump", "scene/beach"), several=True)
    found = labels(ClassTargets(space), (0,), False)
    assert found.tolist() == [[1, 0, 0]]
    record = Record("x", Labels((0,), categories=("action",)))
    assert ClassTargets(space).of(record, views(False, True))["label"].tolist() == [[1, 0, -1]] * 2


def test_fields_tell_the_classes():
    (one,), (several,) = (list(ClassTargets(space).fields().values()) for space in (SWAPS, SEVERAL))
    assert (one.shape, one.dtype, one.below) == ((), "int32", 3)
    assert (several.shape, several.dtype) == ((3,), "float32")
    assert ClassTargets.kinds == {"labels"}


def test_workers_get_a_copy():
    targets = pickle.loads(pickle.dumps(ClassTargets(SEVERAL)))
    assert targets == ClassTargets(SEVERAL) and labels(targets, (0,), True).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    ("space", "flip", "pairs", "mirrors"),
    [
        (LabelSpace(NAMES), None, (), True),
        (LabelSpace(NAMES), False, (), False),
        (SWAPS, None, (), False),
        (SWAPS, None, ("left<>right",), True),
        (SWAPS, False, ("left<>right",), False),
        (SWAPS, True, (), True),
    ],
)
def test_clips_are_mirrored_where_the_config_says(space, flip, pairs, mirrors):
    assert make_targets(space, AugmentConfig(flip=flip), pairs).mirrors == mirrors


def test_what_is_not_mirrored_is_said_once_it_is_nobodys_wish(caplog):
    with caplog.at_level("INFO", "vidjax"):
        make_targets(SWAPS, AugmentConfig(), ())
    assert "clips are not mirrored: the classes of this data set tell left from right" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "vidjax"):
        make_targets(SWAPS, AugmentConfig(flip=False), ())
        make_targets(SWAPS, AugmentConfig(flip=True), ())
        make_targets(LabelSpace(NAMES), AugmentConfig(), ())
    assert caplog.text == ""
    make_targets(LabelSpace(NAMES, directional=True), AugmentConfig(flip=True), ())
    assert (
        "name them in config.task.classify.flip_pairs" in caplog.text
        and "config.data.augment.flip=false" in caplog.text
    )
