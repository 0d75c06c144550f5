import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import needs
from vidjax.nn.positions import (
    Table,
    axis_positions,
    fixed_positions,
    grid_of,
    resize_table,
    sinusoid_positions,
    sinusoid_table,
)


def test_table_entry_by_entry():
    table = sinusoid_table(1568, 10)
    assert table.shape == (1568, 10)
    assert table.dtype == np.float32
    for position in (0, 1, 77, 1567):
        for pair in range(5):
            angle = position / 10000 ** (2 * pair / 10)
            # float32 of the float64 value, to the last bit or its neighbour
            np.testing.assert_array_max_ulp(table[position, 2 * pair], np.float32(math.sin(angle)), 1)
            np.testing.assert_array_max_ulp(table[position, 2 * pair + 1], np.float32(math.cos(angle)), 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 1000), st.sampled_from([2, 8, 64]))
def test_dot_products_depend_on_the_distance_alone(p, q, shift, dim):
    table = sinusoid_table(1401, dim).astype(np.float64)
    np.testing.assert_allclose(table[p] @ table[q], table[p + shift] @ table[q + shift], atol=1e-5)
    np.testing.assert_allclose(table[p] @ table[p], dim / 2, rtol=1e-6)


grids = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))


@settings(deadline=None, max_examples=30)
@given(grids, grids)
def test_resized_tables_stay_in_range_and_keep_constants(old, new):
    table = np.random.default_rng(0).standard_normal((math.prod(old), 3)).astype(np.float32)
    table[:, 0] = 7
    resized = resize_table(table, old, new)
    assert resized.shape == (math.prod(new), 3)
    np.testing.assert_allclose(resized[:, 0], 7, rtol=1e-6)
    assert table.min() - 1e-5 <= resized.min() <= resized.max() <= table.max() + 1e-5
    np.testing.assert_allclose(resize_table(table, old, old), table, rtol=1e-6)


def test_resizing_is_linear_between_token_centres_along_each_axis():
    ramp = np.arange(4, dtype=np.float32)
    wanted = np.array([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], np.float32)
    for axis in range(3):
        old, new = [2, 2, 2], [2, 2, 2]
        old[axis], new[axis] = 4, 8
        place = [1, 1, 1]
        place[axis] = -1
        table = np.broadcast_to(ramp.reshape(place), old).reshape(-1, 1)
        expected = np.broadcast_to(wanted.reshape(place), new).reshape(-1, 1)
        np.testing.assert_allclose(resize_table(table, tuple(old), tuple(new)), expected, rtol=1e-6)


def test_positions_are_the_table_on_its_own_grid_and_interpolated_on_others():
    base = (2, 3, 3)
    np.testing.assert_array_equal(sinusoid_positions(base, 6, base), sinusoid_table(18, 6))
    longer = sinusoid_positions((4, 3, 3), 6, base).reshape(4, 9, 6)
    table = sinusoid_table(18, 6).reshape(2, 9, 6)
    np.testing.assert_allclose(longer[0], table[0], rtol=1e-6)
    np.testing.assert_allclose(longer[1], 0.75 * table[0] + 0.25 * table[1], atol=1e-6)
    np.testing.assert_allclose(longer[3], table[1], rtol=1e-6)


def test_cached_positions_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        sinusoid_positions((1, 1, 2), 4, (1, 1, 2))[0, 0] = 1


def test_a_table_of_another_grid_is_refused():
    with pytest.raises(ValueError, match="a table of 9 positions does not match a grid of 2 × 2 × 2"):
        resize_table(np.zeros((9, 4), np.float32), (2, 2, 2), (1, 1, 1))


# What PyTorch calls them, along one axis and along two.
TORCH = {
    "nearest": ({"mode": "nearest"}, {"mode": "nearest"}),
    "linear": ({"mode": "linear"}, {"mode": "bilinear"}),
    "aligned": ({"mode": "linear", "align_corners": True}, {"mode": "bilinear", "align_corners": True}),
    "cubic": (None, {"mode": "bicubic"}),
}


@pytest.mark.parametrize("mode", TORCH)
@pytest.mark.parametrize("new", [(4, 3, 5), (8, 6, 10), (3, 7, 2)])
def test_tables_are_fitted_as_pytorch_interpolates(mode, new):
    torch = needs("torch")
    old = (4, 3, 5)
    along, over = TORCH[mode]
    rng = np.random.default_rng(0)
    places = rng.standard_normal((1, 1 + 15, 6)).astype(np.float32)
    fitted = Table((1, 2), mode).fit(places, (1, 1 + new[1] * new[2], 6), old, new)
    picture = torch.tensor(places[:, 1:]).reshape(1, 3, 5, 6).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(picture, size=new[1:], **over).permute(0, 2, 3, 1).reshape(1, -1, 6)
    np.testing.assert_array_equal(fitted[:, 0], places[:, 0])
    np.testing.assert_allclose(fitted[:, 1:], expected, atol=1e-5)
    if along:
        frames = rng.standard_normal((1, 4, 6)).astype(np.float32)
        fitted = Table((0,), mode).fit(frames, (1, new[0], 6), old, new)
        line = torch.nn.functional.interpolate(torch.tensor(frames).mT, size=new[0], **along).mT
        np.testing.assert_allclose(fitted, line, atol=1e-5)
    if new == old:
        np.testing.assert_array_equal(Table((1, 2), mode).fit(places, places.shape, old, new), places)


def test_a_table_over_space_and_time_is_fitted_along_each():
    torch = needs("torch")
    rng = np.random.default_rng(0)
    table = rng.standard_normal((2 * 3 * 3, 4)).astype(np.float32)
    fitted = Table((0, 1, 2), "aligned").fit(table, (5 * 4 * 6, 4), (2, 3, 3), (5, 4, 6))
    clip = torch.tensor(table).reshape(1, 2, 3, 3, 4).permute(0, 4, 1, 2, 3)
    expected = torch.nn.functional.interpolate(clip, size=(5, 4, 6), mode="trilinear", align_corners=True)
    np.testing.assert_allclose(fitted, expected.permute(0, 2, 3, 4, 1).reshape(-1, 4), atol=1e-5)
    with pytest.raises(ValueError, match="cannot resize a position table of 2 × 3 × 3 tokens to 5 × 4 × 4"):
        Table((0, 1, 2), "aligned").fit(table, (5 * 4 * 6, 4), (2, 3, 3), (5, 4, 4))
    # Without axes: by the number of rows.
    relative = Table((), "linear").fit(table, (35, 4), (1, 1, 1), (2, 2, 2))
    expected = torch.nn.functional.interpolate(torch.tensor(table)[None].mT, size=35, mode="linear").mT[0]
    np.testing.assert_allclose(relative, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "axes", "grid"),
    [
        (1 + 16 * 9, (0, 1, 2), (16, 3, 3)),
        (16 * 9, (0, 1, 2), (16, 3, 3)),
        (1 + 8 * 25, (0, 1, 2), (8, 5, 5)),
        (1 + 49, (1, 2), (8, 7, 7)),
        (12, (0,), (12, 3, 3)),
        (1 + 5 * 8, (1, 2), None),
    ],
)
def test_the_grid_is_told_from_the_rows(rows, axes, grid):
    assert grid_of(rows, (8, 3, 3), axes) == grid


def test_axis_positions_entry_by_entry():
    grid, dim, n = (3, 4, 5), 20, 3
    table = axis_positions(grid, dim, grid).reshape(*grid, dim)
    assert table.dtype == np.float32 and not table[..., 18:].any()
    for place in np.ndindex(grid):
        for axis in range(3):
            for i in range(n):
                angle = place[axis] / 100 ** (i / n)
                assert table[place][2 * n * axis + i] == pytest.approx(math.sin(angle), abs=1e-6)
                assert table[place][2 * n * axis + n + i] == pytest.approx(math.cos(angle), abs=1e-6)


def test_axis_positions_of_another_grid_count_in_the_steps_of_the_own():
    """Twice the tokens along an axis lie a quarter of a step before and after the old ones' centres."""
    fine = axis_positions((4, 6, 5), 12, (2, 6, 5)).reshape(4, 6, 5, 12)
    places = np.array([-0.25, 0.25, 0.75, 1.25])
    np.testing.assert_allclose(fine[:, 2, 3, 0], np.sin(places), atol=1e-6)
    whole = axis_positions((2, 6, 5), 12, (2, 6, 5)).reshape(2, 6, 5, 12)
    np.testing.assert_array_equal(fine[0, ..., 4:], whole[0, ..., 4:])


@settings(deadline=None, max_examples=20)
@given(grids, st.integers(24, 50))
def test_axis_positions_tell_every_token_from_every_other(grid, dim):
    table = axis_positions(grid, dim, grid)
    assert len(np.unique(table.round(4), axis=0)) == math.prod(grid)


def test_unknown_positions_are_refused():
    assert fixed_positions("index") is sinusoid_positions and fixed_positions("axes") is axis_positions
    with pytest.raises(ValueError, match="positions = 'flat': must be one of index, axes"):
        fixed_positions("flat")
    with pytest.raises(ValueError, match="need 6 features or more, not 5"):
        axis_positions((1, 1, 1), 5, (1, 1, 1))


def test_time_and_space_may_have_modes_of_their_own():
    table = np.random.default_rng(0).standard_normal((1, 1 + 8, 3)).astype(np.float32)
    both, grid = Table((0, 1, 2), "linear", space="cubic"), (2, 2, 2)
    for new, mode in (((2, 3, 3), "cubic"), ((3, 2, 2), "linear")):
        shape = (1, 1 + math.prod(new), 3)
        wanted = Table((0, 1, 2), mode).fit(table, shape, grid, new)
        np.testing.assert_array_equal(both.fit(table, shape, grid, new), wanted)
