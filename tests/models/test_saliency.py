"""What answers depend on: maps that add up to the logit, for networks of every family."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.tiny import FAMILIES, clips, tiny
from vidjax.errors import UserError
from vidjax.models import get_spec, saliency
from vidjax.models.saliency import METHODS, ClassActivation, occluded, reordered

# Families that take clips; the first small network of each.
OF_CLIPS = {family: name for family, name in FAMILIES.items() if "video" in get_spec(name).inputs}
QUICK = ("c3d", "frame_networks", "vivit")


def inputs(name):
    drawn = clips(name)
    return jax.tree.map(jnp.asarray, drawn if isinstance(drawn, dict) else {"video": drawn})


@pytest.mark.slow
def test_a_mean_and_a_linear_classifier_add_up_to_the_logit(monkeypatch):
    network, given = tiny("conv3d_tiny"), inputs("conv3d_tiny")
    classes = jnp.array([0, 2])
    activation = ClassActivation(network)
    maps, layer = activation(given, classes)
    assert not layer.startswith("stem")
    logits = network(given)[jnp.arange(2), classes] - network.head.bias[classes]
    np.testing.assert_allclose(maps.sum(axis=(1, 2, 3)), logits, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(saliency, "_compiled", None)  # clips of this size are known
    positive, _ = activation(given, classes, "gradcam")
    assert positive.min() >= 0 and positive.shape == maps.shape


@pytest.mark.slow(after=len(QUICK), first=12)
@pytest.mark.parametrize("family", [*QUICK, *sorted(OF_CLIPS.keys() - set(QUICK))])
def test_every_family_has_places_that_matter(family):
    name = OF_CLIPS[family]
    maps, layer = ClassActivation(tiny(name))(inputs(name), jnp.array([0, 1]))
    assert maps.ndim == 4 and maps.shape[0] == 2 and np.prod(maps.shape[1:]) > 1, (layer, maps.shape)
    assert np.isfinite(maps).all() and np.abs(maps).max() > 0


@pytest.mark.slow
def test_layers_that_hear_alone_have_no_places_of_the_clip():
    maps, layer = ClassActivation(tiny("audio_visual_tiny"))(inputs("audio_visual_tiny"), jnp.array([0, 1]))
    assert layer.startswith("pictures.") and maps.shape[0] == 2


def test_an_unknown_layer_is_refused_with_those_that_have_places():
    with pytest.raises(UserError, match="no module of that path gives maps or tokens; the last that do"):
        ClassActivation(tiny("conv3d_tiny"), "nothing")(inputs("conv3d_tiny"), jnp.array([0, 0]))
    with pytest.raises(ValueError, match=", ".join(METHODS)):
        ClassActivation(tiny("conv3d_tiny"))(inputs("conv3d_tiny"), jnp.array([0, 0]), "smooth")


def corner(given):
    """Logits that see only the first two frames' upper left corner, and the order of frames."""
    video = given["video"]
    seen = video[:, :2, :8, :8].mean(axis=(1, 2, 3, 4))
    rising = (video.mean(axis=(2, 3, 4)) * jnp.arange(video.shape[1])[None]).sum(axis=1)
    return jnp.stack([seen, rising], axis=1)


def test_covering_a_block_costs_what_it_holds():
    video = jnp.zeros((1, 4, 16, 16, 3)).at[:, :2, :8, :8].set(1.0)
    losses = occluded(corner, {"video": video}, np.array([0]), (2, 2, 2))
    mean = float(video.mean())
    assert losses[0, 0, 0, 0] == pytest.approx(1 - mean)
    losses[0, 0, 0, 0] = 0
    np.testing.assert_allclose(losses, 0, atol=1e-6)


def test_the_order_of_frames():
    video = jnp.broadcast_to(jnp.arange(4.0)[None, :, None, None, None], (2, 4, 16, 16, 3))
    found = reordered(jax.jit(corner), {"video": video}, np.array([1, 1]))
    logits = np.asarray(corner({"video": video}))
    expected = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(found["as it is"], expected, rtol=1e-5)
    assert (found["backwards"] < found["shuffled"]).all() and (found["shuffled"] < found["as it is"]).all()
    several = reordered(jax.jit(corner), {"video": video}, np.array([1, 1]), several=True)
    np.testing.assert_allclose(several["as it is"], 1 / (1 + np.exp(-logits[:, 1])), rtol=1e-5)
    blind = reordered(lambda g: g["video"].mean(axis=(1, 2, 3)), {"video": video[..., :2]}, np.array([0, 0]))
    np.testing.assert_allclose(blind["backwards"], blind["as it is"], rtol=1e-6)
    np.testing.assert_allclose(blind["shuffled"], blind["as it is"], rtol=1e-6)
