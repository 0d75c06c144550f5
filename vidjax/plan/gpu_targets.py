"""NVIDIA GPUs to compile for: only their compiler is needed, not the GPUs."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from vidjax.config import ConfigError
from vidjax.errors import install
from vidjax.nn.target_backend import targeting
from vidjax.plan.chips import read_gpus

# Versions that programs are compiled for: the oldest that JAX's plugin for CUDA 13 supports.
_CUDA, _CUDNN = 13, (9, 12)


@dataclass(frozen=True)
class Board:
    """Description of a GPU for XLA's compiler.

    Attributes:
      name: name of the device.
      capability: NVIDIA's compute capability, major and minor number.
      cores: number of streaming multiprocessors.
      lanes: number of float32 units of a multiprocessor.
      clock: highest clock rate, GHz.
      memory: size of the HBM, bytes.
      bandwidth: bandwidth of the HBM, bytes/s.
      cache: size of the second-level cache, bytes.
      shared: shared memory of a multiprocessor, bytes.
    """

    name: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    clock: float
    memory: int
    bandwidth: int
    cache: int
    shared: int

    @property
    def description(self) -> str:
        """XLA's `GpuTargetConfigProto` of the GPU, as text."""
        # CUDA keeps 1 KiB of the shared memory for itself in each block of threads.
        return f"""
            gpu_device_info {{
              threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
              block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
              registers_per_core_limit: 65536 registers_per_block_limit: 65536
              shared_memory_per_block: 49152 shared_memory_per_block_optin: {self.shared - 1024}
              shared_memory_per_core: {self.shared} core_count: {self.cores} fpus_per_core: {self.lanes}
              clock_rate_ghz: {self.clock} device_memory_size: {self.memory} memory_bandwidth: {self.bandwidth}
              l2_cache_size: {self.cache}
              cuda_compute_capability {{ major: {self.capability[0]} minor: {self.capability[1]} }}
            }}
            platform_name: "CUDA" device_description_str: "{self.name}"
            dnn_version_info {{ major: {_CUDNN[0]} minor: {_CUDNN[1]} }} runtime_version {{ major: {_CUDA} }}
        """


# From NVIDIA's data sheets and architecture white papers (SXM boards), and the CUDA programming guide's limits for each
# compute capability.
BOARDS = {
    "a100": Board("NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 1.41, 80 * 2**30, 2039 * 10**9, 40 * 2**20, 164 * 2**10),
    "b200": Board("NVIDIA B200", (10, 0), 148, 128, 1.965, 180 * 10**9, 7700 * 10**9, 126 * 2**20, 228 * 2**10),
    "h100": Board("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 1.98, 80 * 2**30, 3350 * 10**9, 50 * 2**20, 228 * 2**10),
    "h200": Board("NVIDIA H200", (9, 0), 132, 128, 1.98, 140 * 2**30, 4800 * 10**9, 50 * 2**20, 228 * 2**10),
}


# The compiler for NVIDIA's GPUs, and the library with which it generates machine code.
_PACKAGES = ("jax_cuda13_plugin", "jax_plugins.xla_cuda13", "nvidia.cu13.nvvm")


def can_compile(name: str) -> bool:
    """Whether `gpu_devices` knows the GPUs of a name such as `h100:8`, and their compiler is installed."""
    return name.lower().split(":")[0] in BOARDS and all(map(_is_there, _PACKAGES))


def gpu_devices(name: str) -> list[Any]:
    """GPU devices to compile for, within `compiling_for`; the GPUs need not exist.

    Args:
      name: name of a GPU in `BOARDS` and its number, such as `h100:8`.

    Raises:
      ConfigError: if the compiler is missing, or the GPU is not in `BOARDS`.
    """
    _, count = read_gpus(name)
    kind = name.lower().split(":")[0]
    if kind not in BOARDS:
        raise ConfigError(
            f"--gpu={name}: programs can be compiled for {', '.join(BOARDS)}; too little is known of {kind}"
        )
    if not can_compile(name):
        raise ConfigError(
            f"compiling for GPUs needs their compiler (the package jax-cuda13-plugin and others), but no GPU: "
            f"{install('gpu-plan')}"
        )
    from jax.experimental import topologies

    try:
        topology = topologies.get_topology_desc(
            platform="cuda", target_config=BOARDS[kind].description, topology=f"1x1x{count}"
        )
    except NotImplementedError:
        # JAX has tried to run programs with the compile-only plugin, and failed.
        raise ConfigError(f"--gpu={name}: JAX found no cuDNN to run programs with; set JAX_PLATFORMS=cpu") from None
    return list(topology.devices)


@contextlib.contextmanager
def compiling_for(device: Any) -> Iterator[None]:
    """Context in which traced code targets a GPU of `gpu_devices`, so that cuDNN's attention can be lowered.

    For that, JAX asks cuDNN for its version and a GPU for its compute capability, although neither may exist here, or
    they may differ from the target. In this context it gets those of the target.
    """
    from jax._src.cudnn import fused_attention_stablehlo as fused

    own = tuple(map(int, str(device.compute_capability).split(".")))

    def number(capability: str) -> tuple[int, ...]:
        return tuple(map(int, capability.split(".")))

    told = {
        "check_cudnn_version": lambda: _CUDNN[0] * 10000 + _CUDNN[1] * 100,
        "check_compute_capability": lambda capability: own >= number(capability),
        "is_cuda_compute_capability_equal": lambda capability: own == number(capability),
    }
    before = {name: getattr(fused, name) for name in told}
    try:
        for name, answer in told.items():
            setattr(fused, name, answer)
        with targeting("gpu", device):
            yield
    finally:
        for name, answer in before.items():
            setattr(fused, name, answer)


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of a package that it is in
        return False
