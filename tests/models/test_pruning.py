"""Pruning by channel: what is left out does not matter, whatever the network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vidjax
from vidjax.errors import UserError
from vidjax.models.pruning import narrower, prune
from vidjax.models.registry import abstract_model
from vidjax.models.state import assign, split


def arrays_of(network):
    return {path: np.asarray(a) for part in split(network)[1:] for path, a in part.items()}


def shapes_of(name, **kwargs):
    return {
        path: a.shape for part in split(abstract_model(name, num_classes=3, **kwargs))[1:] for path, a in part.items()
    }


@pytest.mark.parametrize(
    "name",
    ["conv3d_tiny", *(pytest.param(n, marks=pytest.mark.slow) for n in ("r2plus1d_tiny", "r3d_tiny", "csn_tiny"))],
)
def test_the_narrower_network_is_the_trained_one_without_the_channels(name):
    network = vidjax.create_model(name, num_classes=3)
    rng = np.random.default_rng(0)
    drawn = {
        path: np.abs(rng.normal(size=a.shape)).astype(a.dtype) + 0.5 if path.endswith(("var", "scale")) else
        (a + 0.1 * rng.normal(size=a.shape)).astype(a.dtype)
        for path, a in arrays_of(network).items()
    }  # fmt: skip
    kwargs = narrower(name, {}, 0.5)
    found = prune(drawn, shapes_of(name, **kwargs))
    small = vidjax.create_model(name, num_classes=3, **kwargs)
    for model, arrays in ((network, found.masked), (small, found.arrays)):
        assign(model, {path: jnp.asarray(a) for path, a in arrays.items()})
        model.eval()
    clip = jnp.asarray(rng.normal(size=(2, 4, 16, 16, 3)), jnp.float32)
    expected, got = (np.asarray(jax.jit(lambda clip, each=each: each(clip))(clip)) for each in (network, small))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert sum(a.size for a in found.arrays.values()) < 0.45 * sum(a.size for a in drawn.values())


def test_the_channels_with_the_largest_weights_stay():
    arrays = {"a.kernel": np.ones((2, 4)), "b.kernel": np.ones((4, 3)), "b.bias": np.ones(3)}
    arrays["a.kernel"][:, [1, 3]] = 5
    found = prune(arrays, {"a.kernel": (2, 2), "b.kernel": (2, 3), "b.bias": (3,)})
    np.testing.assert_array_equal(found.kept[4, 2], [1, 3])
    np.testing.assert_array_equal(found.arrays["a.kernel"], np.full((2, 2), 5))
    np.testing.assert_array_equal(found.masked["a.kernel"], [[0, 5, 0, 5]] * 2)
    np.testing.assert_array_equal(found.masked["b.kernel"].sum(axis=1), [0, 3, 0, 3])


def test_what_cannot_be_cut_is_one_clear_line():
    with pytest.raises(UserError, match=r"videomae_tiny: its width is no argument, .* those of .*r2plus1d"):
        narrower("videomae_tiny", {}, 0.5)
    with pytest.raises(UserError, match="other arrays"):
        prune({"a": np.ones(2)}, {"b": (1,)})
    with pytest.raises(UserError, match="a would grow from 2 to 3 channels"):
        prune({"a": np.ones(2)}, {"a": (3,)})


def test_widths_are_scaled():
    assert narrower("r2plus1d_tiny", {}, 0.5) == {"width": 8}
    assert narrower("r2plus1d_18", {"width": 32}, 0.25) == {"width": 8}
    assert narrower("conv3d_tiny", {}, 0.5) == {"widths": [6, 12]}
