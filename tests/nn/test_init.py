"""Initial weights have the deviation asked for, whatever their size."""

import chex
import jax
import numpy as np
import pytest

from vidjax.nn.init import kaiming_fan_out, normal


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
