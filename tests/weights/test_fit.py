"""Kernels given a temporal extent, and tables of positions made to fit another grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom

from tests.peers import needs
from vidjax.weights.fit import INFLATIONS, LINEAR_GRID, NEAREST_GRID, NEAREST_LINE, TILED

quick = settings(max_examples=20, deadline=None)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@quick
@given(st.integers(1, 6), st.sampled_from(sorted(INFLATIONS)))
def test_an_inflated_kernel_answers_a_repeated_frame_as_the_images_does(frames, how):
    kernel, frame = numbers(1, 2, 3, 4, 5), numbers(2, 3, 4, seed=1)
    inflated = INFLATIONS[how].forward(kernel, (frames, 2, 3, 4, 5), None)
    video = np.broadcast_to(frame, (frames, *frame.shape))
    np.testing.assert_allclose(
        np.einsum("thwcd,thwc->d", inflated, video), np.einsum("hwcd,hwc->d", kernel[0], frame), rtol=1e-4, atol=1e-5
    )


def test_where_the_inflated_kernel_looks():
    kernel = numbers(1, 2, 2, 3, 4)
    central = INFLATIONS["central"].forward(kernel, (4, 2, 2, 3, 4), None)
    np.testing.assert_array_equal(central[2], kernel[0])
    assert not np.delete(central, 2, axis=0).any()
    average = INFLATIONS["average"].forward(kernel, (4, 2, 2, 3, 4), None)
    for frame in average:
        np.testing.assert_allclose(frame, kernel[0] / 4)
    for shape in ((4, 3, 2, 3, 4), (4, 2, 2, 3)):
        with pytest.raises(ValueError, match="only the temporal extent may differ"):
            INFLATIONS["central"].forward(kernel, shape, None)
    with pytest.raises(ValueError, match="only the temporal extent may differ"):
        INFLATIONS["average"].forward(central, (2, 2, 2, 3, 4), None)


@quick
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_nearest_as_pytorch(old, height, width):
    torch = needs("torch")
    table = numbers(1, 1 + old * old, 3)
    fitted = NEAREST_GRID.forward(table, (1, 1 + height * width, 3), (5, height, width))
    np.testing.assert_array_equal(fitted[:, :1], table[:, :1])
    picture = torch.from_numpy(table[:, 1:].reshape(1, old, old, 3)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(picture, size=(height, width), mode="nearest")
    np.testing.assert_array_equal(fitted[:, 1:], expected.permute(0, 2, 3, 1).reshape(1, -1, 3).numpy())
    line = torch.nn.functional.interpolate(torch.from_numpy(table).transpose(1, 2), size=height, mode="nearest")
    np.testing.assert_array_equal(NEAREST_LINE.forward(table, (1, height, 3), None), line.transpose(1, 2).numpy())


@quick
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_linear_as_scipys_zoom(old, height, width):
    table = numbers(1, 1 + old * old, 3)
    fitted = LINEAR_GRID.forward(table, (1, 1 + height * width, 3), (5, height, width))
    np.testing.assert_array_equal(fitted[:, :1], table[:, :1])
    expected = zoom(table[0, 1:].reshape(old, old, 3), (height / old, width / old, 1), order=1)
    np.testing.assert_allclose(fitted[0, 1:], expected.reshape(-1, 3), atol=1e-5)


def test_positions_are_repeated_for_every_frame_with_or_without_a_class_token():
    table = numbers(1, 5, 3)
    for rows in (13, 12):
        fitted = TILED.forward(table, (1, rows, 3), (3, 2, 2))
        assert fitted.shape == (1, rows, 3)
        for frame in np.split(fitted[0, rows - 12 :], 3):
            np.testing.assert_allclose(frame, table[0, 1:], atol=1e-6)
    np.testing.assert_array_equal(TILED.forward(table, (1, 13, 3), (3, 2, 2))[:, 0], table[:, 0])


def test_what_cannot_be_fitted_is_said():
    with pytest.raises(ValueError, match="a class token and a square grid"):
        NEAREST_GRID.forward(numbers(1, 7, 3), (1, 5, 3), None)
    with pytest.raises(ValueError, match="the grid has 4 places"):
        TILED.forward(numbers(1, 5, 3), (1, 9, 3), (1, 2, 2))
    with pytest.raises(ValueError, match="does not tell its grid"):
        LINEAR_GRID.forward(numbers(1, 5, 3), (1, 10, 3), None)
    with pytest.raises(ValueError, match="only the number of positions may differ"):
        NEAREST_LINE.forward(numbers(1, 5, 3), (1, 5, 4), None)
