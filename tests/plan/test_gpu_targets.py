"""GPUs that are not there: descriptions that agree with the data sheets, and errors that name the mend."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax._src.cudnn import fused_attention_stablehlo as fused

from vidjax.config import ConfigError
from vidjax.nn.attention import attention
from vidjax.nn.target_backend import apart, target, targeting
from vidjax.plan import gpu_targets
from vidjax.plan.chips import GPUS
from vidjax.plan.gpu_targets import BOARDS, can_compile, compiling_for, gpu_devices


@pytest.mark.parametrize("name", BOARDS)
def test_boards_are_those_of_the_plans(name):
    assert BOARDS[name].memory == GPUS[name].memory and BOARDS[name].bandwidth == GPUS[name].bandwidth


def test_a_gpu_without_a_description_and_a_missing_compiler_are_named(monkeypatch):
    with pytest.raises(ConfigError, match=r"--gpu=l4:2: programs can be compiled for a100, b200, h100, h200"):
        gpu_devices("l4:2")
    monkeypatch.setattr(gpu_targets, "_PACKAGES", ("json", "a_package.that_is_missing"))
    assert not can_compile("h100:8")
    with pytest.raises(ConfigError, match=r"jax-cuda13-plugin.*\[gpu-plan\]"):
        gpu_devices("H100:8")


@pytest.mark.parametrize(("capability", "kernels"), [("9.0", 1), ("8.0", 1), ("7.5", 0)])
def test_attention_is_chosen_for_the_gpu_that_is_compiled_for(capability, kernels):
    before = fused.check_cudnn_version
    device = SimpleNamespace(compute_capability=capability, device_kind="a GPU")
    with compiling_for(device):
        assert target().backend == "gpu" and target().capability == float(capability)
        assert fused.check_compute_capability("8.6") == (capability == "9.0")
        assert fused.is_cuda_compute_capability_equal(capability)
        q = jnp.zeros((1, 16, 2, 64), jnp.bfloat16)
        text = str(jax.make_jaxpr(lambda q: attention(q, q, q))(q))
    assert text.count("dot_product_attention_fwd_wrapper") == kernels
    assert fused.check_cudnn_version is before


def test_devices_have_the_names_and_capabilities_of_their_boards():
    if not can_compile("h100"):
        pytest.skip("needs the compiler for GPUs: the extra gpu-plan")
    for name, board in BOARDS.items():
        devices = gpu_devices(f"{name}:16")
        assert len(devices) == 16 and {device.device_kind for device in devices} == {board.name}
        assert devices[0].compute_capability == "{}.{}".format(*board.capability)


def test_what_a_product_shall_not_take_in_stays_out_on_gpus_alone():
    with compiling_for(SimpleNamespace(compute_capability="9.0", device_kind="a GPU")):
        text = str(jax.make_jaxpr(jax.grad(lambda x: apart(x).sum()))(jnp.ones(2)))
    assert text.count("optimization_barrier") == 2  # the gradient's too
    with targeting("tpu"):
        assert "optimization_barrier" not in str(jax.make_jaxpr(lambda x: apart(x))(jnp.ones(3)))
