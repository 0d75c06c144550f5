"""OpenTAD's AdaTAD: every key has its place, outputs are the reference's, and what is written has all its keys."""

import jax
import numpy as np
import pytest

from tests import localisation
from tests.golden import read_keys, relative_error
from tests.weights.answers import compiled
from tests.weights.listing import golden_keys, num_params, shapes
from tests.weights.test_write import empty
from vidjax.models.registry import get_spec
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import conversion, convert
from vidjax.weights.read import read_state_dict
from vidjax.weights.table import recognise
from vidjax.weights.write import to_state_dict, write_file

THUMOS, ANET, GIANT = "adatad_videomae_small", "adatad_anet_videomae_small", "adatad_anet_videomaev2_giant_224"
UNUSED = ("pos_embed", "fc_norm.weight", "fc_norm.bias", "loss_normalizer")
# A network with the giant's patches of 14 pixels, of pictures that these do not divide, and blocks without adapter.
TINY = {"num_classes": 5, "dim": 66, "depth": 3, "heads": 3, "mlp": 288, "unadapted": 1, "detector_dim": 32}


@pytest.mark.parametrize("name", [THUMOS, ANET, pytest.param(GIANT, marks=pytest.mark.exhaustive)])
def test_every_key_and_shape_has_its_place(name):
    classes = get_spec(name).num_classes
    state, wanted = golden_keys(f"opentad_{name}"), shapes(name, classes)
    table = recognise(state, name)
    assert table.name == "opentad" and table.name in get_spec(name).sources
    assert wanted.keys() - convert(state, table, wanted).keys() == {"positives"}
    assert sum(a.size for key, a in state.items() if not key.endswith(UNUSED)) == num_params(name, classes)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("name", "count", "dim"),
    [
        ("adatad_videomae_base", 117_517_096, 768),
        ("adatad_videomae_large", 345_756_724, 1024),
        ("adatad_videomae_huge", 689_272_636, 1280),
        ("adatad_videomaev2_giant", 1_084_625_604, 1408),
        ("adatad_videomaev2_giant_224", 1_062_252_464, 1408),
        ("adatad_anet_videomae_base", 97_371_669, 768),
        ("adatad_anet_videomae_large", 325_414_689, 1024),
        ("adatad_anet_videomae_large_224", 346_033_384, 1024),
        ("adatad_anet_videomae_huge", 668_733_993, 1280),
        ("adatad_anet_videomaev2_giant", 1_063_988_657, 1408),
    ],
)
def test_the_larger_ones_have_the_references_parameters_but_for_a_norm_without_use(name, count, dim):
    assert num_params(name, get_spec(name).num_classes) == count - 2 * dim


@pytest.mark.parametrize(
    ("name", "keys", "kwargs", "shape", "reduction"),
    [
        ("adatad_videomaev2_giant_224", "patch14", TINY, (64, 64), 2),
        pytest.param(ANET, ANET.removeprefix("adatad_"), {}, (128, 64), 4, marks=pytest.mark.slow),
        pytest.param(THUMOS, THUMOS.removeprefix("adatad_"), {}, (32, 160), 1, marks=pytest.mark.exhaustive),
    ],
)
def test_outputs_are_the_references(name, keys, kwargs, shape, reduction):
    keys, (frames, side) = f"opentad_adatad_{keys}", shape
    expected = localisation.arrays(keys)
    model = load_pretrained(name, localisation.state_of(keys), **kwargs)
    video = np.random.default_rng(0).standard_normal((2, 3, frames, side, side)).astype(np.float32)
    mask = np.arange(frames)[None] < np.array([frames, 21 * reduction])[:, None]
    found = jax.tree.map(np.asarray, compiled(model)({"video": np.moveaxis(video, 1, -1), "mask": mask}))
    np.testing.assert_array_equal(found.mask, expected["mask"])
    assert found.reduction == reduction
    for ours, theirs in (("classes", "cls"), ("offsets", "offset")):
        answer, reference = (x * found.mask[..., None] for x in (getattr(found, ours), expected[f"{theirs}64"]))
        assert relative_error(answer, reference) < 1e-5
        assert relative_error(answer[1], answer[0]) > 0.1  # the clips differ


@pytest.mark.slow
def test_every_key_is_written_again_and_read(tmp_path):
    written = to_state_dict(empty(THUMOS, 20), THUMOS, "opentad")
    assert shapes_of(written) == {f"module.{key}": shape for key, shape, _ in read_keys(f"opentad_{THUMOS}")}
    write_file(tmp_path / "best.pth", written, "opentad")
    assert read_state_dict(tmp_path / "best.pth").keys() == {key for key, *_ in read_keys(f"opentad_{THUMOS}")}


@pytest.mark.exhaustive
def test_the_giant_is_written_with_positions_for_its_patches_and_adapters_where_it_has_them():
    written = to_state_dict(empty(GIANT, 1), GIANT, "opentad")
    assert shapes_of(written) == {f"module.{key}": shape for key, shape, _ in read_keys(f"opentad_{GIANT}")}


@pytest.mark.exhaustive
def test_the_giant_starts_from_videomae_v2s_classifier():
    state, wanted = golden_keys("videomaev2_vit_giant_patch14_224"), shapes(GIANT, 1)
    made = conversion(state, recognise(state, GIANT), wanted)
    assert set(made.dropped) == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    assert all(path in made.arrays for path in wanted if path.startswith("encoder.") and ".adapter." not in path)


def shapes_of(state):
    return {key: array.shape for key, array in state.items()}
