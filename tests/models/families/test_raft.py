"""RAFT: the references' flow after every stated number of updates; sizes of pictures; where gradients stop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.golden import FOLDER, fill_state, read_keys, relative_error
from vidjax.errors import UserError
from vidjax.models.families.raft import Raft, padded_flow
from vidjax.models.flow_networks import FLOW_NETWORKS, abstract_flow_network, create_flow_network, get_flow_network
from vidjax.models.state import split
from vidjax.nn.clips import ClipError
from vidjax.weights.flow_networks import load_flow_network

GOLDENS = {"raft_large": "torchvision_raft_large_128x160", "raft_small": "princeton_raft_small_128x160"}
PARAMETERS = {"raft_large": 5_257_536, "raft_small": 990_162}


def noise_pair(height, width):
    """A pair of white noise, halved and clipped to −1…1, float32 `(1, H, W, 3)` each."""
    drawn = (0.5 * np.random.default_rng(seed).standard_normal((1, 3, height, width)) for seed in (0, 1))
    return [np.moveaxis(np.clip(x, -1, 1).astype(np.float32), 1, -1) for x in drawn]


def wave_pair(height, width):
    """A pair of sums of plane waves, the second displaced by (-5.5, 1.25) pixels: the second pair of the goldens."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64), indexing="ij")
    pairs = np.zeros((2, 2, 3, height, width))
    for pair, (dx, dy) in zip(pairs, ((3.0, -2.0), (-5.5, 1.25)), strict=True):
        for channel in range(3):
            for _ in range(12):
                fx, fy = rng.uniform(-0.12, 0.12, 2)
                phase, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0) / 12
                pair[0, channel] += size * np.sin(2 * np.pi * (fx * x + fy * y) + phase)
                pair[1, channel] += size * np.sin(2 * np.pi * (fx * (x - dx) + fy * (y - dy)) + phase)
    return [np.moveaxis(picture[None].astype(np.float32), 1, -1) for picture in pairs[1]]


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDENS)
def test_flow_of_the_references(name):
    network = load_flow_network(name, fill_state(read_keys(GOLDENS[name])))
    pictures = map(np.concatenate, zip(noise_pair(128, 160), wave_pair(128, 160), strict=True))
    flows = np.asarray(jax.jit(lambda a, b: network.all_flows(a, b))(*pictures))
    with np.load(FOLDER / "flow" / f"{GOLDENS[name]}.npz") as wanted:
        for updates in (1, 2, 4, 12):
            flow = np.moveaxis(flows[updates - 1], -1, 1)[:, :, ::5, ::7]
            for pair in (0, 1):
                assert relative_error(flow[pair], wanted[f"flow{updates}"][pair]) < 1e-4


@pytest.mark.parametrize("name", PARAMETERS)
def test_numbers_of_parameters(name):
    _, params, _ = split(abstract_flow_network(name))
    assert sum(array.size for array in params.values()) == PARAMETERS[name]


@pytest.fixture(scope="module")
def tiny():
    return create_flow_network("raft_tiny")


@pytest.mark.slow
def test_pictures_of_any_size(tiny):
    rng = np.random.default_rng(2)
    first, second = (rng.uniform(-1, 1, (1, 27, 43, 3)).astype(np.float32) for _ in range(2))
    network = nnx.jit(lambda a, b: tiny.flow(a, b))
    for bottom, top in ((False, 2), (True, 0)):
        edges = ((0, 0), (top, 5 - top), (2, 3), (0, 0))
        whole = network(*(np.pad(x, edges, mode="edge") for x in (first, second)))
        cut = jax.jit(lambda a, b, bottom=bottom: padded_flow(tiny, a, b, bottom=bottom))(first, second)
        assert cut.shape == (1, 27, 43, 2)
        np.testing.assert_allclose(cut, whole[:, top : top + 27, 2:45], atol=1e-5)


@pytest.mark.slow
def test_fewer_updates_and_the_last_of_all(tiny):
    first, second = noise_pair(32, 40)
    flows = jax.jit(lambda a, b: tiny.all_flows(a, b))(first, second)
    assert flows.shape == (3, 1, 32, 40, 2) and flows.dtype == jnp.float32
    for updates in (1, None):
        flow = jax.jit(lambda a, b, updates=updates: tiny.flow(a, b, updates=updates))(first, second)
        np.testing.assert_allclose(flow, flows[(updates or 3) - 1], atol=1e-5)


@pytest.mark.slow
def test_gradients_stop_between_updates():
    """An update sees the flow before it as a constant: what the last flow asks of its change counts once, not twice."""
    first, second = noise_pair(32, 32)
    graph, params, stats = nnx.split(create_flow_network("raft_small_tiny"), nnx.Param, ...)

    def loss(params):
        return nnx.merge(graph, params, stats).all_flows(first, second, updates=2)[1].sum()

    gradient = jax.jit(jax.grad(loss))(params)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(gradient))
    bias = gradient["flow_head"]["conv2"]["bias"][...]
    np.testing.assert_allclose(bias, np.full(2, 8.0 * 32 * 32), rtol=1e-3)


@pytest.mark.slow
def test_what_a_network_refuses(tiny):
    ones = np.ones((1, 32, 32, 3), np.float32)
    with pytest.raises(ValueError, match=r"pictures of 36×32 pixels: both must be multiples of 8 and at least 32"):
        tiny.flow(*(np.ones((1, 36, 32, 3), np.float32),) * 2)
    with pytest.raises(ValueError, match="at least 32"):
        tiny.flow(ones[:, :24], ones[:, :24])
    with pytest.raises(ValueError, match="one shape"):
        tiny.flow(ones, np.ones((1, 32, 40, 3), np.float32))
    with pytest.raises(ClipError):
        tiny.flow(ones.astype(np.uint8), ones.astype(np.uint8))
    with pytest.raises(ValueError, match="norm = 'layer'"):
        Raft(context_norm="layer", rngs=nnx.Rngs(0))


def test_half_precision_and_flow_networks_by_name():
    network = abstract_flow_network("raft_tiny", dtype=jnp.bfloat16)
    pair = [jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)] * 2
    flow = nnx.eval_shape(lambda net, a, b: net.flow(a, b), network, *pair)
    assert flow.shape == (1, 32, 32, 2) and flow.dtype == jnp.float32
    assert {array.dtype for array in split(network)[1].values()} == {jnp.dtype("float32")}
    with pytest.raises(UserError, match=r"no flow network 'raft_larg'\. Did you mean raft_large"):
        get_flow_network("raft_larg")
    for variant in FLOW_NETWORKS.values():
        assert variant.spec.paper and variant.spec.sources
