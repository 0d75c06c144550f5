"""SlowFast's tables: every published key has its place in every named model, and the logits are the references'."""

import pickle

import numpy as np
import pytest

from tests.golden import fill
from tests.weights import blobs
from tests.weights.answers import errors
from tests.weights.listings import (
    assert_everything_has_its_place,
    count,
    keys_here,
    keys_shared,
    shapes_of,
    zeros,
)
from vidjax.models.families.slowfast import VARIANTS
from vidjax.models.registry import get_spec
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.table import recognise, sources
from vidjax.weights.tables.slowfast import FAST_FIRST

HERE = [
    ("slowfast_r50_8x8", "pytorchvideo_slowfast_r50"),
    ("slowfast_r50_8x8", "slowfast_SLOWFAST_8x8_R50"),
    ("slowfast_r50_8x8_mm", "mmaction2_slowfast_r50_32x224"),
]
LISTED = [
    ("slowfast_r50_8x8", "pytorchvideo_slowfast_r50"),
    ("slowfast_r101_8x8", "pytorchvideo_slowfast_r101"),
    ("slowfast_r101_16x8", "pytorchvideo_slowfast_16x8_r101_50_50"),
    ("slowfast_r50_4x16", "slowfast_SLOWFAST_4x16_R50"),
    ("slowfast_r50_8x8", "slowfast_SLOWFAST_8x8_R50"),
    ("slowfast_r50_8x8_mm", "mmaction2_slowfast"),
]


@pytest.mark.parametrize(("name", "table"), HERE)
def test_every_key_and_shape_has_its_place(name, table):
    assert assert_everything_has_its_place(name, zeros(keys_here(table))).name == table.split("_")[0]


@pytest.mark.parametrize(("name", "listing"), LISTED)
def test_published_listings_and_counts(shared, name, listing):
    state = zeros(keys_shared(shared, listing))
    assert assert_everything_has_its_place(name, state).name == listing.split("_")[0]
    rows = [line.split("\t") for line in (shared / "reference" / "models.tsv").read_text().splitlines()[1:]]
    assert count(name) == {row[0]: int(row[1]) for row in rows}[listing]


@pytest.mark.slow
def test_mmaction2_networks_without_a_listing():
    """Their READMEs give the parameters in millions, to one place."""
    for name, millions in (("r50_4x16_mm", 34.5), ("r101_8x8_mm", 62.9), ("r101_r50_4x16_mm", 62.4)):
        assert round(count(f"slowfast_{name}") / 1e6, 1) == millions


def test_every_source_is_served():
    for name in VARIANTS:
        assert set(get_spec(name).sources) == {source.name for source in sources() if source.serves(name)}


def blob_state(shared, name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Arrays in the repository's names, and the same in caffe2's. What is large is zeros."""
    listing = {"slowfast_r50_8x8": "slowfast_SLOWFAST_8x8_R50"}[name]
    keys = {key: shape for key, shape in keys_shared(shared, listing).items() if "num_batches" not in key}
    state = {
        key: fill(key, shape) if np.prod(shape) < 20_000 else np.broadcast_to(np.float32(0), shape)
        for key, shape in keys.items()
    }
    return state, blobs.named(state, last_blocks={2: 2, 3: 3, 4: 5})


def test_blobs_are_read_like_the_networks_that_they_became(shared, tmp_path):
    state, written = blob_state(shared, "slowfast_r50_8x8")
    assert {"t_pool1_subsample_w", "t_res4_5_branch2c_bn_subsample_bn_riv", "t_res_conv1_bn_rm"} <= written.keys()
    assert_everything_has_its_place("slowfast_r50_8x8", written)
    small = {key: np.array(array) for key, array in written.items() if np.prod(array.shape) < 20_000}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"blobs": blobs.with_solver(small), "cfg": "text"}, protocol=2))
    read = {**written, **read_state_dict(tmp_path / "a.pkl")}
    params, stats = shapes_of("slowfast_r50_8x8")
    expected, found = (convert(s, recognise(s, "slowfast_r50_8x8"), {**params, **stats}) for s in (state, read))
    assert expected.keys() == found.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array)


def test_lateral_blobs_of_101_layers(shared):
    """They are called after the last block of a stage, which is the 23rd of the third there."""
    params, stats = shapes_of("slowfast_r101_8x8")
    hub = keys_shared(shared, "pytorchvideo_slowfast_r101")
    state = zeros({_in_repository(key): shape for key, shape in hub.items() if "num_batches" not in key})
    written = blobs.named(state, last_blocks={2: 2, 3: 3, 4: 22})
    assert "t_res4_22_branch2c_bn_subsample_w" in written
    assert (
        convert(written, recognise(written, "slowfast_r101_8x8"), {**params, **stats}).keys()
        == {**params, **stats}.keys()
    )


def _in_repository(key: str) -> str:
    """What the SlowFast repository calls a key of pytorchvideo's."""
    parts = key.split(".")
    stage = int(parts[1]) + 1
    if parts[0] == "blocks" and parts[2] == "proj":
        return f"head.projection.{parts[3]}"
    if parts[2] == "multipathway_fusion":
        return f"s{stage}_fuse.{'conv_f2s' if parts[3] == 'conv_fast_to_slow' else 'bn'}.{parts[4]}"
    if parts[4] != "res_blocks":
        return f"s1.pathway{parts[3]}_stem.{'bn' if parts[4] == 'norm' else 'conv'}.{parts[5]}"
    block = f"s{stage}.pathway{parts[3]}_res{parts[5]}"
    if parts[6].startswith("branch1"):
        return f"{block}.branch1{'_bn' if parts[6].endswith('norm') else ''}.{parts[7]}"
    kind, letter = parts[7].split("_")
    return f"{block}.branch2.{letter}{'_bn' if kind == 'norm' else ''}.{parts[8]}"


def test_classifier_whose_features_come_the_other_way_round():
    fast, slow = np.ones((2, 3)), 2 * np.ones((2, 24))
    kernel = FAST_FIRST.forward(np.concatenate([fast, slow], axis=1))
    np.testing.assert_array_equal(kernel, np.concatenate([slow, fast], axis=1).T)
    x = np.random.default_rng(0).standard_normal((5, 27))
    np.testing.assert_array_equal(FAST_FIRST.inverse(FAST_FIRST.forward(x))[0], x)


def test_networks_are_told_from_each_other():
    for name, table, complaint in (
        ("slowfast_r50_4x16", "pytorchvideo_slowfast_r50", r"laterals\.0\.conv\.kernel: .* the model has 5x1x1x8x16"),
        ("slowfast_r50_8x8", "mmaction2_slowfast_r50_32x224", "fit no source"),
        ("slowfast_r50_8x8", "pytorchvideo_slow_r50", "fit no source"),
    ):
        state = zeros(keys_here(table))
        params, stats = shapes_of(name)
        with pytest.raises(CheckpointError, match=complaint):
            convert(state, recognise(state, name), {**params, **stats})


@pytest.mark.slow(first=1)
@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("pytorchvideo_slowfast_r50_32x224", "slowfast_r50_8x8"),
        ("slowfast_SLOWFAST_8x8_R50_32x224", "slowfast_r50_8x8"),
        ("mmaction2_slowfast_r50_32x224", "slowfast_r50_8x8_mm"),
        ("pytorchvideo_slowfast_r101_32x224", "slowfast_r101_8x8"),
    ],
)
def test_logits_are_the_references(reference, name):
    assert max(errors(reference, name)) < 1e-4
