"""What is replaced in a trace is replaced as it is, and the streams draw what flax's own do."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax.nn.fast_variables import RunningStatistic, dropout_stream


def test_a_traced_value_replaces_a_statistic_without_an_operation():
    zeros = jnp.zeros(3)

    def moved(kind, value):
        statistic = kind(zeros)
        statistic[...] = value
        return statistic.get_value()

    def operations(kind):
        return len(jax.make_jaxpr(lambda x: moved(kind, x * 2))(jnp.ones(3)).eqns)

    assert operations(RunningStatistic) == 1 < operations(nnx.BatchStat)
    np.testing.assert_array_equal(moved(RunningStatistic, jnp.ones(3)), np.ones(3))


def test_a_part_of_a_statistic_can_be_set_as_well():
    statistic = RunningStatistic(jnp.zeros(3))
    statistic[1] = 2.0
    np.testing.assert_array_equal(statistic[...], [0, 2, 0])


def test_dropout_stream_draws_as_flax():
    @jax.jit
    def draws(key):
        streams = nnx.Rngs(dropout=key), dropout_stream(key)
        return [[jax.random.key_data(rngs.dropout()) for _ in range(3)] for rngs in streams]

    flax, own = draws(jax.random.key(3))
    np.testing.assert_array_equal(own, flax)
    assert len({tuple(np.asarray(key)) for key in own}) == 3
    # Also through what takes modules apart, as loops over blocks do.
    rngs = nnx.merge(*nnx.split(dropout_stream(jax.random.key(3))))
    np.testing.assert_array_equal([jax.random.key_data(rngs.dropout()) for _ in range(3)], flax)
