"""The network of a config, with its own head or another."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vidjax.config import ClipConfig, Config, DataConfig, ModelConfig
from vidjax.models.build import build_model
from vidjax.models.state import split

CONFIG = Config(model=ModelConfig(name="conv3d_tiny"), seed=3)


@pytest.mark.slow
def test_a_task_may_bring_its_head():
    def head(network, rngs):
        return nnx.Linear(network.widths.pooled, 7, rngs=rngs)

    own, other = (build_model(CONFIG, 5, dtype=None, head=h) for h in (None, head))
    clips = jnp.zeros((2, 8, 64, 64, 3))
    assert own(clips).shape == (2, 5) and other(clips).shape == (2, 7)
    (_, params, _), (_, others, _) = split(own), split(other)
    assert params.keys() == others.keys()  # replaced, not wrapped: the paths are those of before
    for path, array in params.items():
        if not path.startswith("head."):
            np.testing.assert_array_equal(array, others[path])
    _, shapes, _ = split(build_model(CONFIG, 5, dtype=None, abstract=True, head=head))
    assert {path: array.shape for path, array in shapes.items()} == {p: a.shape for p, a in others.items()}


@pytest.mark.parametrize("name", ["clip_tiny", "xclip_tiny"])
def test_tables_are_for_the_clips_and_those_of_places_alone_for_any_length(name):
    config = Config(model=ModelConfig(name=name), data=DataConfig(clip=ClipConfig(num_frames=3, size=48)))
    model = build_model(config, 3, dtype=None, abstract=True)
    assert model.table_grid[1:] == (3, 3) and (name == "clip_tiny" or model.table_grid[0] == 3)
