"""MBT's table: every key of Scenic has its place, and the logits are its own."""

import math

import jax
import numpy as np
import pytest

from tests.golden import golden, read_keys, relative_error
from tests.models.abstract import abstract
from vidjax.models.registry import get_spec
from vidjax.models.state import merge, split
from vidjax.weights import load_pretrained
from vidjax.weights.mapping import convert
from vidjax.weights.table import recognise, sources
from vidjax.weights.tables.mbt import FRAME, HEADS_FLAT, HEADS_JOINED

GOLDEN = "scenic_mbt_b_16x2_8x224_spec400x128"
SIZES = {"num_frames": 8, "sound_frames": 400}


def shapes(name, **kwargs):
    _, params, stats = split(abstract(name, 527, **kwargs))
    assert not stats
    return {path: array.shape for path, array in params.items()}


def listed(leave=()):
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape, _ in read_keys(GOLDEN) if key not in leave}


def test_every_key_and_shape_has_its_place():
    wanted, state = shapes("mbt_base_16x2_token", **SIZES), listed()
    table = recognise(state, "mbt_base_16x2_token")
    assert table.name == "scenic"
    assert convert(state, table, wanted).keys() == wanted.keys()
    assert sum(map(math.prod, wanted.values())) == sum(array.size for array in state.values()) == 173_049_359


@pytest.mark.slow
def test_without_class_tokens():
    """Scenic's published configuration: no class tokens, their positions, and one bottleneck token less."""
    state = listed(("cls", "clsspectrogram"))
    for key in ("bottleneck", *(key for key in state if key.endswith("pos_embedding"))):
        state[key] = state[key][:, 1:]
    wanted = shapes("mbt_base_16x2", **SIZES)
    assert convert(state, recognise(state, "mbt_base_16x2"), wanted).keys() == wanted.keys()


def test_heads_are_joined_and_taken_apart():
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((8, 2, 64)) for _ in range(3))
    joined = HEADS_JOINED.forward(q, k, v)
    x = rng.standard_normal((5, 8))
    expected = np.concatenate([np.einsum("nd,dhe->nhe", x, part).reshape(5, 128) for part in (q, k, v)], axis=1)
    np.testing.assert_allclose(x @ joined, expected)
    for part, again in zip((q, k, v), HEADS_JOINED.inverse(joined), strict=True):
        np.testing.assert_array_equal(part, again)
    out = rng.standard_normal((2, 64, 8))
    np.testing.assert_array_equal(HEADS_FLAT.inverse(HEADS_FLAT.forward(out))[0], out)
    np.testing.assert_array_equal(FRAME.inverse(FRAME.forward(out))[0], out)
    with pytest.raises(ValueError, match="one shape"):
        HEADS_JOINED.forward(q, k, v[:4])


def test_every_source_is_served():
    for name in ("mbt_base_16x2", "mbt_base_16x2_token"):
        assert set(get_spec(name).sources) == {source.name for source in sources() if source.serves(name)}


@pytest.mark.slow
def test_logits_are_the_references():
    """Of one clip. The reference's spectrograms have three different colours."""
    expected = golden(GOLDEN)
    model = load_pretrained("mbt_base_16x2_token", expected.state, **SIZES)
    graphdef, *arrays = split(model)

    @jax.jit
    def run(arrays, video, sound):
        model = merge(graphdef, *arrays)
        return model.apply_head(model.encode_picture(video, sound, np.ones(1, bool)))

    sound = np.moveaxis(expected.sound_of_both, 1, -1)
    logits = np.asarray(run(arrays, expected.both[1:], sound[1:]))
    assert relative_error(logits, expected.of_both("logits")[1:]) < 1e-4
