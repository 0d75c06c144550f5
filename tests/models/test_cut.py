"""Networks cut at an inner module: the output there, what it costs, and the answer from there on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.tiny import clips, tiny
from vidjax.config import Config, ConfigError, ModelConfig
from vidjax.config.validate import validate
from vidjax.errors import UserError
from vidjax.models.build import build_model
from vidjax.models.cost import module_cost
from vidjax.models.cut import from_there, up_to
from vidjax.models.layer_vectors import layer_vectors
from vidjax.models.registry import create_model
from vidjax.models.state import frozen_paths, split

CUTS = [
    ("conv3d_tiny", "convs.0"), ("videomae_tiny", "blocks.0"), ("r2plus1d_tiny", "stages.0.0"),
    ("slowfast_tiny", "laterals.1"), ("tsm_tiny", "stages.1.0"), ("mvit_tiny", "blocks.1"),
    ("frame_pool_effnet_tiny", "stages.1.0"), ("swin3d_tiny", "stages.0.blocks.0"),
]  # fmt: skip


@pytest.mark.slow(after=2)
@pytest.mark.parametrize(("name", "layer"), CUTS)
def test_both_parts_are_the_whole(name, layer):
    network, video = tiny(name), jnp.asarray(clips(name))

    @jax.jit
    def run(video):
        inner = up_to(network, video, layer)
        (seen,) = jax.tree.leaves(network.intermediates(video, layer))[:1]
        return network(video), from_there(network, video, layer, inner), inner[0], seen

    whole, joined, inner, seen = run(video)
    np.testing.assert_allclose(joined, whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(inner, seen)
    dark = jax.jit(lambda video, inner: from_there(network, video, layer, inner))
    if name not in ("slowfast_tiny",):  # its pathways go round the lateral connection
        kept = jax.jit(lambda video: up_to(network, video, layer))(video)
        np.testing.assert_allclose(dark(jnp.zeros_like(video), kept), whole, rtol=1e-5, atol=1e-6)


def test_what_comes_later_costs_nothing():
    """Nor what comes before, from the cut on."""
    network, video = tiny("conv3d_tiny"), jnp.asarray(clips("conv3d_tiny"))
    programs = [lambda v, x: network(v), lambda v, x: up_to(network, v, "convs.0")[0]]
    programs.append(lambda v, x: from_there(network, v, "convs.0", [x]))
    inner = up_to(network, video, "convs.0")[0]
    whole, first, rest = (jax.jit(p).lower(video, inner).compile().cost_analysis()["flops"] for p in programs)
    assert first < 0.9 * whole and rest < 0.9 * whole and first + rest < 1.2 * whole


def test_modules_that_cannot_be_cut_at_are_named():
    network, video = tiny("conv3d_tiny"), jnp.asarray(clips("conv3d_tiny"))
    with pytest.raises(UserError, match=r"modules have such a path .*choose one"):
        up_to(network, video, "convs.*")
    with pytest.raises(UserError, match="has no module 'conv'"):
        up_to(network, video, "conv")
    with pytest.raises(UserError, match="head does not run while clips are encoded"):
        up_to(network, video, "head")


def probe_of(layer, name="conv3d_tiny", **settings):
    config = Config(model=ModelConfig(name=name, probe="linear", probe_layer=layer, **settings))
    return build_model(validate(config), 3, dtype=None)


def test_a_probe_on_a_layer_reads_its_mean_and_costs_what_comes_before():
    probe, network = probe_of("convs.0"), create_model("conv3d_tiny", num_classes=3)
    video = jnp.asarray(clips("conv3d_tiny"))
    np.testing.assert_allclose(probe.features(video), layer_vectors(network, video, "convs.0"), rtol=1e-5)
    assert probe(video).shape == (2, 3)
    _, params, _ = split(probe)
    assert params.keys() - frozen_paths(probe) == {"head.kernel", "head.bias"}
    whole, early = (module_cost(each, video.shape[1:]) for each in (network, probe))
    first = next(layer.macs for layer in module_cost(network, video.shape[1:]).layers if layer.path == "convs.0")
    head = params["head.kernel"].size
    assert early.macs == first + head < whole.macs


def test_its_width_is_that_of_the_layer_whatever_goes_in():
    wide = probe_of("stem", "r2plus1d_tiny", input="rgb+diff")
    assert wide.channels == 6 and wide.head.kernel.shape[0] == wide.backbone.stem.norm.num_features
    small = {"dim": 32, "depth": 2, "heads": 2, "num_frames": 2, "size": 16, "tubelet": (2, 8, 8)}
    assert probe_of("blocks.0", "vivit_tiny", kwargs=small).head.kernel.shape == (32, 3)


def test_settings_that_do_not_go_together():
    with pytest.raises(ConfigError, match=r"config.model.probe_layer = 'convs.0': is for probe = 'linear'"):
        validate(Config(model=ModelConfig(name="conv3d_tiny", probe="attentive", probe_layer="convs.0")))
    with pytest.raises(UserError, match="has no module 'nothing'"):
        probe_of("nothing")
