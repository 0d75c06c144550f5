"""Stages of a network for views of any files: what one leaves of a view, the next goes on with in any other batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.tiny import clips
from vidjax.config import Config, ModelConfig
from vidjax.models.build import build_model
from vidjax.models.exits import all_logits, stage
from vidjax.view_batches import staged


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), [("tsm_tiny", "stages.1.0"), ("slowfast_tiny", "laterals.1")])
def test_views_are_regrouped_between_stages(name, layer):
    """For a network of frames, whose inner arrays are `(B · T, …)`, and for one of several pathways."""
    network = build_model(Config(model=ModelConfig(name=name, exits=(layer,))), 3, dtype=None)
    video = clips(name, batch=3)
    traced = []

    def part(number):
        def run(network, inputs, left):
            traced.append((number, len(inputs["video"])))
            return stage(network, inputs, number, left)

        return staged(network, run)

    first, rest = part(0), part(1)
    views = [{"video": np.asarray(each)} for each in video]
    early, left = first(views, [[]] * 3)
    end, _ = rest([views[2], views[0]], [left[2], left[0]])
    alone, _ = rest([views[1]], [left[1]])
    again, _ = rest([views[0], views[1]], [left[0], left[1]])
    expected = jax.jit(lambda video: all_logits(network, video))(jnp.asarray(video))
    np.testing.assert_allclose(early, expected[0], rtol=1e-4, atol=1e-5)
    found = np.stack([end[1], alone[0], end[0]])
    np.testing.assert_allclose(found, expected[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(again, expected[1][:2], rtol=1e-4, atol=1e-5)
    assert traced == [(0, 3), (1, 2), (1, 1)]  # compiled once for each size
