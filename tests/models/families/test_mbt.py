"""MBT: bottleneck tokens are all that passes between pictures and sound, and a clip without sound is seen alone."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import drawn
from vidjax.models.families.mbt import MBT, VARIANTS
from vidjax.models.registry import get_spec
from vidjax.nn.clips import ClipError

SHAPE = {
    "dim": 16, "depth": 3, "heads": 2, "num_frames": 4, "size": 16, "tubelet": (2, 8, 8), "sound_frames": 32,
    "bands": 16, "fusion_layer": 1, "bottlenecks": 2,
}  # fmt: skip


def network(**kwargs):
    return drawn(lambda rngs: MBT(3, rngs=rngs, **{**SHAPE, **kwargs}))


def inputs(sound=32, bands=16, **more):
    rng = np.random.default_rng(0)
    return {
        "video": rng.standard_normal((2, 4, 16, 16, 3)).astype(np.float32),
        "audio": rng.standard_normal((2, sound, bands)).astype(np.float32),
    } | more


encode = nnx.jit(lambda model, given: model.encode(given))


@pytest.mark.parametrize("classifier", ["gap", pytest.param("token", marks=pytest.mark.slow)])
def test_a_clip_without_sound_is_seen_alone(classifier):
    model, given = network(classifier=classifier), inputs(heard=np.array([True, False]))
    other = given | {"audio": given["audio"][::-1].copy()}
    found, again = encode(model, given), encode(model, other)
    for part in ("pooled", "tokens"):
        one, two = getattr(found, part), getattr(again, part)
        assert np.abs(one[0] - two[0]).max() > 1e-3
        np.testing.assert_array_equal(one[1], two[1])
    assert np.abs(encode(model, inputs()).pooled[1] - found.pooled[1]).max() > 1e-3


@pytest.mark.slow
def test_before_the_fusion_layer_nothing_passes():
    """With fusion after the last block, what is seen does not depend on what is heard."""
    given = inputs()
    other = given | {"audio": -given["audio"]}
    for layer, passes in ((3, False), (1, True), (0, True)):
        model = network(fusion_layer=layer)
        one, two = (np.asarray(encode(model, x).maps[8]) for x in (given, other))
        assert (np.abs(one - two).max() > 1e-3) == passes


def test_what_the_classifiers_read():
    given, sizes = inputs(), (2, 8)  # tokens of the sound and of the clip
    found = encode(network(), given)
    np.testing.assert_allclose(found.pooled, found.tokens.mean(axis=1), atol=1e-6)
    assert found.tokens.shape == (2, sum(sizes), 16) and found.grid == (2, 2, 2)
    found = encode(network(classifier="token"), given)
    np.testing.assert_allclose(found.pooled, (found.tokens[:, 0] + found.tokens[:, 1 + sizes[0]]) / 2, atol=1e-6)
    assert found.tokens.shape == (2, 2 + sum(sizes), 16)


@pytest.mark.slow
def test_sound_of_another_length():
    model = network()
    assert encode(model, inputs(sound=64)).tokens.shape == (2, 4 + 8, 16)
    longer = inputs(sound=40)
    cut = longer | {"audio": longer["audio"][:, :32]}
    np.testing.assert_array_equal(encode(model, longer).pooled, encode(model, cut).pooled)
    for kwargs in ({"sound": 12}, {"bands": 20}):
        with pytest.raises(ClipError, match="does not divide into patches of 16×16"):
            jax.eval_shape(model, inputs(**kwargs))


def test_options():
    with pytest.raises(ValueError, match="classifier = 'mean': must be 'token' or 'gap'"):
        network(classifier="mean")
    with pytest.raises(ValueError, match="bottlenecks = 0"):
        network(bottlenecks=0)


def test_published_protocols():
    for name in VARIANTS:
        assert get_spec(name).inputs["audio"].shape == ((160 if "tiny" in name else 800), 128)
