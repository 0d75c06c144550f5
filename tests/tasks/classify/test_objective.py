"""What a classifier is trained for: the loss against PyTorch's, how many are right, and all of fine-tuning together."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.peers import needs
from tests.training.toys import SPEC, Toy, make_batch
from vidjax.config import Config, ModelConfig, OptimizerConfig
from vidjax.data.records import LabelSpace
from vidjax.models.build import build_model
from vidjax.models.exits import all_logits
from vidjax.models.registry import create_model, get_spec
from vidjax.models.state import merge, split
from vidjax.nn.enter import enter
from vidjax.nn.fast_variables import dropout_stream
from vidjax.tasks import make_task
from vidjax.tasks.classify.mix import MixRule
from vidjax.tasks.classify.objective import ClassObjective, classification_loss, num_correct
from vidjax.training.optimizer import make_optimizer, make_schedule
from vidjax.training.step import StepOptions, clips_of, init_state, make_train_step


def test_loss_equals_pytorch():
    torch = needs("torch")
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((6, 4)).astype(np.float32), rng.integers(0, 4, 6).astype(np.int32)
    entropy = torch.nn.functional.cross_entropy
    expected = entropy(torch.tensor(logits), torch.tensor(labels).long(), label_smoothing=0.2, reduction="sum")
    np.testing.assert_allclose(classification_loss(jnp.array(logits), jnp.array(labels), 0.2), expected, rtol=1e-6)
    many = (rng.random((6, 4)) < 0.5).astype(np.float32)
    # Summed over clips, a mean over classes.
    expected = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor(many)) * 6
    np.testing.assert_allclose(classification_loss(jnp.array(logits), jnp.array(many)), expected, rtol=1e-6)


def test_num_correct():
    logits = jnp.array([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    assert num_correct(logits, jnp.array([1, 2])) == 1
    assert num_correct(logits, jnp.array([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])) == 1


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("mix", [None, MixRule(mixup=0.8, cutmix=1.0, per_clip=True)])
def test_loss_and_sums_add_up_over_any_parts_of_a_batch(mix, several):
    objective, model = ClassObjective(SPEC, 0.1, mix), Toy()
    examples = objective.prepare(clips_of(make_batch(8, several=several)), jax.random.key(3))

    def of(rows):
        part = jax.tree.map(lambda x: x[rows], examples)
        return jnp.stack([*jax.tree.leaves(objective(model, part, jax.random.key(0))), objective.weight(part)])

    whole = of(slice(None))
    for parts in ((slice(0, 3), slice(3, 8)), [slice(i, i + 1) for i in range(8)]):
        np.testing.assert_allclose(sum(map(of, parts)), whole, rtol=1e-5)


@pytest.mark.slow
def test_clips_are_mixed_before_differences_are_taken():
    """As mixing is linear it could come behind, but not where a box is cut out of one clip."""
    spec, seen = SPEC.with_video(enters="differences"), []

    class Watching(Toy):
        def __call__(self, inputs, rngs=None):
            seen.append(inputs["video"])
            return super().__call__(inputs)

    objective = ClassObjective(spec, mix=MixRule(cutmix=1.0))
    examples = objective.prepare(clips_of(make_batch(4)), jax.random.key(1))
    objective(Watching(), examples, jax.random.key(0))
    video = np.asarray(examples["inputs"]["video"], np.float32)
    mixed, (top, bottom, left, right) = video.copy(), np.asarray(examples["mix"].box[0])
    assert bottom > top and right > left
    mixed[:, :, top:bottom, left:right] = video[::-1, :, top:bottom, left:right]
    mixed = (mixed / 255 - 0.5) / 0.25
    expected = np.stack([np.zeros_like(mixed[:, 0]), mixed[:, 1] - mixed[:, 0]], axis=1)
    chex.assert_trees_all_close(seen[0], expected, atol=1e-5)


@pytest.mark.slow
def test_everything_of_fine_tuning_together():
    """Drop path, EMA, mixup and CutMix, repeated augmentation, layer decay, clipping and accumulation in one update."""
    small = {"dim": 16, "depth": 2, "heads": 2, "num_frames": 2, "size": 16}
    model = create_model("videomae_tiny", num_classes=3, drop_path=0.2, dropout=0.1, head_init_scale=1.0, **small)
    spec = get_spec("videomae_tiny").with_video(size=16, num_frames=2)
    config = OptimizerConfig(name="adamw", learning_rate=0.01, schedule="constant", layer_decay=0.5, clip_norm=1.0)
    optimizer = make_optimizer(config, make_schedule(config, steps=9, steps_per_epoch=1, batch_size=8))
    objective = ClassObjective(spec, 0.1, MixRule(mixup=0.8, cutmix=1.0))
    step = jax.jit(make_train_step(model, optimizer, objective, StepOptions(seed=0, ema_decay=0.5, accumulate=2)))
    video = np.random.default_rng(0).integers(0, 256, (8, 2, 2, 16, 16, 3)).astype(np.uint8)
    label = np.repeat((np.arange(8) % 3).astype(np.int32)[:, None], 2, axis=1)
    batch = {"inputs": {"video": video}, "targets": {"label": label}}
    first = init_state(model, optimizer, ema=True, sums=objective.sums)
    state = step(first, batch)
    assert float(state.metrics["weight"]) == 16 and int(state.metrics["bad_step"]) == -1
    change = {path: float(jnp.abs(state.params[path] - first.params[path]).max()) for path in state.params}
    assert min(change.values()) > 0
    # AdamW's first step is the learning rate, whatever the gradient.
    for path, share in (("head.kernel", 1), ("blocks.1.mlp.fc1.kernel", 0.5), ("blocks.0.mlp.fc1.kernel", 0.25),
                        ("patch_embed.kernel", 0.125)):  # fmt: skip
        assert change[path] == pytest.approx(0.01 * share, rel=0.02), path
    ema = state.ema["params"]["head.kernel"]
    np.testing.assert_allclose(ema, (first.params["head.kernel"] + state.params["head.kernel"]) / 2, atol=1e-6)
    assert isinstance(merge(split(model)[0], state.params, state.stats), nnx.Module)


def test_the_loss_of_exits_is_added_with_its_weight_and_reaches_them():
    """In one pass, which is that of the network without exits, with the same batch statistics."""
    config = Config(model=ModelConfig(name="conv3d_tiny", exits=("convs.0", "convs.1"), exit_weight=0.25))
    network, spec = build_model(config, 3, dtype=None), get_spec("conv3d_tiny").with_video(num_frames=2, size=16)
    objective = make_task(config, spec, LabelSpace(tuple("abc"))).objective
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (4, 2, 16, 16, 3)).astype(np.uint8)
    examples = {"inputs": {"video": video}, "targets": {"label": np.array([0, 1, 2, 0], np.int32)}}
    network.train()
    graphdef, params, stats = split(network)
    key = jax.random.key(1)

    def loss(params, objective=objective):
        model = merge(graphdef, params, stats)
        value, sums = objective(model, examples, key)
        return value, (sums["correct"], split(model)[2])

    def by_hand(params):
        model = merge(graphdef, params, stats)
        return [each for each in all_logits(model, enter(examples["inputs"], spec.inputs), dropout_stream(key))]

    *early, end = jax.jit(by_hand)(params)
    labels = examples["targets"]["label"]
    (value, (correct, after)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    expected = [float(classification_loss(each, jnp.asarray(labels))) for each in (*early, end)]
    np.testing.assert_allclose(value, expected[2] + 0.25 * (expected[0] + expected[1]), rtol=1e-6)
    assert correct == num_correct(end, jnp.asarray(labels))
    assert all(np.abs(array).max() > 0 for path, array in gradient.items() if path.endswith("kernel"))
    plain = build_model(dataclasses.replace(config, model=ModelConfig(name="conv3d_tiny")), 3, dtype=None)
    plain.train()
    graphdef, params, stats = split(plain)
    alone, (counted, plain_after) = jax.jit(functools.partial(loss, objective=ClassObjective(spec)))(params)
    np.testing.assert_allclose(alone, expected[2], rtol=1e-6)
    assert counted == correct
    chex.assert_trees_all_close(plain_after, after, rtol=1e-5)
