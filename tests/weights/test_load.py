"""`load_pretrained` and `load_into`: what is set, when the classifier starts anew, and what is refused."""

import logging
from dataclasses import replace

import chex
import jax.numpy as jnp
import numpy as np
import pytest

import vidjax
from tests.peers import needs
from tests.weights.listings import keys_here, zeros
from vidjax.models import create_model
from vidjax.models.state import split
from vidjax.weights import CheckpointError, LoadReport, load_into, load_pretrained
from vidjax.weights.layouts import CONV3D, COPY, LINEAR
from vidjax.weights.load import grouped, takers
from vidjax.weights.table import Rule, Source

MODEL = "frame_pool_tiny"
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def rule_for(path: str, ndim: int) -> Rule:
    home, leaf = path.rsplit(".", 1)
    return Rule(f"{home}.{LEAVES[leaf]}", path, {1: COPY, 2: LINEAR, 5: CONV3D}[ndim])


def all_arrays(model) -> dict[str, np.ndarray]:
    _, params, stats = split(model)
    return {path: np.asarray(array) for path, array in {**params, **stats}.items()}


@pytest.fixture(scope="module")
def donor():
    """A model whose every array is its own, and its table in another framework's layout."""
    model = create_model(MODEL, num_classes=6, seed=5)
    rng = np.random.default_rng(0)
    arrays = {path: rng.uniform(0.5, 1.5, a.shape).astype(np.float32) for path, a in all_arrays(model).items()}
    rules = tuple(rule_for(path, array.ndim) for path, array in arrays.items())
    table = Source("toy", (MODEL,), ("stem.conv.weight",), rules, ("*.num_batches_tracked",))
    return arrays, table


@pytest.fixture
def state(donor, monkeypatch) -> dict[str, np.ndarray]:
    """The donor's arrays as a state dict of the other framework, which is the only source there is."""
    arrays, table = donor
    monkeypatch.setattr("vidjax.weights.table.sources", lambda: (table,))
    out = {rule.keys: rule.transform.inverse(arrays[rule.path])[0].copy() for rule in table.rules}
    return {**out, "stem.norm.num_batches_tracked": np.asarray(1)}


@pytest.mark.slow
def test_every_array_is_set_and_the_model_evaluates(donor, state):
    model = load_pretrained(MODEL, state)
    chex.assert_trees_all_equal(all_arrays(model), donor[0])
    assert not np.isnan(model(jnp.zeros((1, 2, 16, 16, 3)))).any()
    assert vidjax.load_pretrained is load_pretrained


def test_from_a_file_of_torch_tensors(donor, state, tmp_path):
    torch = needs("torch")
    tensors = {f"module.{key}": torch.from_numpy(np.array(value)) for key, value in state.items()}
    torch.save({"model_state": tensors, "epoch": 1}, tmp_path / "a.pth")
    chex.assert_trees_all_equal(all_arrays(load_pretrained(MODEL, tmp_path / "a.pth")), donor[0])


def test_the_model_shares_no_memory_with_the_state_dict(donor, state):
    model = load_pretrained(MODEL, state)
    for value in state.values():
        value[...] = 0
    chex.assert_trees_all_equal(all_arrays(model), donor[0])


def test_initial_weights_are_drawn_only_for_what_the_checkpoint_lacks(donor, state, monkeypatch):
    drawn = []

    def counted(*args, **kwargs):
        drawn.append(kwargs["num_classes"])
        return create_model(*args, **kwargs)

    monkeypatch.setattr("vidjax.weights.load.create_model", counted)
    chex.assert_trees_all_equal(all_arrays(load_pretrained(MODEL, state)), donor[0])
    assert drawn == []
    other = all_arrays(load_pretrained(MODEL, state, num_classes=4, seed=9))
    assert drawn == [4] and other["head.kernel"].shape[-1] == 4
    expected = all_arrays(create_model(MODEL, num_classes=4, seed=9))
    for path, array in other.items():
        np.testing.assert_array_equal(array, expected[path] if path.startswith("head.") else donor[0][path])


def test_further_arguments_reach_the_model(state):
    model = load_pretrained(MODEL, state, source="toy", dtype=jnp.bfloat16, dropout=0.25, temporal_pooling="max")
    assert (model.dropout.rate, model.pooling.name) == (0.25, "max")
    assert {array.dtype for array in all_arrays(model).values()} == {np.dtype(np.float32)}


def test_as_many_classes_as_the_checkpoint_has(state):
    state["head.weight"], state["head.bias"] = np.ones((9, 64), np.float32), np.ones(9, np.float32)
    model = load_pretrained(MODEL, state)
    chex.assert_shape(model.head.kernel, (64, 9))
    np.testing.assert_array_equal(model.head.bias, np.ones(9))


def test_another_number_of_classes_starts_the_head_anew_and_says_so(donor, state, caplog):
    with caplog.at_level(logging.WARNING, "vidjax"):
        model = load_pretrained(MODEL, state, num_classes=3, seed=7)
    assert "6 classes" in caplog.text and "needs 3" in caplog.text and MODEL in caplog.text
    found = all_arrays(model)
    fresh = all_arrays(create_model(MODEL, num_classes=3, seed=7))
    for path, array in found.items():
        expected = fresh[path] if path.startswith("head.") else donor[0][path]
        np.testing.assert_array_equal(array, expected, err_msg=path)


def test_the_report(state, caplog):
    model = create_model(MODEL, num_classes=6)
    assert load_into(model, state, name=MODEL) == LoadReport("toy", len(all_arrays(model)), 6, 6)
    assert not caplog.records
    model = create_model(MODEL, num_classes=2)
    report = load_into(model, state, name=MODEL)
    assert report == LoadReport("toy", len(all_arrays(model)) - 2, 6, 2)
    assert not report.head_loaded
    with pytest.raises(CheckpointError, match=r"head\.kernel: head\.weight give 64x6, the model has 64x2"):
        load_into(model, state, name=MODEL, allow_head_mismatch=False)


def test_what_the_checkpoint_lacks_is_logged_and_reported(donor, state, caplog, monkeypatch):
    """Without its classifier and its second stage, as a network for another task may be."""
    arrays, table = donor
    partial = replace(table, fresh=("stages.1.*", "head.*"))
    monkeypatch.setattr("vidjax.weights.table.sources", lambda: (partial,))
    kept = {key: value for key, value in state.items() if not key.startswith(("stages.1.", "head."))}
    with caplog.at_level(logging.INFO, "vidjax"):
        model = load_pretrained(MODEL, kept, seed=3)
    assert f"state dict into {MODEL}: newly initialised: " in caplog.text
    assert "head.kernel, stages.1.0.conv1.kernel, " in caplog.text
    # As many classes as the model's published one.
    fresh = all_arrays(create_model(MODEL, seed=3))
    for path, array in all_arrays(model).items():
        expected = fresh[path] if path.startswith(("stages.1.", "head.")) else arrays[path]
        np.testing.assert_array_equal(array, expected, err_msg=path)
    assert grouped(["a.0.b", "a.1.b", "c", "d.2.e.3.f"]) == ["a.*.b (2)", "c", "d.2.e.3.f"]
    report = load_into(model, kept, name=MODEL)
    assert set(report.fresh) == {path for path in arrays if path.startswith(("stages.1.", "head."))}
    assert report.num_loaded == len(arrays) - len(report.fresh)
    assert report.checkpoint_classes is None
    assert not report.head_loaded
    monkeypatch.setattr("vidjax.weights.table.sources", lambda: (table,))
    with pytest.raises(CheckpointError, match=r"stay unset:\n  head\.bias"):
        load_into(model, kept, name=MODEL)


def test_a_checkpoint_that_does_not_fit_names_all_and_leaves_the_model_as_it_was(state):
    model = create_model(MODEL, num_classes=3)
    before = all_arrays(model)
    state["stem.norm.weight"] = np.ones(7, np.float32)
    state["extra"] = state.pop("stages.1.0.norm2.running_var")
    with pytest.raises(CheckpointError) as raised:
        load_into(model, state, name=MODEL)
    for part in (f"state dict into {MODEL}", "extra (32)", "stages.1.0.norm2.var (32)", "give 7, the model has 16"):
        assert part in str(raised.value)
    chex.assert_trees_all_equal(all_arrays(model), before)


def test_the_file_is_named(state, tmp_path):
    torch = needs("torch")
    torch.save({"x": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=rf"other\.pth into {MODEL}: (?s:.*)toy lacks stem\.conv\.weight"):
        load_pretrained(MODEL, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no known kind of checkpoint"):
        load_pretrained(MODEL, tmp_path)
    with pytest.raises(ValueError, match="no model 'frame_pool_tinny'"):
        load_pretrained("frame_pool_tinny", state, num_classes=6)


@pytest.mark.parametrize(
    ("listing", "name", "whose"),
    [
        # The same keys, but fewer; other keys.
        pytest.param("torchvision_swin3d_t", "swin3d_s", "swin3d_t", marks=pytest.mark.slow),
        ("torchvision_r2plus1d_18", "r3d_18", "r2plus1d_18"),
        pytest.param(
            "hf4_videomae_small_cls", "videomae_base", "videomae_small", marks=pytest.mark.slow
        ),  # the same keys, other shapes
        pytest.param(
            "torchvision_r3d_18", "r3d_tiny", "r3d_18", marks=pytest.mark.slow
        ),  # a model without checkpoints of others
        pytest.param(
            "timesformer_fb_joint_space_time",
            "timesformer_base_space",
            "timesformer_base_joint",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_model_that_the_checkpoint_is_of_is_named(listing, name, whose):
    state = zeros(keys_here(listing))
    with pytest.raises(CheckpointError, match=rf"\nIts keys and shapes are those of {whose}\.$"):
        load_pretrained(name, state)
    assert takers(state, whose) == []


def test_with_a_key_too_much_it_is_no_other_models_but_its_names_are():
    state = zeros(keys_here("torchvision_r3d_18")) | {"more": np.zeros(1)}
    with pytest.raises(CheckpointError, match=r"\nThese are keys of another model: .*r3d_18") as raised:
        load_pretrained("swin3d_t", state)
    assert "keys and shapes" not in str(raised.value)


def test_a_long_list_is_cut_in_the_message_and_whole_in_the_error():
    with pytest.raises(CheckpointError) as raised:
        load_pretrained("swin3d_s", zeros(keys_here("torchvision_swin3d_t")))
    unset = raised.value.problems["parameters of the model stay unset"]
    assert raised.value.problems.keys() == {"parameters of the model stay unset"}
    assert len(unset) == len(set(unset)) == 156  # twelve blocks of thirteen
    assert unset[-1].startswith("stages.2.blocks.17.") and unset[-1] not in str(raised.value)
    assert "156 parameters of the model stay unset:" in str(raised.value) and "… and 146 more" in str(raised.value)
    assert len(str(raised.value).splitlines()) < 16
