"""What networks for segments have in common: shapes, masks, types, and what they refuse."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import filled
from vidjax.models.base import Features
from vidjax.models.pyramid import SegmentOutputs, SegmentTraining
from vidjax.models.registry import abstract_model
from vidjax.models.state import merge, split
from vidjax.nn.clips import ClipError

NAMES = ("actionformer_tiny", "tridet_tiny", "temporalmaxer_tiny")
every = pytest.mark.parametrize("name", NAMES)
# The first with every run of the tests, the others with the slow ones.
most = pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])])


@functools.cache
def program(name, **kwargs):
    """The network of 3 classes with drawn weights, compiled: of vectors and a mask its outputs and pooled features."""
    model = filled(abstract_model(name, num_classes=3, **kwargs))
    graphdef, *arrays = split(model)

    @jax.jit
    def run(arrays, x, mask):
        network, inputs = merge(graphdef, *arrays), {"features": x, "mask": mask}
        features = network.encode(inputs)
        return network.apply_head(features), features.pooled

    return lambda x, mask: jax.tree.map(np.asarray, run(arrays, x, mask))


def sequences(length=64, lengths=(64, 40), seed=0):
    mask = np.arange(length)[None] < np.array(lengths)[:, None]
    x = np.random.default_rng(seed).standard_normal((2, 64, 16)).astype(np.float32)
    x = np.pad(x, ((0, 0), (0, length - 64), (0, 0)))
    return x * mask[..., None], mask


@most
def test_outputs_have_a_row_for_each_place(name):
    outputs, pooled = program(name)(*sequences())
    assert outputs.levels == (64, 32, 16, 8) and pooled.shape == (2, 16)
    assert outputs.classes.shape == (2, 120, 3) and outputs.classes.dtype == np.float32
    np.testing.assert_array_equal(outputs.mask.sum(axis=1), [120, 40 + 20 + 10 + 5])
    distances = np.asarray(jax.jit(SegmentOutputs.distances)(outputs))
    assert distances.shape == ((2, 120, 3, 2) if name == "tridet_tiny" else (2, 120, 2))
    assert (outputs.offsets >= 0).all() and (distances >= 0).all()
    # Nothing is said where there is no vector.
    assert not outputs.classes[~outputs.mask].any() and not outputs.offsets[~outputs.mask].any()


@most
def test_bfloat16_is_close(name):
    exact, rounded = (program(name, **kwargs)(*sequences())[0] for kwargs in ({}, {"dtype": jnp.bfloat16}))
    assert rounded.classes.dtype == np.float32
    for one, other in ((rounded.classes, exact.classes), (rounded.offsets, exact.offsets)):
        assert 0 < np.linalg.norm(one - other) / np.linalg.norm(other) < 0.1


@most
def test_padding_is_seen_by_tridet_and_by_norms_over_places_alone(name):
    """A sequence with some padding gets the same with more of it."""
    short, _ = program(name)(*sequences(lengths=(56, 40)))
    long, _ = program(name)(*sequences(128, lengths=(56, 40)))
    differences = [np.abs(long.classes[long.mask] - short.classes[short.mask]).max()]
    if name == "temporalmaxer_tiny":
        run = program(name, norm="channels")
        short, long = (run(*sequences(length, lengths=(56, 40)))[0] for length in (64, 128))
        differences.append(np.abs(long.classes[long.mask] - short.classes[short.mask]).max())
    same = {"actionformer_tiny": [True], "tridet_tiny": [False], "temporalmaxer_tiny": [False, True]}[name]
    assert [difference < 1e-5 for difference in differences] == same


def test_expected_distances_by_their_definition():
    rng, levels, bins = np.random.default_rng(0), (4, 2), 2
    classes, start, end = (rng.standard_normal((1, 6, 2)).astype(np.float32) for _ in range(3))
    offsets = rng.random((1, 6, 2 * (bins + 1))).astype(np.float32)
    found = np.asarray(SegmentOutputs(classes, offsets, np.ones((1, 6), bool), start, end, levels).distances())

    def near(x, own, level, places, k):
        first = sum(levels[:level])
        said = [x[0, first + t, k] if 0 <= t < levels[level] else 0.0 for t in places]
        shares = np.exp(np.array(said) + own)
        return shares / shares.sum()

    places = [(0, t) for t in range(4)] + [(1, t) for t in range(2)]
    for (level, t), k in itertools.product(places, (0, 1)):
        row = sum(levels[:level]) + t
        left = near(start, offsets[0, row, :3], level, (t - 2, t - 1, t), k) @ [2, 1, 0]
        right = near(end, offsets[0, row, 3:], level, (t, t + 1, t + 2), k) @ [0, 1, 2]
        np.testing.assert_allclose(found[0, row, k], (left, right), rtol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.zeros((2, 64, 15), np.float32), r"expected floating-point \(B, T, 16\)"),
        (np.zeros((2, 60, 16), np.float32), "a multiple of 8 vectors"),
        ({"features": np.zeros((2, 64, 16), np.float32), "mask": np.ones((2, 63), bool)}, r"mask \(2, 63\)"),
    ],
)
def test_other_sequences_are_refused(inputs, words):
    model = abstract_model("temporalmaxer_tiny", num_classes=3)
    with pytest.raises(ClipError, match=words):
        nnx.eval_shape(lambda: model(jax.tree.map(jnp.asarray, inputs)))


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("actionformer_tiny", {"windows": (5, 5)}, "4 levels"),
        ("tridet_tiny", {"depths": (1, 1, 4)}, "5 levels"),
        ("temporalmaxer_tiny", {"depths": (1, 4)}, "5 levels"),
        ("temporalmaxer_tiny", {"norm": "batch"}, "groups, channels"),
        ("actionformer_tiny", {"matching": "luck"}, "places, cost"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(name, kwargs, words):
    with pytest.raises(ValueError, match=words):
        abstract_model(name, num_classes=3, **kwargs)


@every
def test_without_classes_a_call_gives_the_features(name):
    model = abstract_model(name, num_classes=0)
    assert not any(path.startswith("head.") for path in split(model)[1])
    x = jax.ShapeDtypeStruct((2, 64, 16), np.float32)
    answer = nnx.eval_shape(lambda model, x: model(x), model, x)
    assert isinstance(nnx.eval_shape(lambda model, x: model.encode(x), model, x), Features)
    assert answer.shape == (2, 16) and SegmentTraining().positives == 50
