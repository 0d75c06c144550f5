"""Mesh, placement and what a batch must fulfil."""

import contextlib
import logging
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from tests.models.abstract import abstract
from tests.models.small import network
from vidjax import parallel
from vidjax.config import Config, ConfigError, MeshConfig, ModelConfig, Spec
from vidjax.config.validate import validate
from vidjax.data.records import LabelSpace
from vidjax.models.families.resnet import ResNet
from vidjax.models.families.vivit import ViViT
from vidjax.models.registry import create_model, get_spec, list_models
from vidjax.models.state import merge, split
from vidjax.nn.attention import attention
from vidjax.nn.conv import conv_formulation
from vidjax.tasks.classify.objective import ClassObjective
from vidjax.training.compiled_step import Program
from vidjax.training.step import StepOptions, init_state, make_train_step

SPEC = Spec.of_video("small", num_frames=2, size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
PLACEMENTS = {
    "replicated": {},
    "fsdp": {"data": 1, "fsdp": -1},
    "tensor": {"data": -1, "model": 2},
    "fsdp and tensor": {"data": 1, "fsdp": -1, "model": 2},
}


def test_mesh_takes_all_or_the_first_devices():
    assert dict(parallel.make_mesh().shape) == {"data": 8, "fsdp": 1, "model": 1}
    assert dict(parallel.make_mesh(2).shape) == {"data": 2, "fsdp": 1, "model": 1}
    with pytest.raises(ValueError, match=r"config.mesh.data = 9, but there are 8 devices"):
        parallel.make_mesh(9)


def test_placed_batch_is_split_and_comes_back_whole():
    mesh = parallel.make_mesh()
    batch = {"video": np.arange(16 * 3, dtype=np.uint8).reshape(16, 3), "label": np.arange(16, dtype=np.int32)}
    placed = parallel.place(batch, parallel.batch_sharding(mesh))
    assert {s.data.shape for s in placed["video"].addressable_shards} == {(2, 3)}
    assert placed["video"].dtype == np.uint8
    jax.tree.map(np.testing.assert_array_equal, parallel.gather(placed), batch)


def test_batch_size_must_split_evenly():
    mesh = parallel.make_mesh()
    parallel.check_batch_size(16, mesh, "train.batch_size")
    with pytest.raises(
        ValueError, match=r"config.train.batch_size = 12 cannot be split evenly over 8 devices; use 8 or 16"
    ):
        parallel.check_batch_size(12, mesh, "train.batch_size")
    with pytest.raises(ValueError, match=r"; use 8"):
        parallel.check_batch_size(4, mesh, "train.batch_size")


def test_lists_of_one_process_are_left_alone():
    assert parallel.gather_lists([[1, "a"]]) == [[1, "a"]]


def test_one_axis_takes_the_devices_that_the_others_leave():
    assert dict(parallel.make_mesh(2, fsdp=-1, model=2).shape) == {"data": 2, "fsdp": 2, "model": 2}
    assert dict(parallel.make_mesh(1, jax.devices()[:4], model=-1).shape) == {"data": 1, "fsdp": 1, "model": 4}
    with pytest.raises(ValueError, match=r"config.mesh.fsdp = 2 × model = 8, but there are 8 devices"):
        parallel.make_mesh(1, fsdp=2, model=8)
    with pytest.raises(ValueError, match=r"config.mesh.data = -1: the 8 devices cannot be split by fsdp = 3"):
        parallel.make_mesh(fsdp=3)
    with pytest.raises(ValueError, match=r"config.mesh: data and fsdp are both -1"):
        parallel.make_mesh(fsdp=-1)


def test_parameters_are_split_by_their_path():
    mesh = parallel.make_mesh(1, fsdp=4, model=2)
    split_as = {
        ("blocks.0.attn.qkv.kernel", (256, 768)): P("fsdp", "model"),
        ("blocks.0.temporal_attn.proj.kernel", (256, 256)): P("model", "fsdp"),
        ("blocks.0.mlp.fc1.kernel", (256, 1024)): P("fsdp", "model"),
        ("blocks.0.mlp.fc2.kernel", (1024, 256)): P("model", "fsdp"),
        ("stages.0.1.conv2.kernel", (3, 3, 3, 64, 128)): P(None, None, None, "fsdp", "model"),
        ("head.kernel", (512, 399)): P("fsdp"),  # two devices cannot share 399 classes
        ("stages.0.1.norm2.scale", (128,)): P(),
        ("pos_embed", (1, 1568, 768)): P(None, "fsdp"),
        ("patch_embed.kernel", (1, 4, 4, 3, 32)): P(None, None, None, None, "model"),  # small: not over fsdp
    }
    for (path, shape), expected in split_as.items():
        assert parallel.parameter_spec(path, shape, mesh) == expected, path
        assert parallel.parameter_spec(path, shape, parallel.make_mesh()) == P(), path


def test_a_large_parameter_that_cannot_be_split_is_named(caplog):
    params = {"table": jax.ShapeDtypeStruct((333, 777), np.float32), "scale": jax.ShapeDtypeStruct((9,), np.float32)}
    with caplog.at_level(logging.WARNING, "vidjax"):
        assert parallel.left_whole(params, parallel.make_mesh(1, fsdp=8)) == ["table"]
    assert "config.mesh.fsdp = 8 divides no axis of table (333, 777)" in caplog.text
    assert parallel.left_whole(params, parallel.make_mesh()) == []


def small_vit(**kwargs):
    return ViViT(5, dim=16, depth=2, heads=2, num_frames=2, size=16, tubelet=(2, 4, 4), rngs=nnx.Rngs(0), **kwargs)


def small_cnn():
    return ResNet(5, **network())


def clips(step):
    rng = np.random.default_rng(step)
    video = rng.integers(0, 256, (8, 1, 2, 16, 16, 3)).astype(np.uint8)
    label = rng.integers(0, 5, (8, 1)).astype(np.int32)
    return {"inputs": {"video": video}, "targets": {"label": label}}


def trained(build, mesh, steps, accumulate=1, layout=contextlib.nullcontext):
    """The state after so many updates on `mesh`, whole and as it lay there."""
    model, optimizer, objective = build(), optax.adamw(1e-3, eps=1e-3), ClassObjective(SPEC)
    state = parallel.place_state(init_state(model, optimizer, ema=True, sums=objective.sums), mesh)
    options = StepOptions(seed=0, ema_decay=0.9, accumulate=accumulate)
    step = make_train_step(model, optimizer, objective, options)
    step = jax.jit(step, donate_argnums=0, out_shardings=parallel.state_sharding(state, mesh))
    rank, count = parallel.process_rank()
    with conv_formulation("native"), layout():
        for i in range(steps):
            rows = jax.tree.map(lambda x: np.split(x, count)[rank], clips(i))
            state = step(state, parallel.place(rows, parallel.batch_sharding(mesh)))
    assert step._cache_size() == 1  # compiled once, not again for the state that it gave
    return parallel.gather(state), state


def agree(state, expected, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), state, expected)


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(parallel, "LARGE", 64)


@pytest.mark.slow
def test_state_is_split_and_trains_as_on_one_device(everything_is_large):
    mesh = parallel.make_mesh(1, fsdp=2, model=2)
    whole, state = trained(small_vit, mesh, 3)
    agree(whole, trained(small_vit, parallel.make_mesh(1), 3)[0])
    path = "blocks.0.mlp.fc2.kernel"
    moments = state.opt_state[0]
    for array in (state.params[path], moments.mu[path], moments.nu[path], state.ema["params"][path]):
        assert array.sharding.spec == P("model", "fsdp")
        assert {shard.data.shape for shard in array.addressable_shards} == {(32, 8)}


@pytest.mark.slow
def test_scanned_blocks_and_split_tokens_train_as_one_device(everything_is_large):
    mesh = parallel.make_mesh(2, fsdp=2, model=2)
    scanned = partial(small_vit, scan_blocks=True, remat="attention")
    whole, _ = trained(scanned, mesh, 3, layout=partial(parallel.splitting_tokens, mesh))
    agree(whole, trained(small_vit, parallel.make_mesh(1), 3)[0])


@pytest.mark.slow
def test_tokens_are_split_between_attention_layers_and_so_is_their_memory():
    mesh = parallel.make_mesh(1, jax.devices()[:4], model=4)
    model = ViViT(
        5, attention="fsa", dim=32, depth=2, heads=4, num_frames=8, size=32, tubelet=(1, 8, 8), rngs=nnx.Rngs(0)
    )
    graphdef, params, _ = split(model)
    placed = parallel.state_sharding(params, mesh)
    shapes = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), params, placed)
    video = jax.ShapeDtypeStruct((8, 8, 32, 32, 3), np.float32, sharding=parallel.batch_sharding(mesh))

    def loss(params, video):
        return jnp.square(merge(graphdef, params, {})(video) - 1).mean()

    memory, maps = {}, {}
    for name, layout in (("whole", contextlib.nullcontext()), ("split", parallel.splitting_tokens(mesh))):
        with layout:
            compiled = jax.jit(jax.grad(loss), out_shardings=placed).lower(shapes, video).compile()
        memory[name] = compiled.memory_analysis().temp_size_in_bytes
        # Tokens of one device: all 128, or a quarter of them.
        maps[name] = Counter(re.findall(r"f32\[8,(128|32),32\]", compiled.as_text()))
    assert memory["split"] < 0.8 * memory["whole"]
    assert maps["split"]["32"] > 5 * maps["split"]["128"] and not maps["whole"]["32"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin3d_tiny", "timesformer_tiny", "mvit_tiny", "vivit_fe_tiny"])
def test_every_kind_of_tokens_can_be_split(name):
    """Class tokens, whose number no device count divides, frames as sequences of their own, and windows."""
    mesh, spec = parallel.make_mesh(2, fsdp=2, model=2), get_spec(name)
    graphdef, params, _ = split(create_model(name, num_classes=3))
    video = np.random.default_rng(0).standard_normal((4, spec.video.num_frames, 32, 32, 3)).astype(np.float32)
    forward = jax.jit(lambda params, video: merge(graphdef, params, {}).features(video))
    with conv_formulation("native"):
        expected = forward(params, video)
        with parallel.splitting_tokens(mesh):
            placed = parallel.place_state(params, mesh), parallel.place(video, parallel.batch_sharding(mesh))
            traced = forward.trace(*placed)
            answer = traced.lower().compile()(*placed)
    assert str(traced.jaxpr).count("sharding_constraint") > 4
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_heads_that_devices_cannot_share_leave_the_queries_split():
    mesh = parallel.make_mesh(1, jax.devices()[:4], model=4)
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 8, 3, 8)).astype(np.float32)
    with parallel.splitting_tokens(mesh):
        result = jax.jit(attention)(q, k, v)
    np.testing.assert_allclose(result, attention(q, k, v), atol=1e-6)
    assert result.sharding.spec[1] == "model"


def test_tokens_are_split_in_training_of_transformers_alone():
    config = Config(model=ModelConfig(name="slow_tiny"), mesh=MeshConfig(model=2, tokens=True))
    with pytest.raises(ConfigError, match=r"config\.mesh\.tokens = True: slow_tiny has no Transformer blocks"):
        Program.of(validate(config), get_spec("slow_tiny"), LabelSpace(tuple("abc")), num_videos=8)
    config.mesh.model = 1
    with pytest.raises(ConfigError, match=r"config\.mesh\.tokens = True: splits tokens over config\.mesh\.model"):
        validate(config)


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_whole_batch():
    mesh = parallel.make_mesh(1)
    agree(trained(small_vit, mesh, 1, accumulate=4)[0], trained(small_vit, mesh, 1)[0], 1e-6)


ONE_OF_TWO = """
import sys
import jax, numpy as np
from vidjax import launch, parallel
launch.join(launch.discover())
from tests.test_parallel import PLACEMENTS, trained
import tests.test_parallel as here
parallel.LARGE = 64
build, folder = getattr(here, sys.argv[1]), sys.argv[2]
for name in ("replicated", "fsdp", "tensor"):
    whole, state = trained(build, parallel.make_mesh(**PLACEMENTS[name]), 20)
    divided = any(not x.sharding.is_fully_replicated for x in state.params.values())
    assert divided == (name != "replicated") and state.step.sharding.mesh.devices.size == 4
    if parallel.is_writer():
        np.savez(f"{folder}/{name}.npz", *jax.tree.leaves(whole))
"""


def train_on_two_processes(build, folder):
    """The states after 20 updates on 2 processes × 2 devices, by placement."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2", "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_TWO, build.__name__, str(folder)],
            env=environment | {"JAX_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=400)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n---\n".join(outputs)
    return {path.stem: list(np.load(path).values()) for path in folder.glob("*.npz")}


@pytest.mark.slow
@pytest.mark.parametrize("build", [small_cnn, small_vit])
def test_every_placement_trains_as_one_device(everything_is_large, build, tmp_path):
    expected = trained(build, parallel.make_mesh(1), 20)[0]
    for name, sizes in PLACEMENTS.items():
        for count in (2, 8) if name != "fsdp and tensor" else (4, 8):
            mesh = parallel.make_mesh(devices=jax.devices()[:count], **sizes)
            whole, state = trained(build, mesh, 20)
            agree(whole, expected)
            divided = any(not x.sharding.is_fully_replicated for x in state.params.values())
            assert divided == (name != "replicated"), name
    together = train_on_two_processes(build, tmp_path)
    assert together.keys() == {"replicated", "fsdp", "tensor"}
    for state in together.values():
        agree(state, jax.tree.leaves(expected))


@pytest.mark.slow
def test_no_model_leaves_a_large_parameter_whole_on_eight_devices():
    mesh = parallel.make_mesh(1, fsdp=8)
    for name in list_models():
        _, params, _ = split(abstract(name))
        assert parallel.left_whole(params, mesh) == [], name
