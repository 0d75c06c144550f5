"""The loss of flow by its definition, and its error."""

import jax
import numpy as np
import pytest

from vidjax.models.registry import get_spec
from vidjax.tasks.optical_flow.objective import FlowObjective


class Known:
    """A network that gives the same flows whatever it sees."""

    def __init__(self, flows):
        self.flows = flows

    def all_flows(self, first, second):
        return self.flows


@pytest.mark.parametrize(("gamma", "fastest"), [(0.8, 400.0), (0.5, 4.0)])
def test_loss_by_its_definition(gamma, fastest):
    rng = np.random.default_rng(0)
    flows, true = rng.normal(size=(3, 2, 4, 5, 2)).astype(np.float32), rng.normal(size=(2, 4, 5, 2)).astype(np.float32)
    known = rng.random((2, 4, 5)) < 0.7
    true[0, 0, 0], known[0, 0, 0] = (3 * fastest / 5, 4.1 * fastest / 5), True  # too fast
    counts = known.copy()
    counts[0, 0, 0] = False
    wanted = 0.0
    for update, field in enumerate(flows):
        wanted += gamma ** (2 - update) * (np.abs(field - true) * counts[..., None]).mean(axis=(1, 2, 3)).sum()
    ends = [np.linalg.norm(flows[-1, i] - true[i], axis=-1)[counts[i]].mean() for i in range(2)]
    examples = {
        "inputs": {"pair": np.zeros((2, 2, 4, 5, 3), np.uint8)},
        "targets": {"flow": true, "known": known},
    }
    objective = FlowObjective(get_spec("raft_tiny"), gamma, fastest)
    loss, sums = objective(Known(flows), examples, jax.random.key(0))
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    np.testing.assert_allclose(sums["epe"], sum(ends), rtol=1e-5)
    assert objective.weight(examples) == 2
