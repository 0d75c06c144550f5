"""Single-pathway tables: every published key has its place in every named model, and the logits are the references'."""

import numpy as np
import pytest

from tests.golden import fill
from tests.weights import blobs
from tests.weights.answers import errors, errors_in_float64
from tests.weights.listings import (
    assert_everything_has_its_place,
    count,
    keys_here,
    keys_shared,
    shapes_of,
    zeros,
)
from vidjax.models.families.slow import VARIANTS
from vidjax.models.registry import get_spec, list_models
from vidjax.nn.conv import conv_formulation
from vidjax.weights.mapping import convert
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise, sources

# Model → tables of keys in tests/data/golden/keys, by source.
HERE = {
    "slow_r50": {"pytorchvideo": "pytorchvideo_slow_r50"},
    "i3d_r50": {"pytorchvideo": "pytorchvideo_i3d_r50"},
    "r2plus1d_r50": {"pytorchvideo": "pytorchvideo_r2plus1d_r50"},
    "i3d_r50_nl": {"slowfast": "slowfast_c2_I3D_NLN_8x8_R50"},
    "i3d_r50_nl_mm": {"mmaction2": "mmaction2_i3d_r50_nl_embgauss_32x224"},
    "i3d_r50_nl_dot_mm": {"mmaction2": "mmaction2_i3d_r50_nl_embgauss_32x224"},
}
# Model → listing of the shared material.
LISTED = [
    ("c2d_r50", "pytorchvideo_c2d_r50"),
    ("slow_r50", "pytorchvideo_slow_r50"),
    ("i3d_r50", "pytorchvideo_i3d_r50"),
    ("r2plus1d_r50", "pytorchvideo_r2plus1d_r50"),
    ("slow_r50", "slowfast_SLOW_8x8_R50"),
    ("i3d_r50", "slowfast_c2_I3D_8x8_R50"),
    ("i3d_r50_nl", "slowfast_c2_I3D_NLN_8x8_R50"),
    ("slow_r50_mm", "mmaction2_slowonly"),
    ("i3d_r50_nl_mm", "mmaction2_i3d_nonlocal"),
]
SAME = {
    "c2d_r50": "c2d_r50_nopool",
    "slow_r50": "slow_r50_4x16",
    "i3d_r50": "i3d_r50_mm",
    "slow_r50_4x16": "slow_r50_mm",
}


@pytest.mark.parametrize("name", HERE)
def test_every_key_and_shape_has_its_place(name):
    for source, table in HERE[name].items():
        assert assert_everything_has_its_place(name, zeros(keys_here(table))).name == source


@pytest.mark.parametrize(("name", "listing"), LISTED)
def test_published_listings_and_counts(shared, name, listing):
    state = zeros(keys_shared(shared, listing))
    assert assert_everything_has_its_place(name, state).name == listing.split("_")[0]
    rows = [line.split("\t") for line in (shared / "reference" / "models.tsv").read_text().splitlines()[1:]]
    assert count(name) == {row[0]: int(row[1]) for row in rows}[listing]


def test_networks_that_differ_in_no_parameter():
    for one, other in SAME.items():
        assert shapes_of(one) == shapes_of(other)


def test_every_model_is_compared_and_every_source_served():
    compared = {*HERE, *(name for name, _ in LISTED), *SAME.values()}
    assert VARIANTS.keys() == compared | {"slow_tiny", "i3d_tiny", "i3d_nl_tiny", "slow_r50_flow_mm"}
    for name in VARIANTS:
        assert set(get_spec(name).sources) == {source.name for source in sources() if source.serves(name)}
    mmaction2 = [name for name in list_models("*_mm") if name in VARIANTS]
    assert all(get_spec(name).sources[0] == "mmaction2" for name in mmaction2) and len(mmaction2) == 5


@pytest.mark.parametrize("name", ["slow_r50", "i3d_r50_nl"])
def test_blobs_are_read_like_the_networks_that_they_became(name, shared):
    """The same arrays in caffe2's names and in PyTorch's make the same parameters."""
    listing = {"slow_r50": "slowfast_SLOW_8x8_R50", "i3d_r50_nl": "slowfast_c2_I3D_NLN_8x8_R50"}[name]
    keys = {key: shape for key, shape in keys_shared(shared, listing).items() if "num_batches" not in key}
    state = {key: fill(key, shape) if len(shape) < 2 or "head" in key else zeros({key: shape})[key]
             for key, shape in keys.items()}  # fmt: skip
    written = blobs.named(state, last_blocks={2: 2, 3: 3, 4: 5})
    assert_everything_has_its_place(name, written)
    params, stats = shapes_of(name)
    expected, found = (convert(s, recognise(s, name), {**params, **stats}) for s in (state, blobs.with_solver(written)))
    assert expected.keys() == found.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array)


def test_which_parts_of_the_blobs_are_what():
    names = blobs.named({"s4.pathway0_nonlocal5.conv_theta.bias": 0, "s3.pathway0_res3.branch2.b_bn.running_var": 1,
                         "s1.pathway0_stem.bn.weight": 2, "s2.pathway0_res0.branch1.weight": 3}, {})  # fmt: skip
    assert names == {
        "nonlocal_conv4_5_theta_b": 0,
        "res3_3_branch2b_bn_riv": 1,
        "res_conv1_bn_s": 2,
        "res2_0_branch1_w": 3,
    }


def test_networks_are_told_from_each_other():
    """By their keys where these differ; the error names what is left over or missing."""
    for name, table, complaint in (
        ("i3d_r50", "slowfast_c2_I3D_NLN_8x8_R50", r"s3\.pathway0_nonlocal1"),
        ("slow_r50", "pytorchvideo_i3d_r50", r"blocks\.5\.proj\.weight"),
        ("slow_r50", "slowfast_SLOWFAST_8x8_R50", r"s1_fuse"),
        ("i3d_r50_nl", "mmaction2_i3d_r50_nl_embgauss_32x224", "fit no source"),
        ("i3d_r50", "pytorchvideo_slowfast_r50", "fit no source"),
    ):
        state = zeros(keys_here(table))
        params, stats = shapes_of(name)
        with pytest.raises(CheckpointError, match=complaint):
            convert(state, recognise(state, name), {**params, **stats})


@pytest.mark.slow(first=1)
@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("pytorchvideo_slow_r50_8x224", "slow_r50"),
        ("pytorchvideo_c2d_r50_8x224", "c2d_r50"),
        ("pytorchvideo_i3d_r50_8x224", "i3d_r50"),
        ("pytorchvideo_r2plus1d_r50_16x224", "r2plus1d_r50"),
    ],
)
def test_logits_are_the_references(reference, name):
    assert max(errors(reference, name)) < 1e-4


@pytest.mark.slow(first=1)
@pytest.mark.parametrize(
    ("reference", "name", "flipped"),
    [
        ("slowfast_c2_I3D_NLN_8x8_R50_8x224", "i3d_r50_nl", 1e-3),
        ("mmaction2_i3d_r50_nl_embgauss_32x224", "i3d_r50_nl_mm", 1e-2),
    ],
)
def test_logits_of_non_local_networks_are_the_references(reference, name, flipped):
    """In float64 to the last digit of the classifier, which is float32.

    With these weights their softmax is all or nothing: in float32 rounding decides between two scores that are as good
    as equal, and so may the machine. The reference's own float32 is up to 2.4e-4 off its float64; mmaction2's network,
    whose scores are not scaled, has been seen from 2e-5 to 2.6e-3 off with one and the same formulation. Winograd's
    sums are rounded a little more coarsely still: there every convolution is summed plainly.
    """
    assert max(errors_in_float64(reference, name)) < 1e-6
    with conv_formulation("taps"):
        assert max(errors(reference, name, "logits64")) < flipped
