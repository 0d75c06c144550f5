"""Square crops of a frame."""

import chex
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from vidjax.video.crops import CROPS, SPATIAL_VIEWS, spatial_flips, spatial_views


def test_every_number_of_crops_that_settings_allow_has_a_name():
    assert {n: SPATIAL_VIEWS[name] for n, name in CROPS.items()} == {1: 1, 3: 3, 5: 5, 10: 10}


def test_three_crops_lie_along_the_longer_side():
    assert spatial_views(20, 31, 20, "three")[:, :2].tolist() == [[0, 0], [0, 6], [0, 11]]
    assert spatial_views(31, 20, 20, "three")[:, :2].tolist() == [[0, 0], [6, 0], [11, 0]]
    assert spatial_views(24, 24, 20, "three")[:, :2].tolist() == [[2, 0], [2, 2], [2, 4]]  # square: as wide ones
    assert spatial_views(24, 31, 20, "three").tolist() == [[2, 0, 20, 20], [2, 6, 20, 20], [2, 11, 20, 20]]
    assert spatial_views(24, 31, 20, "centre").tolist() == [[2, 6, 20, 20]]


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.sampled_from(list(SPATIAL_VIEWS)))
def test_crops_lie_in_the_frame(height, width, size, views):
    if size > min(height, width):
        with pytest.raises(ValueError, match=f"size = {size}.*{height} × {width}"):
            spatial_views(height, width, size, views)
        return
    boxes = spatial_views(height, width, size, views)
    chex.assert_shape(boxes, (SPATIAL_VIEWS[views], 4))
    chex.assert_type([boxes, spatial_flips(views)], [np.int64, bool])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] == size).all()
    assert (boxes[:, :2] + size <= [height, width]).all()


@pytest.mark.parametrize("views", ["five", "ten"])
def test_five_and_ten_crops_are_corners_and_centre_of_the_frame_and_its_mirror_image(views):
    frame = np.arange(24 * 32).reshape(24, 32)
    expected = []
    for picture in (frame, frame[:, ::-1]):
        corners = [picture[:16, :16], picture[:16, -16:], picture[-16:, :16], picture[-16:, -16:]]
        expected += [*corners, picture[4:20, 8:24]]
    boxes, flips = spatial_views(24, 32, 16, views), spatial_flips(views)
    for (top, left, height, width), flip, crop in zip(boxes, flips, expected[: len(boxes)], strict=True):
        part = frame[top : top + height, left : left + width]
        np.testing.assert_array_equal(part[:, ::-1] if flip else part, crop)


def test_unknown_views():
    with pytest.raises(ValueError, match=r"views = 'two'.*centre, three, five, ten"):
        spatial_views(20, 20, 10, "two")
