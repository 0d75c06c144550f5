"""Flow that a network estimates on the device inside the step: what is read, trained, stored, and left as it is.

A small network stands in for `raft_small`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console

from tests.settings import data_config
from tests.videos import write_halves
from vidjax.config import Config, ConfigError, EvalConfig, ModelConfig, OptimizerConfig, TrainConfig
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.data.reading.clips import ClipReader
from vidjax.data.records import Record
from vidjax.inputs import FlowFields, VideoInput
from vidjax.models import flow_networks, get_spec
from vidjax.models.build import build_model
from vidjax.models.families.raft import Raft
from vidjax.models.state import frozen_paths, split
from vidjax.nn.device_flow import colours_and_flow, in_8_bits
from vidjax.nn.enter import enter
from vidjax.predictor import Predictor
from vidjax.training.checkpoints import load_model
from vidjax.training.loop import train
from vidjax.video.flow import quantise
from vidjax.weights.flow_networks import flow_network_state_dict
from vidjax.weights.write import write_file

PREFIX = "flow_network.network."


@pytest.fixture
def weights(tmp_path, monkeypatch):
    tiny = flow_networks.FLOW_NETWORKS["raft_tiny"]
    monkeypatch.setitem(flow_networks.FLOW_NETWORKS, "raft_small", tiny)
    network = flow_networks.create_flow_network("raft_tiny", seed=7)
    write_file(tmp_path / "raft.safetensors", flow_network_state_dict(network, "raft_tiny"), "torchvision")
    return tmp_path / "raft.safetensors", network


def config_of(data, weights="", input="rgb+flow", **settings):
    return Config(
        model=ModelConfig(name="frame_pool_tiny", input=input),
        data=data_config(
            train=str(data), eval_share=0.3, num_frames=2, size=16, resize=(20,), flow="raft_small",
            flow_weights=str(weights), **settings,
        ),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.01),
        train=TrainConfig(batch_size=8, steps=2, log_every=1, ema_decay=0.9),
        eval=EvalConfig(num_clips=1, batch_size=8),
    )  # fmt: skip


def arrays_of(network):
    _, params, stats = split(network)
    return {**params, **stats}


@pytest.mark.slow
def test_training_leaves_the_flow_network_as_it_is(weights, tmp_path):
    file, flow_network = weights
    config = config_of(write_halves(tmp_path / "halves"), file)
    train(validate(config), str(tmp_path / "run"), console=Console(quiet=True))
    model, meta, _ = load_model(tmp_path / "run")
    arrays, given = arrays_of(model), arrays_of(flow_network)
    for path, array in given.items():
        np.testing.assert_array_equal(arrays[f"{PREFIX}{path}"], array, err_msg=path)
    first = build_model(config, len(meta.labels.names), dtype=None)
    assert any(not np.array_equal(arrays[p], a) for p, a in arrays_of(first).items() if not p.startswith(PREFIX))
    file.unlink()  # a run's own checkpoint holds the weights
    video = next((tmp_path / "halves").rglob("*.mp4"))
    assert np.isclose(Predictor(tmp_path / "run")(video).scores.sum(), 1)


@pytest.mark.slow
def test_no_gradient_and_no_training_mode(weights):
    config = config_of("unused", input="flow")
    model = build_model(config, 3, dtype=None)
    spec = resolve_spec(get_spec("frame_pool_tiny"), config.data, "flow")
    assert {path for path in arrays_of(model) if path.startswith(PREFIX)} == frozen_paths(model)
    model.train()
    norms = [module for _, module in nnx.iter_modules(model.flow_network) if hasattr(module, "use_running_average")]
    assert norms and all(norm.use_running_average for norm in norms)
    model.eval()
    video = np.random.default_rng(0).integers(0, 256, (1, 2, 16, 16, 6)).astype(np.uint8)
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        network = nnx.merge(graph, params, rest)
        return jnp.square(network(enter({"video": video}, spec.inputs, network=network))).sum()

    gradient = jax.jit(jax.grad(loss))(params)
    assert all(not jnp.any(x) for x in jax.tree.leaves(gradient["flow_network"]))
    assert any(jnp.any(x) for x in jax.tree.leaves(gradient))


@pytest.mark.parametrize("input", ["flow", "rgb+flow"])
def test_frames_that_are_read(input, tmp_path):
    """L + 1 successive frames for each frame of a clip, cropped, mirrored and recoloured alike."""
    write_halves(tmp_path / "halves")
    video = str(next((tmp_path / "halves").rglob("*.mp4")))
    plain, config = config_of("unused", input="rgb").data, config_of("unused", flow_fields=2, stride=2).data
    with pytest.raises(ConfigError, match=r"config\.data\.flow"):
        resolve_spec(get_spec("frame_pool_tiny"), plain, "rgb")
    spec = resolve_spec(get_spec("frame_pool_tiny"), config, input)
    reader = ClipReader(spec, config)
    assert spec.video.field.shape == (2, 16, 16, 9) and spec.video.channels == 4 + 3 * (input != "flow")
    rgb = resolve_spec(get_spec("frame_pool_tiny"), data_config(num_frames=3, size=16, resize=(20,)), "rgb")
    clips, views = reader.evaluate(Record(video), 1, 3)
    assert clips.shape == (3, 2, 16, 16, 9)
    for t, start in enumerate(views.frames[0]):
        for level in range(3):
            single = rgb.with_video(num_frames=1)
            whole, found = ClipReader(single, data_config(num_frames=1, size=16, resize=(20,))).evaluate(
                Record(video), 8, 3
            )
            row = np.flatnonzero(found.frames[:, 0] == start + level)
            np.testing.assert_array_equal(clips[:, t, ..., 3 * level : 3 * level + 3], whole[row][:, 0])
    clips, views = reader.train(Record(video), np.random.default_rng(0))
    assert clips.shape == (1, 2, 16, 16, 9) and clips.dtype == np.uint8


def test_colours_and_fields_in_order():
    """Fields after the colours of their first frame, x before y, each from a frame to the next one."""
    means = np.array([[[10, 14, 15], [20, 22, 29]]], np.uint8)  # of the L + 1 frames of T = 2
    video = np.broadcast_to(np.repeat(means, 3, axis=-1)[:, :, None, None], (1, 2, 4, 4, 9))

    def change(first, second):
        right = (second - first)[..., 0]
        return jnp.stack([right, -right], axis=-1)

    fields = FlowFields("raft_small", count=2, bound=10)
    input = VideoInput(2, size=4, content="rgb+flow", flow=fields, mean=(0.5,) * 7, std=(0.5,) * 7)
    found = np.asarray(colours_and_flow(jnp.asarray(video), input, change))[0, :, 0, 0]
    vectors = [[4, -4, 1, -1], [2, -2, 7, -7]]
    np.testing.assert_array_equal(found[:, :3], [[10] * 3, [20] * 3])
    np.testing.assert_array_equal(found[:, 3:], np.rint((np.array(vectors) + 10) * 12.75))
    alone = VideoInput(2, size=4, content="flow", flow=fields, mean=(0.5,) * 4, std=(0.5,) * 4)
    np.testing.assert_array_equal(colours_and_flow(jnp.asarray(video), alone, change)[0, :, 0, 0], found[:, 3:])


@pytest.mark.parametrize("rounding", ["nearest", "truncated"])
def test_8_bits_of_the_host(rounding):
    flow = np.random.default_rng(0).normal(scale=12, size=(2, 9, 7, 2)).astype(np.float32)
    fields = FlowFields("raft_small", bound=20, rounding=rounding)
    host = np.stack([quantise(field, 20, rounding) for field in flow])
    device = np.asarray(in_8_bits(jnp.asarray(flow), fields))
    assert (device != host).mean() < 0.01 and np.abs(device - host).max() <= 1
    less = FlowFields("raft_small", bound=20, rounding=rounding, mean_subtracted=True)
    centred = flow - flow.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(in_8_bits(flow, less), in_8_bits(jnp.asarray(centred), fields), atol=1)


def test_what_is_refused(weights, tmp_path):
    data = write_halves(tmp_path / "halves")
    with pytest.raises(ConfigError, match=r"config\.data\.flow_weights is empty: data\.flow=raft_small is a network"):
        train(validate(config_of(data)), str(tmp_path / "run"), console=Console(quiet=True))
    spec = resolve_spec(get_spec("frame_pool_tiny"), config_of("unused").data, "rgb+flow")
    with pytest.raises(ValueError, match="flow by raft_small is estimated on the device"):
        enter({"video": np.zeros((1, 2, 16, 16, 6), np.uint8)}, spec.inputs)
    assert isinstance(build_model(config_of("unused"), 2, dtype=None, abstract=True).flow_network.network, Raft)
    config = data_config(flow="dis_fast", flow_weights="raft.pth")
    with pytest.raises(ConfigError, match=r"config\.data\.flow_weights = 'raft.pth'"):
        resolve_spec(get_spec("frame_pool_tiny"), config, "flow")
