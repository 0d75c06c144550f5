"""Targets of boxes: through crops and mirroring, padded, and in the rows of the network's boxes."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np

from vidjax.config import AugmentConfig, DetectConfig
from vidjax.data.reading.boxes import BoxReader
from vidjax.data.records import Boxes, LabelSpace, Record
from vidjax.data.views import Views, crop_affine, whole
from vidjax.models import get_spec
from vidjax.tasks.detect.targets import BoxTargets, make_targets

LABELS = LabelSpace(("left", "right", "wave"), several=True, directional=True, mirrored={0: 1, 1: 0})
SPEC = get_spec("slow_detect_tiny")
BOXES = Boxes(1.0, ((0.1, 0.2, 0.3, 0.4), (0.6, 0.0, 1.0, 0.5), (0.2, 0.2, 0.4, 0.8)), ((0,), (1, 2), ()))
RECORD = Record("a.mp4", BOXES, at=1.0)


def views_of(box, height=100, width=200, mirrored=False):
    plain = whole(1)
    affine = crop_affine(box, height, width, mirrored)
    return Views(plain.frames, plain.times, np.array([mirrored]), affine[None])


def test_the_whole_picture():
    made = BoxTargets(LABELS, 4).of(RECORD, whole(2))
    assert made["label"].shape == (2, 4, 3) and made["counted"].shape == (2, 4)
    expected = [[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(made["label"], [expected, expected])
    np.testing.assert_array_equal(made["counted"], [[1, 1, 1, 0]] * 2)


def test_boxes_without_a_class_may_be_left_out():
    made = BoxTargets(LABELS, 4, negatives=False).of(RECORD, whole(1))
    np.testing.assert_array_equal(made["counted"], [[1, 1, 0, 0]])
    for choice, negatives in (("negative", True), ("ignore", False)):
        settings = DetectConfig(unlabelled=choice)
        assert make_targets(LABELS, AugmentConfig(), settings, SPEC).negatives is negatives


def test_mirroring_swaps_classes_if_it_is_known_how():
    mirrored = views_of((0, 0, 100, 200), mirrored=True)
    swapped = BoxTargets(LABELS, 4).of(RECORD, mirrored)["label"][0]
    np.testing.assert_array_equal(swapped[:2], [[0, 1, 0], [1, 0, 1]])
    assert make_targets(LABELS, AugmentConfig(), DetectConfig(flip_pairs=("left<>right",)), SPEC).mirrors
    assert not make_targets(LABELS, AugmentConfig(), DetectConfig(), SPEC).mirrors


def test_boxes_that_a_crop_does_not_show_are_padding():
    views = views_of((0, 0, 100, 100))  # the left half
    made = BoxTargets(LABELS, 4).of(RECORD, views)
    np.testing.assert_array_equal(made["counted"], [[1, 0, 1, 0]])
    assert not made["label"][0, 1].any()
    (boxes,) = BoxReader(dataclasses.replace(SPEC.inputs["boxes"], count=4), 50).of(RECORD, views)
    np.testing.assert_allclose(boxes, [[10, 10, 30, 20], [0, 0, 0, 0], [20, 10, 40, 40]], atol=1e-4)


def test_boxes_beyond_the_most_are_left_out_and_there_may_be_none():
    assert BoxReader(dataclasses.replace(SPEC.inputs["boxes"], count=2), 64).of(RECORD, whole(1)).shape == (1, 2, 4)
    assert BoxTargets(LABELS, 2).of(RECORD, whole(1))["counted"].sum() == 2
    empty = Record("b.mp4", Boxes(1.0, (), ()), at=1.0)
    assert BoxReader(SPEC.inputs["boxes"], 64).of(empty, whole(3)).shape == (3, 0, 4)
    assert not BoxTargets(LABELS, 2).of(empty, whole(1))["counted"].any()


def test_a_network_is_asked_about_the_proposals_where_there_are_some():
    proposals = ((0.0, 0.0, 0.5, 0.5),)
    asked = dataclasses.replace(RECORD, annotation=dataclasses.replace(BOXES, proposals=proposals))
    np.testing.assert_array_equal(BoxReader(SPEC.inputs["boxes"], 8).of(asked, whole(1)), [[[0, 0, 4, 4]]])


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(
    corners=st.tuples(*[st.floats(0, 1)] * 4), top=st.integers(0, 40), left=st.integers(0, 90),
    side=st.integers(10, 60), mirrored=st.booleans(),
)  # fmt: skip
def test_pixels_of_a_box_are_those_of_the_crop(corners, top, left, side, mirrored):
    """A box is the area that its part of the picture has in the view."""
    x1, y1, x2, y2 = min(corners[0], corners[2]), min(corners[1], corners[3]), max(corners[0], corners[2]), max(
        corners[1], corners[3]
    )  # fmt: skip
    record = Record("a.mp4", Boxes(0.0, ((x1, y1, x2, y2),), ((0,),)), at=0.0)
    (box,) = BoxReader(SPEC.inputs["boxes"], side).of(record, views_of((top, left, side, side), mirrored=mirrored))[0]
    pixels = np.clip([x1 * 200 - left, y1 * 100 - top, x2 * 200 - left, y2 * 100 - top], 0, side)
    if mirrored:
        pixels[[0, 2]] = side - pixels[2], side - pixels[0]
    shown = pixels[2] > pixels[0] and pixels[3] > pixels[1]
    if not shown or min(pixels[2] - pixels[0], pixels[3] - pixels[1]) > 1e-4:  # nothing that rounding could remove
        np.testing.assert_allclose(box, pixels if shown else 0, atol=1e-3)
