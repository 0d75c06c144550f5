"""Networks and batches so small that compiling their updates takes no time."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from vidjax.config import Spec
from vidjax.tasks.classify.objective import ClassObjective
from vidjax.tasks.task import Sum
from vidjax.training.step import StepOptions, init_state, make_train_step

SPEC = Spec.of_video("toy", num_frames=2, size=4, mean=(0.5,) * 3, std=(0.25,) * 3)


class Toy(nnx.Module):
    """A linear classifier with dropout."""

    def __init__(self, num_classes: int = 5, dropout: float = 0.0):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Linear(3, 8, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.head = nnx.Linear(8, num_classes, rngs=rngs)

    def __call__(self, inputs, rngs=None):
        x = nnx.relu(self.conv(inputs["video"])).mean(axis=(1, 2, 3))
        return self.head(self.dropout(x, rngs=rngs))


class ToyNorm(Toy):
    def __init__(self):
        super().__init__()
        self.norm = nnx.BatchNorm(8, rngs=nnx.Rngs(0))

    def __call__(self, inputs, rngs=None):
        return self.head(self.norm(nnx.relu(self.conv(inputs["video"])).mean(axis=(1, 2, 3))))


def make_batch(size=16, seed=0, views=1, several=False):
    """Clips of noise and labels of theirs, the same for all views of a video."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, size).astype(np.int32)
    if several:
        labels = (rng.random((size, 5)) < 0.4).astype(np.float32)
    video = rng.integers(0, 256, (size, views, 2, 4, 4, 3)).astype(np.uint8)
    return {"inputs": {"video": video}, "targets": {"label": np.repeat(labels[:, None], views, axis=1)}}


def compiled(model, optimizer, objective=None, *, seed=0, **options):
    """The jitted update; the objective is that of a classifier unless one is given."""
    return jax.jit(make_train_step(model, optimizer, objective or ClassObjective(SPEC), StepOptions(seed, **options)))


def run(model, batches, objective=None, **options):
    """The state after an update for each batch."""
    objective, optimizer = objective or ClassObjective(SPEC), optax.sgd(0.1, momentum=0.9)
    state = init_state(model, optimizer, ema=options.get("ema_decay", 0) > 0, sums=objective.sums)
    step = compiled(model, optimizer, objective, **options)
    for batch in batches:
        state = step(state, batch)
    return state


class Of:
    """What an objective says of itself where nothing is particular about it."""

    sums, whole_batch, teacher = {}, False, False

    def prepare(self, examples, key):
        return examples

    def weight(self, examples):
        return jnp.float32(len(examples["inputs"]["video"]))


def entering(examples):
    return {"video": examples["inputs"]["video"].astype(jnp.float32) / 255}


class Distil(Of):
    """The answers of the moving average are to be given."""

    teacher = True
    sums: ClassVar = {"answer": Sum("answer", "answer")}

    def __call__(self, network, examples, key, teacher=None):
        inputs = entering(examples)
        target = teacher(inputs, rngs=None)
        return jnp.square(network(inputs, rngs=nnx.Rngs(dropout=key)) - target).sum(), {"answer": target.sum()}
