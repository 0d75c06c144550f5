"""Where a point of the picture comes to lie in a view: through crops, resizing and mirroring, as the pixels say."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.settings import data_config
from tests.videos import write_video
from vidjax.config import Spec
from vidjax.data.reading.clips import ClipReader
from vidjax.data.reading.transforms import TRAIN_CROPS
from vidjax.data.records import Record
from vidjax.data.views import Views, crop_affine, mirror_affine, through, whole
from vidjax.video import VideoReader
from vidjax.video.crops import CROPS

SPEC = Spec.of_video("toy", num_frames=2, stride=1, size=48, resize=(60,))
MARK = 10  # side of the bright square, pixels

shares = st.floats(0.0, 1.0)


def matrix(affine):
    return np.concatenate([affine, [[0.0, 0.0, 1.0]]])


def test_the_whole_picture_stays_where_it_is():
    views = whole(3, 4)
    points = np.random.default_rng(0).random((5, 2))
    assert len(views) == 3 and views.frames.shape == views.times.shape == (3, 4) and not views.mirrored.any()
    for affine in views.affine:
        np.testing.assert_array_equal(through(points, affine), points)
    np.testing.assert_array_equal(crop_affine((0, 0, 30, 40), 30, 40), np.eye(2, 3))


def test_corners_of_a_crop_are_those_of_the_view():
    box, height, width = (6, 10, 12, 20), 30, 40
    corners = np.array([[10, 6], [30, 18], [20, 12]]) / [width, height]  # left above, right below, middle
    np.testing.assert_allclose(through(corners, crop_affine(box, height, width)), [[0, 0], [1, 1], [0.5, 0.5]])
    mirrored = crop_affine(box, height, width, mirrored=True)
    np.testing.assert_allclose(through(corners, mirrored), [[1, 0], [0, 1], [0.5, 0.5]])


@given(st.tuples(shares, shares), st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))
def test_mirroring_turns_left_into_right_and_twice_changes_nothing(point, top, left, tall, wide):
    affine = crop_affine((top, left, tall, wide), 40, 40)
    (x, y), (other, same) = through(np.array(point), affine), through(np.array(point), mirror_affine(affine))
    np.testing.assert_allclose([other, same], [1 - x, y], atol=1e-9)
    np.testing.assert_allclose(mirror_affine(mirror_affine(affine)), affine)
    np.testing.assert_array_equal(mirror_affine(affine), crop_affine((top, left, tall, wide), 40, 40, mirrored=True))


def test_a_crop_of_a_crop_is_the_product():
    outer, inner = crop_affine((4, 8, 20, 24), 40, 60, mirrored=True), crop_affine((5, 6, 10, 12), 20, 24)
    point = np.array([0.3, 0.35])
    np.testing.assert_allclose(
        through(through(point, outer), inner), through(point, (matrix(inner) @ matrix(outer))[:2])
    )


def test_views_are_of_one_length():
    frames = np.arange(6).reshape(2, 3)
    views = Views.of(frames, frames / 10, [True, False], [np.eye(2, 3), np.ones((2, 3))])
    assert len(views) == 2 and views.mirrored.dtype == bool and views.affine.shape == (2, 2, 3)
    assert views.affine.dtype == np.float64


# Real files. A bright square on a dark, still picture tells by its centre where the picture's points are.


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """Makes files, each once: of so many pixels, the square at a place among those that there are."""
    folder, made = tmp_path_factory.mktemp("marked"), {}

    def make(height, width, row, column):
        key = (height, width, row, column)
        if key not in made:
            top, left = (round(share * (side - MARK)) for share, side in ((row, height), (column, width)))
            frames = np.zeros((3, height, width, 3), np.uint8)
            frames[:, top : top + MARK, left : left + MARK] = 255
            path = write_video(folder / f"{len(made)}.mp4", frames)
            made[key] = Record(str(path)), np.array([[left, top], [left + MARK, top + MARK]]) / [width, height]
        return made[key]

    return make


sizes = st.sampled_from([(64, 96), (96, 64), (80, 80), (120, 200)])
steps = (0.5, 0.35, 0.65, 0.2, 0.8, 0.0, 1.0)  # those in the middle first, which are tried more often
places = st.tuples(st.sampled_from(steps), st.sampled_from(steps))  # of the square, down and across


def compare(video, views, square, atol=1.0):
    """Checks that each view shows what its map makes of the square, or the part of it that lies inside, and counts
    those that do show it."""
    seen = 0
    for view, affine in zip(video, views.affine, strict=True):
        size = view.shape[1]
        corners = np.sort(through(square, affine) * size, axis=0)
        low, high = np.clip(corners, 0, size)
        for frame in view:
            bright = frame.astype(float).mean(axis=-1)
            bright[bright < 40] = 0  # what the codec leaves in the dark
            if (high - low < 3).any():  # a sliver at the edge, or less
                assert (bright > 0).sum() <= 5 * (np.ptp(corners, axis=0).max() + 2)
                continue
            assert bright.any(), "the square should be seen"
            seen += 1
            rows, columns = np.mgrid[:size, :size] + 0.5
            found = np.array([(bright * columns).sum(), (bright * rows).sum()]) / bright.sum()
            np.testing.assert_allclose(found, (low + high) / 2, atol=atol)
    return seen


@pytest.mark.parametrize("crop", TRAIN_CROPS)
@pytest.mark.parametrize(("rule", "views"), [("opencv", 1), ("opencv", 3), ("torchvision", 2)])
def test_training_views_show_points_where_their_affine_map_says(marked, crop, rule, views):
    """One view of the opencv rule is cut out while it is decoded; others are cropped afterwards."""
    reader = ClipReader(
        SPEC, data_config(crop=crop, short_side=(50, 90), crop_area=(0.4, 1.0), resize_rule=rule, views=views)
    )
    seen = []

    @settings(max_examples=20, deadline=None)
    @given(sizes, places, st.integers(0, 2**32 - 1), st.booleans())
    @example((64, 96), (0.5, 0.35), 1, True)
    @example((96, 64), (0.5, 0.5), 2, True)
    @example((80, 80), (0.35, 0.5), 3, False)
    @example((120, 200), (0.65, 0.5), 4, True)
    def check(size, place, seed, mirror):
        record, square = marked(*size, *place)
        video, drawn = reader.train(record, np.random.default_rng(seed), mirror=mirror)
        assert len(video) == len(drawn) == views and (mirror or not drawn.mirrored.any())
        assert ((drawn.affine[:, 0, 0] < 0) == drawn.mirrored).all()
        seen.append(compare(video, drawn, square))

    check()
    assert sum(map(bool, seen)) > 2, "too few squares were seen for this to mean anything"


@pytest.mark.parametrize("num_crops", CROPS)
@pytest.mark.parametrize("rule", ["opencv", "torchvision"])
def test_evaluation_views_show_points_where_their_affine_map_says(marked, num_crops, rule):
    seen = []

    @settings(max_examples=15, deadline=None)
    @given(sizes, places, st.sampled_from([(60,), (56, 72), (48,)]))
    @example((64, 96), (0.5, 0.35), (60,))
    @example((96, 64), (0.5, 0.5), (48,))
    @example((120, 200), (0.65, 0.5), (56, 72))
    def check(size, place, resize):
        record, square = marked(*size, *place)
        reader = ClipReader(SPEC.with_video(resize=resize), data_config(resize_rule=rule))
        video, views = reader.evaluate(record, 2, num_crops)
        assert len(video) == len(views) == 2 * num_crops
        assert views.mirrored.tolist() == [i % num_crops >= 5 for i in range(2 * num_crops)]
        np.testing.assert_array_equal(views.affine[:num_crops], views.affine[num_crops:])
        seen.append(compare(video, views, square))

    check()
    assert sum(map(bool, seen)) > 2, "too few squares were seen for this to mean anything"


def test_a_part_cut_out_while_decoding_is_rounded_to_pixels_of_the_file_and_so_is_its_map(marked, monkeypatch):
    """The map is that of the pixels that were read, not of those that were drawn: within a hundredth of a pixel."""
    record, _ = marked(120, 200, 0.5, 0.5)
    boxes, read = [], VideoReader.read
    monkeypatch.setattr(VideoReader, "read", lambda self, *a, **k: boxes.append(k.get("crop")) or read(self, *a, **k))
    for seed in range(6):
        _, views = ClipReader(SPEC, data_config()).train(record, np.random.default_rng(seed), mirror=False)
        top, left, tall, wide = boxes[-1]
        corners = np.array([[left, top], [left + wide, top + tall]]) / [200, 120]
        np.testing.assert_allclose(through(corners, views.affine[0]), [[0, 0], [1, 1]], atol=1e-9)


def test_folders_of_images_have_the_same_maps(tmp_path, marked):
    frame = np.zeros((120, 200, 3), np.uint8)
    frame[60:70, 40:50] = 255
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i:03d}.png"), frame)
    square, seen = np.array([[40, 60], [50, 70]]) / [200, 120], 0
    for seed in range(8):
        video, views = ClipReader(SPEC, data_config()).train(Record(str(tmp_path)), np.random.default_rng(seed))
        seen += compare(video, views, square)
    assert seen > 4


def test_the_check_itself_can_fail(marked):
    """A map without the mirroring is a wrong one, and found to be."""
    record, square = marked(120, 200, 0.5, 0.25)
    video, views = ClipReader(SPEC.with_video(resize=(48, 80)), data_config()).evaluate(record, 1, 10)
    plain = [mirror_affine(a) if flip else a for a, flip in zip(views.affine, views.mirrored, strict=True)]
    compare(video, views, square)
    with pytest.raises(AssertionError):
        compare(video, Views.of(views.frames, views.times, views.mirrored, plain), square)
