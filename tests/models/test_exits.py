"""Networks with early exits: one pass gives all answers, the end stays as it is, and stages are the whole in parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.tiny import clips
from vidjax.config import Config, ConfigError, ModelConfig, TrainConfig
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.data.records import LabelSpace
from vidjax.models.build import build_model
from vidjax.models.cost import module_cost, shapes_of
from vidjax.models.exits import all_logits, stage, stage_gmacs, without_exits
from vidjax.models.layer_vectors import layer_vectors
from vidjax.models.registry import get_spec
from vidjax.models.state import frozen_paths, split
from vidjax.tasks import make_task

SMALL = {"num_frames": 4, "size": 16, "dim": 16, "depth": 2, "heads": 2}
SHALLOW = {"num_frames": 4, "size": 16, "dim": 8, "depth": 2, "heads": 1, "stages": (1,)}
WINDOWS = {"dim": 8, "depths": (2, 1), "heads": (2, 2), "window": (2, 3, 3)}
NETWORKS = [
    ("r2plus1d_tiny", ("stages.0.0", "stages.1.0"), {}), ("videomae_tiny", ("blocks.0",), SMALL),
    *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in (
        ("tsm_tiny", ("stages.0.0", "stages.1.0"), {}), ("frame_pool_effnet_tiny", ("stages.0.0", "stages.1.0"), {}),
        ("x3d_tiny", ("stages.0.0",), {}), ("mvit_tiny", ("blocks.0",), SHALLOW),
        ("swin3d_tiny", ("stages.0.blocks.0", "stages.1.blocks.0"), WINDOWS),
        ("timesformer_tiny", ("blocks.0",), SMALL),
    )),
]  # fmt: skip


def network_of(name, layers, kwargs, **settings):
    config = Config(model=ModelConfig(name=name, exits=layers, kwargs=kwargs, **settings))
    return build_model(validate(config), 3, dtype=None), config


@pytest.mark.slow(after=1)
@pytest.mark.parametrize(("name", "layers", "kwargs"), NETWORKS)
def test_exits_stand_beside_the_same_network(name, layers, kwargs):
    plain, _ = network_of(name, (), kwargs)
    network, config = network_of(name, layers, kwargs)
    (_, params, stats), (_, bare, bare_stats) = split(network), split(plain)
    heads = {path: array for path, array in params.items() if path.startswith("exits.heads.")}
    assert params.keys() - bare.keys() == heads.keys() and len(heads) == 2 * len(layers)
    assert all(np.array_equal(bare[path], params[path]) for path in bare) and stats.keys() == bare_stats.keys()
    video = jnp.asarray(clips(name))

    @jax.jit
    def run(video):
        """All at once; stage by stage; and what each part is by itself."""
        inner, stages = [], []
        for number in range(len(layers) + 1):
            logits, inner = stage(network, video, number, inner)
            stages.append(logits)
        vectors = [layer_vectors(network, video, layer) for layer in layers]
        return all_logits(network, video), stages, vectors, plain(video), network(video)

    together, stages, vectors, alone, called = run(video)
    np.testing.assert_array_equal(together[-1], called)
    np.testing.assert_allclose(called, alone, rtol=1e-5, atol=1e-6)
    for layer, vector, logits in zip(layers, vectors, together, strict=False):
        head = network.exits.heads[layer.replace(".", "_")]
        np.testing.assert_allclose(logits, vector @ head.kernel[...] + head.bias[...][None], rtol=1e-4, atol=1e-6)
    for logits, expected in zip(stages, together, strict=True):
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    spec = resolve_spec(get_spec(name, kwargs), config.data, "rgb")
    costs, whole = stage_gmacs(network, spec), module_cost(plain, shapes_of(spec)).gmacs
    added = sum(array.size for path, array in heads.items() if path.endswith("kernel")) / 1e9
    assert min(costs) > 0 and sum(costs) == pytest.approx(whole + added)
    abstract = build_model(config, 3, dtype=None, abstract=True)
    assert {p: a.shape for p, a in split(abstract)[1].items()} == {p: a.shape for p, a in params.items()}


def test_a_frozen_trunk_leaves_the_exits_to_train():
    network, _ = network_of("conv3d_tiny", ("convs.0",), {}, frozen=("convs", "norms", "head"))
    _, params, _ = split(network)
    assert params.keys() - frozen_paths(network) == {"exits.heads.convs_0.kernel", "exits.heads.convs_0.bias"}


def test_without_exits_a_network_is_itself():
    network, _ = network_of("conv3d_tiny", ("convs.0",), {})
    plain, _ = network_of("conv3d_tiny", (), {})
    with without_exits(network):
        assert split(network)[0] == split(plain)[0]
    assert network.exits.layers == ("convs.0",)
    with without_exits(plain):
        assert plain.exits is None


def test_layers_that_cannot_be_exits_are_named():
    for layers, message in (
        (("nothing",), "has no module 'nothing'"),
        (("convs.*",), "modules have such a path"),
        (("convs.1", "convs.0"), "in the order in which they run: convs.0, convs.1"),
        (("convs.0", "convs.0"), "give each layer once"),
        (("head",), "head does not run while clips are encoded"),
    ):
        with pytest.raises(ConfigError, match=rf"config\.model\.exits: .*{message}"):
            network_of("conv3d_tiny", layers, {})


def test_only_classifiers_of_clips_have_exits():
    config = Config(model=ModelConfig(name="videomae_tiny_pretrain", exits=("encoder.blocks.0",)))
    with pytest.raises(ConfigError, match=r"config\.model\.exits: the task 'reconstruct' has no early exits"):
        make_task(config, get_spec("videomae_tiny_pretrain"), LabelSpace(()))


def test_settings_that_do_not_go_together():
    for settings, message in (
        ({"probe": "linear"}, "config.model.probe = 'linear': trains a part"),
        ({"lora_rank": 2}, "config.model.lora_rank = 2"),
        ({"remat": "full"}, "config.model.remat = 'full': has no effect with config.model.exits"),
        ({"scan_blocks": True}, "config.model.scan_blocks = True"),
    ):
        with pytest.raises(ConfigError, match=message):
            validate(Config(model=ModelConfig(exits=("stem",), **settings)))
    with pytest.raises(ConfigError, match=r"config\.train\.teacher = 'runs/x': teaches the end alone"):
        validate(Config(model=ModelConfig(exits=("stem",)), train=TrainConfig(teacher="runs/x")))
    with pytest.raises(ConfigError, match=r"config.model.exit_weight = 0.5: is for model.exits"):
        validate(Config(model=ModelConfig(exit_weight=0.5)))
