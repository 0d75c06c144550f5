"""X3D's tables: every published key has its place in every named model, and the logits are the references'."""

import math

import numpy as np
import pytest

from tests.golden import read_keys
from tests.models.abstract import abstract, params_of, shapes_of
from tests.weights.answers import errors
from vidjax.apps.convert import convert as convert_checkpoint
from vidjax.models.registry import get_spec, list_models
from vidjax.models.state import split
from vidjax.training.checkpoints import load_model
from vidjax.weights import load_into
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise

TABLES = [
    ("x3d_xs", "pytorchvideo_x3d_xs", "pytorchvideo"),
    ("x3d_s", "pytorchvideo_x3d_s", "pytorchvideo"),
    ("x3d_m", "pytorchvideo_x3d_m", "pytorchvideo"),
    ("x3d_l", "pytorchvideo_x3d_l", "pytorchvideo"),
    ("x3d_m", "slowfast_X3D_M", "slowfast"),
    ("x3d_m", "mmaction2_x3d", "mmaction2"),
]


def zeros(keys):
    """Zeros of the listed shapes that take no memory."""
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in keys}


def published(shared, listing):
    rows = (shared / "reference" / "checkpoint-keys" / f"{listing}.tsv").read_text().splitlines()
    return zeros((k, tuple(int(n) for n in s.split("x") if n)) for k, s, *_ in (row.split("\t") for row in rows))


@pytest.mark.parametrize(("name", "listing", "source"), TABLES)
def test_every_published_key_and_shape_has_its_place(shared, name, listing, source):
    state = published(shared, listing)
    table = recognise(state, name)
    assert table.name == source and source in get_spec(name).sources
    shapes = shapes_of(name, **table.kwargs)
    assert convert(state, table, shapes).keys() == shapes.keys()
    floats = [array for key, array in state.items() if not key.endswith("num_batches_tracked")]
    assert sum(array.size for array in floats) == sum(map(math.prod, shapes.values()))


@pytest.mark.parametrize(("name", "listing", "source"), TABLES)
def test_parameter_counts_are_the_references(shared, name, listing, source):
    rows = [line.split("\t") for line in (shared / "reference" / "models.tsv").read_text().splitlines()[1:]]
    count = {row[0]: int(row[1]) for row in rows}[listing]
    kwargs = {} if source == "pytorchvideo" else {"norm_every_shortcut": True}
    assert sum(map(math.prod, params_of(name, **kwargs).values())) == count


def test_every_named_model_is_compared():
    assert {name for name, *_ in TABLES} == set(list_models("x3d_*")) - {"x3d_tiny"}


def test_the_stem_is_not_swapped():
    """The names are: pytorchvideo's conv_t looks at space, conv_xy at time."""
    rng = np.random.default_rng(0)
    keys = {key: shape for key, shape, _ in read_keys("pytorchvideo_x3d_s")}
    state = zeros(keys.items())
    for key in ("blocks.0.conv.conv_t.weight", "blocks.0.conv.conv_xy.weight"):
        state[key] = rng.standard_normal(keys[key]).astype(np.float32)
    arrays = convert(state, recognise(state, "x3d_s"), shapes_of("x3d_s"))
    np.testing.assert_array_equal(
        arrays["stem.spatial.kernel"], state["blocks.0.conv.conv_t.weight"].transpose(2, 3, 4, 1, 0)
    )
    np.testing.assert_array_equal(
        arrays["stem.temporal.kernel"], state["blocks.0.conv.conv_xy.weight"].transpose(2, 3, 4, 1, 0)
    )


@pytest.mark.parametrize("table", ["pytorchvideo_x3d_s", "slowfast_X3D_M", "mmaction2_x3d"])
def test_transforms_are_undone(table):
    rng = np.random.default_rng(0)
    keys = [(key, shape) for key, shape, dtype in read_keys(table) if dtype.startswith("float")]
    source = recognise([key for key, _ in keys], "x3d_s")
    originals = {key: short for short, key in source.stripped(key for key, _ in keys).items()}
    for key, shape in keys:
        rule = next(rule for rule in source.rules if rule.match(originals[key]) is not None)
        array = rng.standard_normal(shape).astype(np.float32)
        np.testing.assert_array_equal(rule.transform.inverse(rule.transform.forward(array))[0], array)


@pytest.mark.slow
def test_where_the_norm_comes_from_is_said():
    state = zeros((key, shape) for key, shape, _ in read_keys("slowfast_X3D_M"))
    with pytest.raises(CheckpointError, match=r"branch1_bn\.weight[^$]*--config\.model\.kwargs\.norm_every_shortcut"):
        load_into(abstract("x3d_m"), state, name="x3d_m")


@pytest.mark.slow
def test_the_networks_of_slowfast_are_built_with_their_norm(tmp_path):
    state = zeros((key, shape) for key, shape, _ in read_keys("slowfast_X3D_M"))
    assert convert_checkpoint("x3d_m", state, tmp_path / "out") == 0
    model, meta, _ = load_model(tmp_path / "out")
    assert meta.config.model.kwargs == {"norm_every_shortcut": True}
    assert not split(model)[1]["stages.0.0.shortcut.norm.scale"].any()


@pytest.mark.slow(first=1)
@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("pytorchvideo_x3d_s_13x160", "x3d_s"),
        ("pytorchvideo_x3d_m_16x224", "x3d_m"),
        ("pytorchvideo_x3d_l_16x312", "x3d_l"),
        ("slowfast_X3D_M_16x224", "x3d_m"),
        ("mmaction2_x3d_s_13x160", "x3d_s"),
    ],
)
def test_logits_are_the_references(reference, name):
    assert max(errors(reference, name)) < 1e-4
