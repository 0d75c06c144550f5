"""The engine: patterns, transforms and their inverses, recognition, and errors that name everything."""

import re

import chex
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidjax.models import get_spec, list_models
from vidjax.weights.fit import INFLATIONS
from vidjax.weights.layouts import CONV2D, CONV3D, COPY, LINEAR, QKV_BIAS, QKV_LINEAR, joined
from vidjax.weights.mapping import conversion, convert, head_classes
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import Rule, Source, recognise, sources

sizes = st.integers(1, 4)
quick = settings(max_examples=25, deadline=None)

TOY = Source(
    name="toy",
    models=("toy_*",),
    signature=("stem.weight", "fc.weight"),
    rules=(
        Rule("stem.weight", "stem.kernel", CONV3D),
        Rule("layer{s}.{b}.weight", "stages.{s-1}.{b}.kernel", LINEAR),
        Rule(("attn.{i}.q", "attn.{i}.k", "attn.{i}.v"), "attn.{i}.qkv", QKV_LINEAR),
        Rule("fc.weight", "head.kernel", LINEAR),
        Rule("fc.bias", "head.bias"),
    ),
    ignore=("*.num_batches_tracked",),
    prefixes=("encoder.", "net."),
)
SHAPES = {
    "stem.kernel": (1, 3, 3, 3, 4),
    "stages.0.0.kernel": (4, 5),
    "stages.1.0.kernel": (5, 5),
    "attn.0.qkv": (5, 15),
    "head.kernel": (5, 7),
    "head.bias": (7,),
}


def toy_state(**changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {
        "stem.weight": (4, 3, 1, 3, 3),
        "layer1.0.weight": (5, 4),
        "layer2.0.weight": (5, 5),
        "attn.0.q": (5, 5),
        "attn.0.k": (5, 5),
        "attn.0.v": (5, 5),
        "fc.weight": (7, 5),
        "fc.bias": (7,),
        "stem.num_batches_tracked": (),
    }
    shapes |= changes
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items() if shape is not None}


@pytest.fixture
def toy_table(monkeypatch):
    """Recognition among the given tables only."""

    def use(*tables: Source) -> None:
        monkeypatch.setattr("vidjax.weights.table.sources", lambda: tables)

    return use


@quick
@given(shape=st.tuples(*[sizes] * 5), axes=st.sampled_from([(COPY, 3), (LINEAR, 2), (CONV3D, 5), (CONV2D, 4)]))
def test_one_array_comes_back(shape, axes):
    transform, ndim = axes
    x = np.random.default_rng(0).standard_normal(shape[:ndim])
    (back,) = transform.inverse(transform.forward(x))
    np.testing.assert_array_equal(back, x)


@quick
@given(dim=sizes, inner=sizes, parts=st.integers(1, 4))
def test_joined_arrays_come_back(dim, inner, parts):
    rng = np.random.default_rng(0)
    for transform, shape in ((joined(parts, LINEAR), (dim, inner)), (joined(parts, COPY), (dim,))):
        arrays = [rng.standard_normal(shape) for _ in range(parts)]
        back = transform.inverse(transform.forward(*arrays))
        assert len(back) == parts
        for x, y in zip(arrays, back, strict=True):
            np.testing.assert_array_equal(x, y)


def test_layouts():
    out, inside, t, h, w = 2, 3, 4, 5, 6
    chex.assert_shape(CONV3D.forward(np.zeros((out, inside, t, h, w))), (t, h, w, inside, out))
    chex.assert_shape(CONV2D.forward(np.zeros((out, inside, h, w))), (1, h, w, inside, out))
    chex.assert_shape(LINEAR.forward(np.zeros((out, inside))), (inside, out))
    q, k, v = (np.full((2, 3), n) for n in range(3))
    qkv = QKV_LINEAR.forward(q, k, v)
    chex.assert_shape(qkv, (3, 6))
    np.testing.assert_array_equal(qkv[0], [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(QKV_BIAS.forward(q[:, 0], k[:, 0], v[:, 0]), [0, 0, 1, 1, 2, 2])


@quick
@given(stage=st.integers(1, 12), block=st.integers(0, 40))
def test_placeholders(stage, block):
    rule = Rule("layer{s}.{b}.conv.weight", "stages.{s-1}.{b}.conv.kernel", COPY)
    key = f"layer{stage}.{block}.conv.weight"
    assert rule.fill(rule.match(key)) == ((key,), f"stages.{stage - 1}.{block}.conv.kernel")


@pytest.mark.parametrize(
    "key", ["layer1.0.conv.weight2", "xlayer1.0.conv.weight", "layerA.0.conv.weight", "layer1.0.0.conv.weight",
            "layer1.0.convXweight"]
)  # fmt: skip
def test_a_pattern_takes_nothing_else(key):
    assert Rule("layer{s}.{b}.conv.weight", "stages.{s-1}.{b}.kernel").match(key) is None


def test_one_name_means_the_same_twice():
    rule = Rule("a.{i}.b.{i}", "x.{i}")
    assert rule.match("a.1.b.1") == {"i": "1"}
    assert rule.match("a.1.b.2") is None


@pytest.mark.parametrize(
    ("keys", "path"),
    [("a.{i}", "x"), ("a", "x.{i}"), (("a.{i}", "b"), "x.{i}"), ("a.{i-1}", "x.{i}"), ("a.{", "x"), ("a.{0}", "x.{0}")],
)
def test_a_table_with_a_mistake_is_refused(keys, path):
    with pytest.raises(ValueError, match=r"placeholder|arithmetic"):
        Rule(keys, path)


def test_convert_sets_everything():
    state = toy_state()
    arrays = convert(state, TOY, SHAPES)
    assert {path: array.shape for path, array in arrays.items()} == SHAPES
    np.testing.assert_array_equal(arrays["stages.1.0.kernel"], state["layer2.0.weight"].T)
    np.testing.assert_array_equal(arrays["attn.0.qkv"][:, 5:10], state["attn.0.k"].T)


def test_convert_gives_float32_copies():
    state = {key: value.astype(np.float64) for key, value in toy_state().items()}
    arrays = convert(state, TOY, SHAPES)
    assert all(array.dtype == np.float32 for array in arrays.values())
    state = toy_state()
    arrays = convert(state, TOY, SHAPES)
    assert not any(np.shares_memory(array, value) for array in arrays.values() for value in state.values())


def test_prefixes_are_taken_off_key_by_key():
    state = {key if key.startswith("fc") else f"net.encoder.{key}": value for key, value in toy_state().items()}
    chex.assert_trees_all_equal(convert(state, TOY, SHAPES), convert(toy_state(), TOY, SHAPES))
    state["stem.weight"] = state["net.encoder.stem.weight"]
    with pytest.raises(CheckpointError, match=re.escape("net.encoder.stem.weight and stem.weight both")):
        convert(state, TOY, SHAPES)


def test_one_error_names_everything():
    state = toy_state(
        **{
            "layer1.0.weight": (6, 4),  # shape
            "layer2.0.weight": None,  # unset
            "layer3.0.weight": (5, 5),  # no such parameter
            "optimizer.momentum": (2,),  # no rule
            "attn.0.k": None,  # a part
            "attn.1.q": (5, 5),  # parts of what the model lacks
            "net.extra.bias": (3,),  # no rule, with its prefix
        }
    )
    with pytest.raises(CheckpointError) as raised:
        convert(state, TOY, SHAPES)
    message = str(raised.value)
    for part in (
        "3 keys of the checkpoint have no place",
        "layer3.0.weight (5x5), for stages.2.0.kernel",
        "optimizer.momentum (2)",
        "net.extra.bias (3)",
        "2 parameters of the model stay unset",
        "stages.1.0.kernel (5x5)",
        "attn.0.qkv (5x15)",
        "1 shapes differ",
        "stages.0.0.kernel: layer1.0.weight give 4x6, the model has 4x5",
        "attn.0.qkv: attn.0.q, attn.0.v came without attn.0.k",
        "attn.1.qkv: attn.1.q came without attn.1.k, attn.1.v",
    ):
        assert part in message, message
    assert "num_batches_tracked" not in message
    assert "head" not in message


def test_arrays_that_a_transform_cannot_take_are_named():
    with pytest.raises(CheckpointError, match=r"stem\.kernel: .* cannot take stem\.weight \(4x3\)"):
        convert(toy_state(**{"stem.weight": (4, 3)}), TOY, SHAPES)
    with pytest.raises(CheckpointError, match=r"attn\.0\.qkv: .*one shape, not 5x5, 6x5, 5x5"):
        convert(toy_state(**{"attn.0.k": (6, 5)}), TOY, SHAPES)


def test_a_parameter_that_two_rules_make_is_an_error():
    twice = Source("toy", ("*",), (), (*TOY.rules, Rule("old.bias", "head.bias")), TOY.ignore)
    with pytest.raises(CheckpointError, match=r"head\.bias: several keys make it: fc\.bias, old\.bias"):
        convert(toy_state(**{"old.bias": (7,)}), twice, SHAPES)


def test_another_number_of_classes_leaves_the_whole_head_out_on_request_only():
    state = toy_state(**{"fc.weight": (9, 5), "fc.bias": (9,)})
    assert head_classes(state, TOY) == 9
    arrays = convert(state, TOY, SHAPES, allow_head_mismatch=True)
    assert set(SHAPES) - set(arrays) == {"head.kernel", "head.bias"}
    with pytest.raises(CheckpointError, match=r"head\.kernel: fc\.weight give 5x9, the model has 5x7"):
        convert(state, TOY, SHAPES)


@pytest.mark.parametrize(
    "changes", [{"fc.weight": (9, 6), "fc.bias": (9,)}, {"fc.weight": None, "fc.bias": None}, {"fc.bias": None}]
)
def test_any_other_difference_of_the_head_is_an_error(changes):
    with pytest.raises(CheckpointError, match=r"head\."):
        convert(toy_state(**changes), TOY, SHAPES, allow_head_mismatch=True)


def test_a_missing_classifier_is_named():
    with pytest.raises(CheckpointError, match=r"no classifier \(source toy looks for fc\.weight, fc\.bias\)"):
        head_classes(toy_state(**{"fc.weight": None, "fc.bias": None}), TOY)


def test_recognition_goes_by_model_and_signature(toy_table):
    other = Source("other", ("toy_*", "big"), ("conv.weight",), ())
    toy_table(TOY, other)
    assert recognise(toy_state(), "toy_1") is TOY
    assert recognise(["encoder.stem.weight", "net.fc.weight"], "toy_1") is TOY
    assert recognise(["conv.weight"], "big") is other
    assert recognise(["anything"], "toy_1", source="other") is other
    with pytest.raises(CheckpointError, match=r"(?s)toy lacks fc\.weight.*other lacks conv\.weight.*stem\.weight"):
        recognise(["stem.weight"], "toy_1")
    with pytest.raises(CheckpointError, match=r"several sources of toy_1: toy, other.*source="):
        recognise(["stem.weight", "fc.weight", "conv.weight"], "toy_1")
    with pytest.raises(CheckpointError, match=r"fit no source of big:\n  other lacks conv\.weight"):
        recognise(toy_state(), "big")
    with pytest.raises(CheckpointError, match="source 'toy' can be read into big; it takes: other"):
        recognise(toy_state(), "big", source="toy")
    with pytest.raises(CheckpointError, match="no other framework has small, so it takes no other"):
        recognise(toy_state(), "small")
    with pytest.raises(ValueError, match=r"no source 'tou'\. Did you mean 'toy'"):
        recognise(toy_state(), "toy_1", source="tou")


def test_tables_of_one_name_are_told_apart_by_their_signatures(toy_table):
    new = Source("toy", ("toy_*",), ("conv.weight",), ())
    toy_table(TOY, new)
    assert recognise(["conv.weight"], "toy_1", source="toy") is new


def test_absent_keys_tell_sources_apart(toy_table):
    longer = Source("longer", ("toy_*",), ("stem.weight", "time"), ())
    shorter = Source("shorter", ("toy_*",), ("stem.weight",), (), absent=("time",), prefixes=("net.",))
    toy_table(longer, shorter)
    assert recognise(["stem.weight", "time"], "toy_1") is longer
    assert recognise(["net.stem.weight"], "toy_1") is shorter
    with pytest.raises(CheckpointError, match=r"shorter lacks stem\.weight, not time"):
        recognise(["net.time"], "toy_1")


# The toy whose stem may be inflated, whose second stage starts as the first, and which may lack its attention and head.
PARTIAL = Source(
    **{
        **vars(TOY),
        "rules": (
            Rule("stem.weight", "stem.kernel", CONV3D, INFLATIONS["central"]),
            Rule("layer{s}.{b}.weight", "stages.{s-1}.{b}.kernel", LINEAR, also=(("stages.{s}.{b}.kernel", LINEAR),)),
            *TOY.rules[2:],
        ),
        "fresh": ("attn.*", "head.*"),
    }
)
PARTIAL_SHAPES = {**SHAPES, "stem.kernel": (3, 3, 3, 3, 4), "stages.1.0.kernel": (4, 5)}
NO_HEAD = {"fc.weight": None, "fc.bias": None}
NO_ATTENTION = {f"attn.0.{part}": None for part in "qkv"}


def test_a_partial_match_lists_what_was_inflated_copied_and_newly_initialised():
    state = toy_state(**NO_HEAD, **NO_ATTENTION, **{"layer2.0.weight": None})
    made = conversion(state, PARTIAL, PARTIAL_SHAPES)
    assert made.inflated == ("stem.kernel",)
    assert made.copied == ("stages.1.0.kernel",)
    assert set(made.fresh) == {"attn.0.qkv", "head.kernel", "head.bias"}
    assert made.resized == ()
    assert made.arrays.keys() == PARTIAL_SHAPES.keys() - set(made.fresh)
    np.testing.assert_array_equal(made.arrays["stages.1.0.kernel"], state["layer1.0.weight"].T)
    np.testing.assert_array_equal(made.arrays["stem.kernel"][1], state["stem.weight"].transpose(2, 3, 4, 1, 0)[0])
    assert not made.arrays["stem.kernel"][[0, 2]].any()
    assert head_classes(state, PARTIAL) is None
    other = conversion(state, PARTIAL, PARTIAL_SHAPES, inflation="average").arrays["stem.kernel"]
    np.testing.assert_allclose(other[0], other[2])


def test_a_copy_gives_way_to_the_parameters_own_key():
    shapes = {**SHAPES, "stages.1.0.kernel": (4, 5)}
    state = toy_state(**{"layer2.0.weight": (5, 4)})
    made = conversion(state, PARTIAL, shapes)
    assert made.copied == made.fresh == made.inflated == ()
    np.testing.assert_array_equal(made.arrays["stages.1.0.kernel"], state["layer2.0.weight"].T)


def test_what_may_be_lacking_is_no_excuse_for_the_rest():
    state = toy_state(**NO_HEAD, **{"stem.weight": None, "layer1.0.weight": None, "layer2.0.weight": None})
    with pytest.raises(CheckpointError) as raised:
        conversion(state, PARTIAL, PARTIAL_SHAPES)
    assert "stem.kernel (3x3x3x3x4)" in str(raised.value)
    assert "head.kernel" not in str(raised.value)
    with pytest.raises(CheckpointError, match="the model has 3x5x3x3x4, and only the temporal extent may differ"):
        conversion(toy_state(), PARTIAL, {**PARTIAL_SHAPES, "stem.kernel": (3, 5, 3, 3, 4)})


def test_inflations_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="inflation = 'middle': must be one of 'central', 'average'"):
        conversion(toy_state(), PARTIAL, PARTIAL_SHAPES, inflation="middle")
    with pytest.raises(ValueError, match="checkpoints of source toy hold nothing to inflate"):
        conversion(toy_state(), TOY, SHAPES, inflation="average")


@pytest.mark.parametrize("name", list_models())
def test_specs_name_the_sources_there_are(name):
    assert set(get_spec(name).sources) == {source.name for source in sources() if source.serves(name)}
