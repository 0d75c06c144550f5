"""Classes as targets: one number or zeros and ones for each view, swapped where a view is mirrored."""

import logging
import pickle

import numpy as np
import pytest

from vidjax.config import AugmentConfig
from vidjax.data.records import Labels, LabelSpace, Record
from vidjax.data.views import Views, whole
from vidjax.tasks.classify.targets import ClassTargets, make_targets

SIDES = LabelSpace(("left", "right", "wave"), directional=True, mirrored={0: 1, 1: 0})


def views(*mirrored):
    plain = whole(len(mirrored))
    return Views(plain.frames, plain.times, np.array(mirrored), plain.affine)


def test_every_view_has_the_class_that_it_shows():
    targets = ClassTargets(SIDES)
    for label, expected in ((0, [0, 1, 0]), (1, [1, 0, 1]), (2, [2, 2, 2])):
        given = targets.of(Record("v", Labels((label,))), views(False, True, False))["label"]
        assert given.tolist() == expected and given.dtype == np.int32


def test_several_classes_are_zeros_and_ones_and_swapped_too():
    targets = ClassTargets(LabelSpace(SIDES.names, True, True, SIDES.mirrored))
    given = targets.of(Record("v", Labels((0, 2))), views(False, True))["label"]
    assert given.tolist() == [[1, 0, 1], [0, 1, 1]] and given.dtype == np.float32
    assert targets.of(Record("v", Labels(())), views(True))["label"].tolist() == [[0, 0, 0]]


def test_classes_that_do_not_tell_left_from_right_stay():
    targets = ClassTargets(LabelSpace(SIDES.names, mirrored=SIDES.mirrored))
    assert targets.of(Record("v", Labels((0,))), views(True, False))["label"].tolist() == [0, 0]


@pytest.mark.parametrize("several", [False, True])
def test_what_is_given_is_as_it_is_laid_out_and_goes_to_workers(several):
    targets = pickle.loads(pickle.dumps(ClassTargets(LabelSpace(SIDES.names, several))))
    (field,) = targets.fields().values()
    given = targets.of(Record("v", Labels((1,))), views(False, True))["label"]
    assert given.shape == (2, *field.shape) and given.dtype == np.dtype(field.dtype)
    assert field.below == (0 if several else 3)


def test_mirroring_is_off_where_it_would_make_labels_wrong_and_it_is_said(caplog):
    caplog.set_level(logging.INFO, "vidjax")
    unpaired = LabelSpace(SIDES.names, directional=True)
    assert not make_targets(unpaired, AugmentConfig(), ()).mirrors and "clips are not mirrored" in caplog.text
    caplog.clear()
    assert make_targets(SIDES, AugmentConfig(), ("left<>right",)).mirrors and not caplog.records
    assert make_targets(unpaired, AugmentConfig(flip=True), ()).mirrors
    assert "it is not known which class mirroring" in caplog.text and caplog.records[0].levelname == "WARNING"
    caplog.clear()
    assert not make_targets(SIDES, AugmentConfig(flip=False), ()).mirrors and not caplog.records
    assert make_targets(LabelSpace(("a", "b")), AugmentConfig(), ()).mirrors and not caplog.records
