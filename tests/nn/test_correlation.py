"""Correlation of all pairs and its lookup: against PyTorch's sampling, in both forms, and what gradients pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.peers import needs
from vidjax.nn.correlation import LOOKUPS, correlation_lookup, correlation_pyramid

torch = needs("torch")
F = torch.nn.functional
RADIUS, LEVELS = 2, 3


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, 9, 13, 6)).astype(np.float32) for _ in range(2)]


@pytest.fixture(scope="module")
def centres():
    """Places between samples, on samples, at the border and far outside."""
    rng = np.random.default_rng(1)
    places = rng.uniform(-3, 16, (2, 9, 13, 2)).astype(np.float32)
    places[0, 0, :4] = [[0, 0], [12, 8], [1e4, -1e4], [-2, 3]]
    return places


def test_pyramid_by_products_and_means(maps):
    first, second = maps
    pyramid = jax.jit(correlation_pyramid, static_argnums=2)(first, second, LEVELS)
    wanted = np.einsum("bhwc,bijc->bhwij", first, second).reshape(2 * 117, 1, 9, 13) / np.sqrt(6)
    for level, scale in enumerate(pyramid):
        theirs = torch.tensor(wanted)
        for _ in range(level):
            theirs = F.avg_pool2d(theirs, 2)
        np.testing.assert_allclose(scale.reshape(234, *scale.shape[2:]), theirs[:, 0], atol=1e-5)
    with pytest.raises(ValueError, match="9×13 places cannot be halved 4 times"):
        correlation_pyramid(first, second, 5)


@pytest.mark.parametrize("form", LOOKUPS)
def test_windows_of_pytorch(maps, centres, form):
    """x moves slowest in a window: the order of a mesh of "ij" that is added to (x, y)."""
    pyramid = correlation_pyramid(*map(jnp.asarray, maps), LEVELS)
    found = jax.jit(lambda centres: correlation_lookup(pyramid, RADIUS, form)(centres))(centres)
    steps = torch.linspace(-RADIUS, RADIUS, 2 * RADIUS + 1)
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)
    wanted = []
    for level, scale in enumerate(pyramid):
        places = torch.tensor(centres).reshape(-1, 1, 1, 2) / 2**level + offsets
        sides = torch.tensor([scale.shape[3] - 1, scale.shape[2] - 1])
        volume = torch.tensor(np.array(scale)).reshape(-1, 1, *scale.shape[2:])
        wanted.append(F.grid_sample(volume, 2 * places / sides - 1, align_corners=True).reshape(2, 9, 13, -1))
    np.testing.assert_allclose(found, torch.cat(wanted, -1), atol=2e-4)


def test_both_forms_have_one_gradient(maps, centres):
    def of(form):
        def summed(second):
            found = correlation_lookup(correlation_pyramid(maps[0], second, LEVELS), RADIUS, form)(centres)
            return jnp.sin(found).sum()

        return jax.jit(jax.grad(summed))(jnp.asarray(maps[1]))

    np.testing.assert_allclose(of("products"), of("slices"), atol=1e-4)


def test_unknown_forms(maps):
    with pytest.raises(ValueError, match="form = 'gather': must be one of products, slices"):
        correlation_lookup([], 1, "gather")
