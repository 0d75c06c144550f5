"""A classifier with a teacher: what each of the two sees, and the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training.toys import SPEC, Toy, make_batch
from vidjax.config import TrainConfig
from vidjax.models.base import NoSuchPartError, VideoNetwork, Widths
from vidjax.models.registry import create_model, get_spec
from vidjax.models.state import split
from vidjax.models.teacher import Teacher
from vidjax.nn.distil import softened_divergence
from vidjax.nn.enter import enter
from vidjax.tasks.classify.distillation import Distillation
from vidjax.tasks.classify.mix import MixRule
from vidjax.tasks.classify.objective import ClassObjective, classification_loss
from vidjax.training.step import StepOptions, clips_of, init_state, make_train_step

HALF = Distillation(0.25, 3.0)


class Watching(Toy):
    def __call__(self, inputs, rngs=None):
        self.seen = np.asarray(inputs["video"])
        return super().__call__(inputs, rngs)


class Bare(VideoNetwork):
    """A network without tokens."""

    widths = Widths(8)


def longer(batch, times):
    rng = np.random.default_rng(5)
    shape = list(batch["inputs"]["video"].shape)
    shape[2] *= times
    return batch | {"inputs": {"video": rng.integers(0, 256, shape).astype(np.uint8)}}


@pytest.mark.parametrize("several", [False, True])
def test_the_loss_is_shared_between_labels_and_teacher(several):
    other = SPEC.with_video(mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    network, teacher, batch = Toy(), Teacher(Toy(dropout=0.5), other), clips_of(make_batch(8, several=several))
    teacher.network.eval()
    teacher.network.head.kernel = -3 * teacher.network.head.kernel
    objective = ClassObjective(SPEC, distil=HALF)
    loss, sums = objective(network, batch, jax.random.key(0), teacher)
    own = network(enter(batch["inputs"], SPEC.inputs))
    theirs = teacher.network(enter(batch["inputs"], other.inputs))
    labels = batch["targets"]["label"]
    expected = 0.75 * classification_loss(own, labels) + 0.25 * softened_divergence(own, theirs, 3.0, several).sum()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    alone, same = ClassObjective(SPEC)(network, batch, jax.random.key(0))
    assert abs(loss - alone) > 1e-2 and sums == same


@pytest.mark.slow
def test_each_sees_its_share_of_the_frames_of_the_same_mixed_clip():
    spec, batch = SPEC.with_video(num_frames=6), longer(make_batch(8), 3)
    network, teacher = Watching(), Teacher(Watching(), spec)
    objective = ClassObjective(SPEC, mix=MixRule(mixup=0.8, cutmix=0, per_clip=True), distil=HALF)
    examples = objective.prepare(clips_of(batch), jax.random.key(1))
    objective(network, examples, jax.random.key(0), teacher)
    assert network.seen.shape[1] == 2 and teacher.network.seen.shape[1] == 6
    np.testing.assert_allclose(network.seen, teacher.network.seen[:, 1::3], rtol=1e-6)
    # A teacher of fewer frames sees its share of the network's.
    fewer = Teacher(Watching(), SPEC.with_video(num_frames=1))
    objective = ClassObjective(SPEC, distil=HALF)
    objective(network, clips_of(make_batch(8)), jax.random.key(0), fewer)
    np.testing.assert_array_equal(fewer.network.seen, network.seen[:, 1::2])


def test_a_network_learns_its_teachers_answers():
    """From them alone: the labels have no weight."""
    objective, batch = ClassObjective(SPEC, distil=Distillation(1.0, 2.0)), make_batch(16)
    teacher = Teacher(Toy(), SPEC)
    teacher.network.head.kernel[...] = -8 * teacher.network.head.kernel[...]
    _, params, stats = split(teacher)
    model, optimizer = Toy(), optax.adam(0.05)
    state = init_state(model, optimizer, ema=False, sums=objective.sums)
    step = jax.jit(make_train_step(model, optimizer, objective, StepOptions(seed=0, accumulate=2), teacher))
    losses = []
    for _ in range(60):
        state = step(state, batch | {"teacher": {"params": params, "stats": stats}})
        losses.append(float(state.metrics["loss"]))
    losses = np.diff([0, *losses])
    assert losses[-1] < 0.1 * losses[0]


def test_sums_add_up_over_parts_of_a_batch():
    objective, network = ClassObjective(SPEC, distil=HALF), Toy()
    teacher, examples = Teacher(Toy(), SPEC), clips_of(make_batch(8))
    teacher.network.head.kernel = -teacher.network.head.kernel
    whole, *parts = (
        objective(network, jax.tree.map(lambda x, rows=rows: x[rows], examples), jax.random.key(0), teacher)[0]
        for rows in (slice(None), slice(0, 3), slice(3, 8))
    )
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-5)


def test_tokens_are_compared_where_both_networks_have_them():
    spec = get_spec("videomae_tiny")
    distil = Distillation(0.5, 2.0, tokens=10.0)
    networks = [create_model("videomae_tiny", num_classes=5, seed=seed) for seed in (0, 1)]
    shape = (2, spec.video.num_frames, spec.video.size, spec.video.size, 3)
    video = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    batch = {"inputs": {"video": video}, "targets": {"label": jnp.array([0, 3])}}

    @jax.jit
    def losses(batch):
        return [
            ClassObjective(spec, distil=rule)(networks[0], batch, jax.random.key(0), Teacher(other, spec))[0]
            for rule in (distil, Distillation(0.5, 2.0))
            for other in networks
        ]

    itself, another, without, other_without = losses(batch)
    np.testing.assert_allclose(itself, without, rtol=1e-5)  # it is as it is itself
    assert another - other_without > 1e-3
    with pytest.raises(NoSuchPartError, match=r"which config\.train\.teacher_tokens reads"):
        distil.answers(Bare(), video)


def test_there_is_a_rule_only_with_a_teacher():
    assert Distillation.of(TrainConfig()) is None
    assert Distillation.of(TrainConfig(teacher="runs/a", teacher_tokens=3.0)) == Distillation(0.5, 2.0, 3.0)
