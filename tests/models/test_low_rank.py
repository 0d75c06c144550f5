"""Low-rank pairs: where they are, that they begin as nothing, are trained alone, and are added up."""

import jax
import numpy as np
import optax
import pytest

from vidjax.config import Config, ConfigError, ModelConfig, OptimizerConfig, Spec
from vidjax.config.validate import validate
from vidjax.data.records import LabelSpace
from vidjax.models.base import LOW_RANK
from vidjax.models.build import build_model
from vidjax.models.cost import module_cost, training_macs
from vidjax.models.low_rank import summed, without_low_rank, without_pairs
from vidjax.models.registry import create_model
from vidjax.models.state import frozen_paths, merge, split
from vidjax.tasks.classify.objective import ClassObjective
from vidjax.training.checkpoints import Meta, load_model, save_model
from vidjax.training.optimizer import make_optimizer
from vidjax.training.step import StepOptions, init_state, make_train_step

NAME = "vivit_tiny"
SMALL = {"dim": 32, "depth": 2, "heads": 2, "num_frames": 2, "size": 16, "tubelet": (2, 8, 8)}
SPEC = Spec.of_video(NAME, num_frames=2, size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
CLIPS = np.random.default_rng(0).normal(size=(2, 2, 16, 16, 3)).astype(np.float32)


def config_of(name=NAME, **settings):
    kwargs = SMALL if name == NAME else {}
    return validate(Config(model=ModelConfig(name=name, **{"lora_rank": 2, "kwargs": kwargs} | settings)))


def built(*args, abstract=False, **settings):
    return build_model(config_of(*args, **settings), 3, dtype=None, abstract=abstract)


def plain(**kwargs):
    return create_model(NAME, num_classes=3, seed=0, **SMALL, **kwargs)


either = pytest.mark.parametrize("scanned", [False, True], ids=["blocks", "scanned"])


def trained(model):
    return split(model)[1].keys() - frozen_paths(model)


def pairs(model):
    return {path for path in split(model)[1] if path.endswith(LOW_RANK)}


def perturbed(arrays, scale=0.3):
    """As after training: B and the classifier are no longer zero."""
    rng = np.random.default_rng(0)
    moved = (*LOW_RANK, "head.kernel")
    return {
        path: array + scale * rng.normal(size=array.shape).astype(np.float32) if path.endswith(moved) else array
        for path, array in arrays.items()
    }


@either
def test_it_begins_as_the_network_itself(scanned):
    model = built(scan_blocks=scanned)
    assert pairs(model) and trained(model) == pairs(model) | {"head.kernel", "head.bias"}
    graphdef, params, stats = split(model)
    logits = merge(graphdef, summed(model)(params), stats)(CLIPS)
    np.testing.assert_array_equal(logits, plain(scan_blocks=scanned)(CLIPS))


@either
def test_the_sum_is_the_kernel_and_the_scaled_product(scanned):
    model = built(lora_alpha=6.0, scan_blocks=scanned)
    params = perturbed(split(model)[1])
    after = without_pairs(summed(model)(params))
    assert after.keys() == params.keys() - pairs(model)
    for path, array in after.items():
        place = path.rpartition(".")[0]
        if f"{place}.lora_in" in params and path.endswith("kernel"):
            first, second = (np.asarray(params[f"{place}.{name}"], np.float64) for name in LOW_RANK)
            np.testing.assert_allclose(array, params[path] + 3 * first @ second, atol=1e-5)
        else:
            np.testing.assert_array_equal(array, params[path])


def test_shapes_are_known_without_arrays():
    assert {p: a.shape for p, a in split(built(abstract=True))[1].items()} == {
        p: a.shape for p, a in split(built())[1].items()
    }
    assert frozen_paths(built(abstract=True)) == frozen_paths(built())


def test_an_update_moves_the_pairs_and_the_classifier_alone():
    model = built()
    optimizer = make_optimizer(OptimizerConfig(name="adamw", weight_decay=0.1), optax.constant_schedule(0.01))
    objective = ClassObjective(SPEC)
    state = init_state(model, optimizer, ema=True, sums=objective.sums)
    assert _moments(state.opt_state).keys() == trained(model)
    video = np.random.default_rng(0).integers(0, 255, (3, 1, 2, 16, 16, 3)).astype(np.uint8)
    batch = {"inputs": {"video": video}, "targets": {"label": np.arange(3, dtype=np.int32)[:, None]}}
    step = jax.jit(make_train_step(model, optimizer, objective, StepOptions(seed=0, ema_decay=0.5)))
    after = step(step(step(state, batch), batch), batch)
    moved = {path for path in state.params if np.any(np.asarray(state.params[path]) != np.asarray(after.params[path]))}
    # The classifier begins as zeros and moves first, then B, then A.
    assert moved == trained(model)
    first, total = float(after.metrics["loss"]) / 3, float(after.metrics["loss"])
    for _ in range(30):
        before, after = total, step(after, batch)
        total = float(after.metrics["loss"])
    assert total - before < 0.1 * first


def _moments(opt_state):
    return next(s.mu for s in jax.tree.leaves(opt_state, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(s, "mu"))


def test_what_is_loaded_is_the_plain_network_with_the_products(tmp_path):
    model = built()
    graphdef, params, stats = split(model)
    params = perturbed(params)
    meta = Meta(config_of(), SPEC, LabelSpace(("a", "b", "c")))
    save_model(tmp_path, merge(graphdef, params, stats), meta)
    loaded, meta, _ = load_model(tmp_path)
    assert not pairs(loaded) and not frozen_paths(loaded) and not meta.config.model.lora_rank
    expected = merge(graphdef, summed(model)(params), stats)(CLIPS)
    np.testing.assert_allclose(loaded(CLIPS), expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(expected, merge(graphdef, params, stats)(CLIPS), atol=1e-3)


def test_layers_by_name_and_parts_as_a_whole():
    model = built(lora_layers=("fc1",), lora_whole=("norm",))
    assert pairs(model) and all(".fc1." in path for path in pairs(model))
    assert trained(model) == pairs(model) | {path for path in split(model)[1] if path.startswith("norm.")}
    language = built("smolvlm2_tiny", abstract=True, lora_layers=("q", "v"), lora_whole=("projector",))
    assert trained(language) == pairs(language) | {"projector.kernel"}
    assert all(path.split(".")[-2] in ("q", "v") for path in pairs(language))


def test_without_them_the_paths_are_those_of_the_network():
    model = built()
    kept = pairs(model)
    with without_low_rank(model):
        assert split(model)[1].keys() == split(plain())[1].keys()
    assert pairs(model) == kept


def test_training_costs_as_much_as_of_the_whole_network():
    costs = [training_macs(model, module_cost(model, CLIPS.shape[1:])) for model in (built(), plain())]
    assert costs[0] == costs[1]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"lora_layers": ("nope",)}, "no linear layer has nope in its path; they end in proj, qkv, fc1, fc2"),
        ({"lora_whole": ("nope",)}, "the network has no part 'nope' to train as a whole; its parts are"),
        ({"name": "conv3d_tiny"}, "no linear layer, besides those that are trained whole"),
        ({"name": "aim_tiny"}, "trains small layers of its own"),
        ({"probe": "linear"}, "trains a classifier on a frozen network: give it or lora_rank"),
        ({"frozen": ("norm",)}, "lora_rank freezes all but its pairs and lora_whole"),
        ({"drop_path": 0.1}, "has no effect on the network that lora_rank freezes"),
        ({"lora_rank": 0, "lora_alpha": 4.0}, "is for lora_rank"),
        ({"lora_rank": -1}, "must be 0 .ordinary training. or more"),
    ],
)
def test_wrong_settings(settings, what):
    with pytest.raises(ConfigError, match=what):
        built(abstract=True, **settings)


def test_a_network_without_pairs():
    params = split(plain())[1]
    assert summed(plain())(params) is params
