"""Feature maps as vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.peers import needs
from vidjax.nn.maps import adaptive_mean, cuboid_means, flat_map, peaks, window_means


@pytest.mark.parametrize(("window", "positions"), [(3, (2, 3)), (0, (1, 1)), (5, (1, 1)), (4, (1, 2)), (9, (1, 1))])
def test_window_means(window, positions):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 2)).astype(np.float32)
    means = window_means(jnp.asarray(x), window)
    assert means.shape == (2, 1, *positions, 2)
    height, width = (min(window or n, n) for n in (4, 5))
    for i, j in np.ndindex(*positions):
        wanted = x[:, :, i : i + height, j : j + width].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(means[:, 0, i, j], wanted, rtol=1e-4, atol=1e-6)
    assert window_means(jnp.asarray(x, jnp.bfloat16), window).dtype == jnp.float32


@pytest.mark.parametrize("window", [(2, 3, 1), (3, 4, 5), (9, 2, 9), None])
def test_cuboid_means(window):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 2)).astype(np.float32)
    means = cuboid_means(jnp.asarray(x, jnp.float32), window)
    t, h, w = sizes = tuple(min(pair) for pair in zip(window or x.shape[1:4], x.shape[1:4], strict=True))
    positions = tuple(n - size + 1 for n, size in zip(x.shape[1:4], sizes, strict=True))
    assert means.shape == (2, *positions, 2)
    for i, j, k in np.ndindex(*positions):
        wanted = x[:, i : i + t, j : j + h, k : k + w].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(means[:, i, j, k], wanted, rtol=1e-4, atol=1e-6)
    assert cuboid_means(jnp.asarray(x, jnp.bfloat16), window).dtype == jnp.float32


def test_places_of_a_map_are_tokens_in_time_row_column_order():
    x = jnp.arange(2 * 3 * 4 * 5).reshape(1, 2, 3, 4, 5)
    np.testing.assert_array_equal(flat_map(x)[0, (1 * 3 + 2) * 4 + 3], x[0, 1, 2, 3])


@pytest.mark.parametrize("size", [(3, 2), (7, 8)])
def test_adaptive_means_are_pytorchs(size):
    torch = needs("torch")
    x = np.random.default_rng(0).standard_normal((2, 5, 7, 3)).astype(np.float32)
    wanted = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(np.moveaxis(x, -1, 1)), size).numpy()
    np.testing.assert_allclose(adaptive_mean(jnp.asarray(x), size), np.moveaxis(wanted, 1, -1), atol=1e-6)


@pytest.mark.parametrize("axes", [(1,), (1, 2), (2, 3), (1, 2, 3)])
def test_peaks_have_the_gradient_of_the_first(axes):
    x = np.random.default_rng(0).integers(0, 4, (2, 3, 2, 4, 3)).astype(np.float32)  # with ties
    found, back = jax.vjp(lambda x: peaks(x, axes), jnp.asarray(x))
    np.testing.assert_array_equal(found, x.max(axis=axes))
    weights = np.random.default_rng(1).standard_normal(found.shape).astype(np.float32)
    wanted, flat = np.zeros_like(x), np.moveaxis(x, axes, range(len(axes)))
    order = np.moveaxis(wanted, axes, range(len(axes)))
    for rest in np.ndindex(flat.shape[len(axes) :]):
        place = np.unravel_index(np.argmax(flat[(..., *rest)]), flat.shape[: len(axes)])
        order[(*place, *rest)] = weights[rest]
    np.testing.assert_array_equal(back(weights)[0], wanted)
