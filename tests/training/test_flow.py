"""Training of flow: the loss by its definition, and a small network that learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.models.flow_networks import create_flow_network
from vidjax.training.flow import flow_figures, sequence_loss, train_flow


def test_loss_by_its_definition():
    rng = np.random.default_rng(0)
    flows, true = rng.normal(size=(3, 2, 4, 5, 2)).astype(np.float32), rng.normal(size=(2, 4, 5, 2)).astype(np.float32)
    known = rng.random((2, 4, 5)) < 0.7
    true[0, 0, 0], known[0, 0, 0] = 300, True  # longer than 400 pixels
    wanted = 0.0
    for update, flow in enumerate(flows):
        counts = known.copy()
        counts[0, 0, 0] = False
        wanted += 0.8 ** (2 - update) * (np.abs(flow - true) * counts[..., None]).mean()
    np.testing.assert_allclose(jax.jit(sequence_loss)(flows, true, known), wanted, rtol=1e-5)
    assert not jnp.any(jax.grad(sequence_loss)(jnp.asarray(flows), true, jnp.zeros((2, 4, 5), bool)))


@pytest.mark.slow
def test_a_small_network_learns():
    losses = []
    network = train_flow(
        "raft_small_tiny", steps=60, batch_size=4, size=32, told=lambda step, loss: losses.append(loss)
    )
    assert len(losses) == 60 and np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    before = flow_figures(create_flow_network("raft_small_tiny"), count=8, size=32)
    assert flow_figures(network, count=8, size=32)["epe"] < before["epe"]
