"""What a masked autoencoder is trained for: masks follow from the step, and parts of a batch add up."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidjax.tasks.reconstruct.objective import PixelObjective
from vidjax.training.step import StepOptions, clips_of, init_state, make_train_step

from .small import SPEC, make_batch, network


def test_masks_follow_from_the_step():
    """The same batch and weights: another step hides other tubes, the same one the same."""
    model, optimizer = network(), optax.sgd(0.0)
    update = jax.jit(make_train_step(model, optimizer, PixelObjective(SPEC), StepOptions(seed=0)))
    first = init_state(model, optimizer, ema=False)
    losses = [
        float(update(dataclasses.replace(first, step=jnp.int32(step)), make_batch()).metrics["loss"])
        for step in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2] and losses[2] == pytest.approx(losses[0], rel=0.1)


def test_the_loss_is_the_mean_error_of_hidden_pixels_summed_over_clips():
    model, objective, examples = network(), PixelObjective(SPEC), clips_of(make_batch(views=2))
    assert objective.weight(examples) == 16 and objective.sums == {}
    key = jax.random.key(5)
    loss, sums = jax.jit(lambda examples: objective(model, examples, key))(examples)
    # Nothing learned, the normalised pixels of each hidden tubelet have variance 1: each clip's error is about that.
    assert sums == {} and loss / 16 == pytest.approx(1, rel=0.5)
    fewer = jax.tree.map(lambda x: x[:4], examples)
    assert np.asarray(jax.jit(lambda examples: objective(model, examples, key)[0])(fewer)) < 0.5 * loss
