"""Probes: what they see of every family, what they leave alone, and what they refuse."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.small import draw, plain_convolutions  # noqa: F401
from tests.models.tiny import of_families
from vidjax.models.base import VideoNetwork, Widths
from vidjax.models.cost import module_cost, training_macs
from vidjax.models.probe import Probe
from vidjax.models.registry import abstract_model, create_model, get_spec, list_models
from vidjax.models.state import frozen_paths, split

# The smallest of each family, and what of it is not only smaller: other poolings and pathways.
SMALL = [
    name for name in list_models("*_tiny") if get_spec(name).task == "classify" and "video" in get_spec(name).inputs
]  # fmt: skip


@pytest.mark.parametrize("kind", ["linear", "attentive"])
@pytest.mark.parametrize("name", of_families([*SMALL, "c3d", "vjepa2_large_ssv2", "timesformer_base_space"]))
def test_every_family_can_be_probed(name, kind):
    spec = get_spec(name)
    model = abstract_model(name, num_classes=3, probe=kind)
    video = {key: jax.ShapeDtypeStruct((2, *value.shape), jnp.float32) for key, value in spec.inputs.items()}
    graphdef, state = nnx.split(model)
    logits = jax.eval_shape(lambda state, video: nnx.merge(graphdef, state)(video), state, video)
    chex.assert_shape(logits, (2, 3))
    chex.assert_type(logits, jnp.float32)
    _, params, _ = split(model)
    trained = params.keys() - frozen_paths(model)
    assert all(path.startswith("backbone.") == (path not in trained) for path in params)
    assert trained == {"head.kernel", "head.bias"} if kind == "linear" else "pooler.query" in trained
    assert not [path for path in params if path.startswith("backbone.head.")]


@pytest.mark.parametrize(
    ("name", "pooled"),
    [
        ("vivit_tiny", lambda model, x: x[:, 0]),
        pytest.param("vivit_fe_tiny", lambda model, x: x[:, 0], marks=pytest.mark.slow),
        ("vivit_fsa_tiny", lambda model, x: x.mean(axis=1)),
        pytest.param("timesformer_tiny", lambda model, x: x[:, 0], marks=pytest.mark.slow),
        pytest.param("swin3d_tiny", lambda model, x: x.mean(axis=1), marks=pytest.mark.slow),
        ("videomae_tiny", lambda model, x: model.fc_norm(x.mean(axis=1))),
        ("frame_pool_tiny", lambda model, x: x.mean(axis=1)),
        pytest.param("mvit_tiny", lambda model, x: x[:, 0], marks=pytest.mark.slow),
        pytest.param("slow_tiny", lambda model, x: x.mean(axis=1), marks=pytest.mark.slow),
        pytest.param("slowfast_tiny", lambda model, x: x.mean(axis=1), marks=pytest.mark.slow),
        pytest.param("s3d_tiny", lambda model, x: x.mean(axis=1), marks=pytest.mark.slow),
    ],
)
def test_features_are_of_the_tokens(name, pooled):
    """At a size whose last map is one window, so that the windows' mean is the map's."""
    model = create_model(name, num_classes=3)
    video = draw((1, 8, 32, 32, 3))

    @nnx.jit
    def both(model, video):
        return model.tokens(video), model.features(video)

    tokens, features = both(model, video)
    chex.assert_trees_all_close(pooled(model, tokens), features, atol=2e-5)


def test_linear_probe_standardises_by_the_batch_and_leaves_the_backbone_in_evaluation_mode():
    model = create_model("frame_pool_tiny", num_classes=3, probe="linear", probe_options={"norm": True, "dropout": 0.5})
    model.train()
    modes = {path: module for path, module in nnx.iter_modules(model) if hasattr(module, "use_running_average")}
    assert {module.use_running_average for path, module in modes.items() if path[0] == "backbone"} == {True}
    assert model.norm.use_running_average is False and model.dropout.deterministic is False
    video = draw((6, 2, 16, 16, 3))
    _, _, before = split(model)

    @nnx.jit
    def run(model, video):
        return model.features(video), model.backbone.features(video)

    features, raw = map(np.asarray, run(model, video))
    np.testing.assert_allclose(features, (raw - raw.mean(0)) / np.sqrt(raw.var(0) + 1e-6), atol=1e-4)
    _, _, after = split(model)
    moved = {path for path in after if not np.array_equal(before[path], after[path])}
    assert moved == {"norm.mean", "norm.var"}
    model.eval()
    assert model.dropout.deterministic and model.norm.use_running_average


def test_no_gradient_passes_into_the_backbone():
    model = create_model("vivit_tiny", num_classes=3, probe="attentive", depth=1, dim=32, heads=2)
    gradient = jax.jit(jax.grad(lambda video: model(video).sum()))(draw((1, 8, 32, 32, 3)))
    assert not np.asarray(gradient).any()


def test_a_training_step_costs_one_pass_through_the_backbone():
    model = abstract_model("vivit_tiny", num_classes=6, probe="linear")
    cost = module_cost(model, (8, 32, 32, 3))
    assert training_macs(model, cost) == cost.macs + 2 * 96 * 6
    whole = abstract_model("vivit_tiny", num_classes=6)
    assert cost.macs == module_cost(whole, (8, 32, 32, 3)).macs == training_macs(whole, cost) // 3


def test_heads_are_sixteen_or_what_divides():
    model = abstract_model("vivit_tiny", probe="attentive")
    assert model.pooler.cross.heads == 16 and len(model.pooler.blocks) == 0
    odd = abstract_model("vivit_tiny", probe="attentive", dim=72, heads=3, probe_options={"blocks": 4})
    assert odd.pooler.cross.heads == 8 and len(odd.pooler.blocks) == 3


class Tokenless(VideoNetwork):
    widths = Widths(4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: create_model("vivit_tiny", probe="nearest"), "must be one of 'linear', 'attentive'"),
        (lambda: create_model("vivit_tiny", probe_options={"blocks": 2}), "apply only to a probe"),
        (lambda: create_model("videomae_tiny_pretrain", probe="linear"), "no classifier"),
        (lambda: abstract_model("vivit_tiny", probe="linear", probe_options={"heads": 2}), "only to attentive probes"),
        (
            lambda: abstract_model("vivit_tiny", probe="attentive", probe_options={"norm": True}),
            "only to linear probes",
        ),
        (lambda: abstract_model("vivit_tiny", probe="attentive", probe_options={"heads": 7}), "does not divide"),
        (
            lambda: Probe(Tokenless(), 3, kind="attentive", rngs=nnx.Rngs(0)),
            "has no tokens, which a probe of kind 'att",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
