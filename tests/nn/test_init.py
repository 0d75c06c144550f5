"""Initial weights have the deviation asked for, whatever their size."""

import chex
import jax
import numpy as np
import pytest

from tests.peers import needs
from vidjax.nn.init import kaiming_fan_out, normal, scaled_normal, uniform, uniform_bias, uniform_fan_in


@pytest.mark.parametrize("shape", [(5,), (3, 7, 11), (2**16 + 3,), (1, 2**20 + 1)])
def test_normal_deviates_of_any_size(shape):
    values = normal(jax.random.key(0), shape, 2.0)
    chex.assert_shape(values, shape)
    flat = np.asarray(values).ravel()
    assert len(np.unique(flat)) > 0.99 * len(flat) * (1 - len(flat) / 2**24)  # no block is repeated
    if len(flat) > 1000:
        assert abs(flat.mean()) < 0.05 and abs(flat.std() - 2) < 0.05
    assert (flat != np.asarray(normal(jax.random.key(1), shape, 2.0)).ravel()).any()


def test_fan_out():
    kernel = kaiming_fan_out(jax.random.key(0), (1, 3, 3, 16, 64))
    assert abs(float(kernel.std()) / (2 / (64 * 9)) ** 0.5 - 1) < 0.05


@pytest.mark.parametrize("shape", [(5,), (1, 2**16 + 3)])
def test_evenly_spread_numbers(shape):
    values = np.asarray(uniform(jax.random.key(0), shape, 2.0))
    assert values.shape == shape and values.dtype == np.float32 and (np.abs(values) <= 2).all()
    if values.size > 1000:
        assert np.abs(np.histogram(values, 10, (-2, 2))[0] / values.size - 0.1).max() < 0.01


def test_pytorchs_layers_start_within_the_root_of_their_inputs():
    torch = needs("torch")
    torch.manual_seed(0)
    layer = torch.nn.Conv3d(16, 64, (1, 3, 3))
    for theirs, ours in (
        (layer.weight, uniform_fan_in(jax.random.key(0), (1, 3, 3, 16, 64))),
        (layer.bias, uniform_bias(9 * 16)(jax.random.key(0), (64,))),
    ):
        # The largest of so many numbers is close to the bound, 1/12.
        assert abs(float(theirs.detach().abs().max()) - 1 / 12) < 0.01
        assert abs(float(np.abs(ours).max()) - 1 / 12) < 0.01


def test_an_initialiser_of_one_deviation():
    values = scaled_normal(0.25)(jax.random.key(0), (64, 64))
    assert values.shape == (64, 64) and abs(float(values.std()) - 0.25) < 0.01
