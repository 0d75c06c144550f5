"""MViT's tables: every published key has its place in every named model, and the logits are the references'."""

import numpy as np
import pytest

from tests.golden import read_index, read_keys
from tests.models.abstract import abstract
from tests.weights.answers import errors
from tests.weights.listing import of_classes
from vidjax.models.registry import get_spec
from vidjax.models.state import split
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise

LISTINGS = [
    ("mvit_v1_b_16x4", "torchvision_mvit_v1_b", "torchvision"),
    ("mvit_v1_b_16x4", "pytorchvideo_mvit_base_16x4", "pytorchvideo"),
    ("mvit_v1_b_16x4", "slowfast_MVIT_B_16x4_CONV", "slowfast"),
    ("mvit_v1_b_32x3", "pytorchvideo_mvit_base_32x3", "pytorchvideo"),
    ("mvit_v1_b24_32x3", "slowfast_MVIT_B_32x3_CONV", "slowfast"),
    ("mvit_v2_s", "torchvision_mvit_v2_s", "torchvision"),
    ("mvit_v2_s", "slowfast_MVITv2_S_16x4", "slowfast"),
    ("mvit_v2_s", "mmaction2_mvit", "mmaction2"),
    ("mvit_v2_b", "slowfast_MVITv2_B_32x3", "slowfast"),
]
GOLDENS = {
    "torchvision_mvit_v2_s_16x224": "mvit_v2_s",
    "slowfast_MVITv2_S_16x4_16x224": "mvit_v2_s",
    "pytorchvideo_mvit_base_16x4_16x224": "mvit_v1_b_16x4",
}


def zeros(rows):
    """Zeros of the listed shapes that take no memory."""
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in rows}


def listed(shared, name):
    rows = (shared / "reference" / "checkpoint-keys" / f"{name}.tsv").read_text().splitlines()
    split_rows = (row.split("\t") for row in rows)
    return zeros((key, tuple(int(n) for n in shape.split("x") if n)) for key, shape, *_ in split_rows)


def keys_of(table):
    return zeros((key, shape) for key, shape, _ in read_keys(table))


def shapes_of(name):
    return {path: p.shape for path, p in split(abstract(name))[1].items()}


def place_everything(name, state):
    """Converts, and gives the source; checks that no value is left over but pytorchvideo's second copies."""
    shapes = shapes_of(name)
    table = recognise(state, name)
    assert table.name in get_spec(name).sources
    assert convert(state, table, shapes).keys() == shapes.keys()
    both = "blocks.0.attn.pool_k.weight" in state
    values = [array for key, array in state.items() if not (both and "_attention_pool_" in key)]
    assert sum(array.size for array in values) == sum(int(np.prod(shape)) for shape in shapes.values())
    return table.name


def in_mmaction2s_names(state):
    names = {"patch_embed.proj.": "patch_embed.projection.", "head.projection.": "cls_head.fc_cls."}
    renamed = {}
    for key, array in state.items():
        for old, new in names.items():
            key = key.replace(old, new)
        key = f"norm3.{key.removeprefix('norm.')}" if key.startswith("norm.") else key
        renamed[key if key.startswith("cls_head") else f"backbone.{key}"] = array
    return renamed


@pytest.mark.slow(after=3)
@pytest.mark.parametrize(("name", "listing", "source"), LISTINGS)
def test_every_published_key_and_shape_has_its_place(shared, name, listing, source):
    state = listed(shared, listing)
    assert place_everything(name, state) == source
    if source == "slowfast" and name.startswith("mvit_v2"):
        renamed = in_mmaction2s_names(state)
        assert renamed.keys() == listed(shared, "mmaction2_mvit").keys() or name != "mvit_v2_s"
        assert place_everything(name, renamed) == "mmaction2"


@pytest.mark.slow
def test_the_large_one_is_read_in_slowfasts_and_mmaction2s_names():
    """There is no published list of its keys: SlowFast's names of the small one, in 48 blocks."""
    blocks = {}
    for key, *_ in read_keys("slowfast_MVITv2_S_16x4"):
        if key.startswith("blocks."):
            blocks.setdefault(key.split(".", 2)[2], None)
    state = {key: None for key, *_ in read_keys("slowfast_MVITv2_S_16x4") if not key.startswith("blocks.")}
    widening = (2, 8, 44)
    for i in range(48):
        state |= {f"blocks.{i}.{key}": None for key in blocks if i in widening or not key.startswith("proj.")}
    # Each array has the shape that the model wants; what is tested is that the keys are just those.
    shapes = shapes_of("mvit_v2_l")
    table = recognise(state, "mvit_v2_l")
    for key in state:
        rule, values = next((rule, v) for rule in table.rules if (v := rule.match(key)) is not None)
        path = rule.fill(values)[1]
        state[key] = rule.transform.inverse(np.broadcast_to(np.float32(0), shapes[path]))[0]
    assert place_everything("mvit_v2_l", state) == "slowfast"
    assert place_everything("mvit_v2_l", in_mmaction2s_names(state)) == "mmaction2"


def test_every_model_that_names_a_source_is_compared():
    named = {(name, source) for name in of_classes("mvit_*") for source in get_spec(name).sources}
    compared = {(name, source) for name, _, source in LISTINGS}
    renamed = {("mvit_v2_b", "mmaction2"), ("mvit_v2_l", "mmaction2"), ("mvit_v2_l", "slowfast")}
    assert named == compared | renamed


def test_either_of_pytorchvideos_names_of_a_pooling_will_do():
    state = keys_of("pytorchvideo_mvit_base_16x4")
    entry = read_index()["pytorchvideo_mvit_base_16x4_16x224"]
    aliases, own = set(entry["aliases"]), set(entry["aliases"].values())
    one = {key: array for key, array in state.items() if key not in aliases}
    other = {key: array for key, array in state.items() if key not in own}
    for kept in (state, one, other):
        assert place_everything("mvit_v1_b_16x4", kept) == "pytorchvideo"
    first = recognise(one, "mvit_v1_b_16x4"), recognise(other, "mvit_v1_b_16x4")
    assert first[0] is not first[1]
    neither = {key: array for key, array in one.items() if key not in own}
    with pytest.raises(CheckpointError, match=r"pytorchvideo lacks blocks\.0\.attn"):
        recognise(neither, "mvit_v1_b_16x4")


def test_separate_projections_are_joined_in_order():
    state = keys_of("pytorchvideo_mvit_base_16x4")
    rng = np.random.default_rng(0)
    parts = {x: rng.standard_normal((192, 192)).astype(np.float32) for x in "qkv"}
    state |= {f"blocks.1.attn.{x}.weight": part for x, part in parts.items()}
    position = rng.standard_normal((1, 3136, 96)).astype(np.float32)
    state["cls_positional_encoding.pos_embed_spatial"] = position
    arrays = convert(state, recognise(state, "mvit_v1_b_16x4"), shapes_of("mvit_v1_b_16x4"))
    for x, found in zip("qkv", np.split(arrays["blocks.1.attn.qkv.kernel"], 3, axis=1), strict=True):
        np.testing.assert_array_equal(found, parts[x].T)
    np.testing.assert_array_equal(arrays["spatial_positions"], position[0])


def test_other_networks_are_refused(shared):
    deeper = listed(shared, "slowfast_MVIT_B_32x3_CONV")
    with pytest.raises(CheckpointError, match="does not fit the model") as caught:
        convert(deeper, recognise(deeper, "mvit_v1_b_16x4"), shapes_of("mvit_v1_b_16x4"))
    assert any("blocks.23.mlp.fc2.weight" in line for lines in caught.value.problems.values() for line in lines)
    first_version = listed(shared, "slowfast_MVIT_B_16x4_CONV")
    with pytest.raises(CheckpointError, match="pos_embed_spatial"):
        convert(first_version, recognise(first_version, "mvit_v2_s"), shapes_of("mvit_v2_s"))


@pytest.mark.slow(first=1)
@pytest.mark.parametrize("reference", GOLDENS)
def test_logits_are_the_references(reference):
    assert max(errors(reference, GOLDENS[reference])) < 1e-4
