"""A 2D ResNet of two blocks, small enough to compile and train within a test."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from vidjax.models.families.resnet import Stage, Stem, frame_conv
from vidjax.models.state import merge, split
from vidjax.nn.conv import conv_formulation


@pytest.fixture(scope="module", autouse=True)
def plain_convolutions():
    """XLA's own convolutions, which compile faster than those that run faster. For modules that import this name."""
    with conv_formulation("native"):
        yield


def network(seed: int = 0) -> dict[str, Any]:
    """Arguments of a `ResNet` of 8 and 16 channels."""
    rngs = nnx.Rngs(seed)
    stem = Stem(8, (1, 3, 3), rngs=rngs)
    stages = [Stage(1, 8, (1, 1, 1), frame_conv), Stage(1, 16, (1, 2, 2), frame_conv)]
    return {"stem": stem, "stem_features": 8, "stages": stages, "rngs": rngs}


def draw(shape, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def overfit(model: nnx.Module, video: Any, steps: int, rate: float = 0.3, idle: Collection[str] = ()) -> list[float]:
    """The losses of `steps` updates on clips of classes 0, 1, 2, 0, …; checks gradients and statistics on the way.

    `idle` names the parameters that no gradient reaches.
    """
    model.train()
    graphdef, params, stats = split(model)
    before, labels = stats, jnp.arange(len(jax.tree.leaves(video)[0])) % 3

    @jax.jit
    def step(params, stats, seed):
        def loss(params):
            model = merge(graphdef, params, stats)
            logits = model(video, rngs=nnx.Rngs(dropout=jax.random.key(seed)))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), split(model)[2]

        (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        params = {path: array - rate * gradients[path] for path, array in params.items()}
        return params, stats, value, gradients

    losses = []
    for seed in range(steps):
        params, stats, value, gradients = step(params, stats, seed)
        losses.append(float(value))
        assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    assert {path for path, gradient in gradients.items() if not np.asarray(gradient).any()} == set(idle)
    assert [path for path in stats if (np.asarray(stats[path]) == np.asarray(before[path])).all()] == []
    model.eval()
    return losses
