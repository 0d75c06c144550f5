"""Training of flow: the loss by its definition, and a small network that learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.data.flow_shapes import flow_batch
from vidjax.training import flow
from vidjax.training.flow import sequence_loss


@pytest.mark.slow
def test_loss_by_its_definition():
    rng = np.random.default_rng(0)
    flows, true = rng.normal(size=(3, 2, 4, 5, 2)).astype(np.float32), rng.normal(size=(2, 4, 5, 2)).astype(np.float32)
    known = rng.random((2, 4, 5)) < 0.7
    true[0, 0, 0], known[0, 0, 0] = 300, True  # longer than 400 pixels
    wanted = 0.0
    for update, field in enumerate(flows):
        counts = known.copy()
        counts[0, 0, 0] = False
        wanted += 0.8 ** (2 - update) * (np.abs(field - true) * counts[..., None]).mean()
    np.testing.assert_allclose(jax.jit(sequence_loss)(flows, true, known), wanted, rtol=1e-5)
    assert not jnp.any(jax.grad(sequence_loss)(jnp.asarray(flows), true, jnp.zeros((2, 4, 5), bool)))


@pytest.mark.slow
def test_a_small_network_learns_a_batch(monkeypatch):
    losses, batch = [], flow_batch(0, 4, size=32)
    monkeypatch.setattr(flow, "flow_batch", lambda seed, count, size: batch)
    network = flow.train_flow(
        "raft_small_tiny", steps=40, batch_size=4, size=32, told=lambda step, loss: losses.append(loss)
    )
    assert len(losses) == 40 and np.mean(losses[-5:]) < 0.6 * losses[0]
    assert set(flow.flow_figures(network, count=4, size=32)) >= {"epe"}
