"""Accelerators for which a run can be planned, with their published figures, and TPU slices."""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vidjax.config import ConfigError
from vidjax.errors import install


@dataclass(frozen=True)
class Chip:
    """One TPU chip or one GPU, with its published figures.

    Attributes:
      peak: speed of dense bfloat16 products with float32 sums, FLOP/s.
      memory: size of the HBM, bytes.
      bandwidth: bandwidth of the HBM, bytes/s.
      links: bandwidth of all links to other chips (GPUs: of the same machine), one way, bytes/s.
      flops_per_cycle: FLOP per cycle of all matrix units, so that `peak` is this times the clock; 0: not known.
      dims: dimensions of the torus that the chips form; 0: a switch joins them all.
      largest: number of chips in the largest slice.
      network: bandwidth of a GPU to other machines, one way, bytes/s.
      share: share of the memory that JAX takes by default.
      launch: shortest time of any kernel, seconds; assumed for GPUs.
    """

    peak: float
    memory: float
    bandwidth: float
    links: float
    flops_per_cycle: int = 0
    dims: int = 0
    largest: int = 0
    network: float = 0.0
    share: float = 1.0
    launch: float = 2e-6

    @property
    def clock(self) -> float:
        """Clock rate at which the matrix units reach the peak, cycles/s."""
        return self.peak / self.flops_per_cycle

    @property
    def usable_why(self) -> str:
        """Explanation, as text, of why a program cannot use the rest of the memory."""
        if self.dims:
            return f"the TPU compiler reserves {RESERVED / 2**30:g} of {self.memory / 2**30:g}"
        return f"{100 * self.share:g} % of {self.memory / 2**30:.4g}, JAX's default share of a GPU"

    @property
    def usable(self) -> float:
        """Memory that a program may fill, bytes."""
        return self.memory * self.share - (RESERVED if self.dims else 0)

    def latency(self, devices: int, *, both_ways: bool) -> float:
        """Shortest time of a collective over `devices`, seconds; assumed to be `HOP` times the distance to the farthest
        chip of a torus, and back for a sum, or `NCCL` for GPUs."""
        if not self.dims:
            return NCCL
        return HOP * self.dims * devices ** (1 / self.dims) / 2 * (2 if both_ways else 1)


# Assumed, for lack of published figures: seconds from one chip to the next, and seconds of an NCCL kernel.
HOP, NCCL = 1e-6, 1e-5
RESERVED = 2**28  # bytes that the TPU compiler reserves: on v5e it reports 15.75 of 16 GiB

# Google's pages on system architecture (cloud.google.com/tpu/docs/v4, v5e, v5p, v6e): peak, HBM and its bandwidth, and
# interchip interconnect in Gbit/s per chip: v4 2400, v5e 1600, v5p 4800, v6e 3200 (earlier editions: 3584). A chip of
# v4 and v5p has eight matrix units of 128 × 128, one of v5e four. The pages do not agree on those of v6e (two or four
# of 256 × 256); with four, the compiler's cycles for passes over memory are as far above the bandwidth's as on v5e.
# The shortest time of a kernel is the compiler's estimate for most small fusions: 610 cycles on v4, 1825 on v5e, 2122
# on v5p, 2120 on v6e. It also counts for copies and slices with lower estimates.
CHIPS = {
    "v4": Chip(275e12, 32 * 2**30, 1228e9, 300e9, 8 * 2 * 128**2, dims=3, largest=4096, launch=5.8e-7),
    "v5e": Chip(197e12, 16 * 2**30, 819e9, 200e9, 4 * 2 * 128**2, dims=2, largest=256, launch=1.2e-6),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 600e9, 8 * 2 * 128**2, dims=3, largest=6144, launch=1.2e-6),
    "v6e": Chip(918e12, 32 * 2**30, 1640e9, 400e9, 4 * 2 * 256**2, dims=2, largest=256, launch=1.2e-6),
}

# NVIDIA's data sheets (SXM boards where there are several): dense bfloat16 peak, memory and its bandwidth, half of the
# NVLink bandwidth that they give for both ways together (PCIe 4 ×16 where there is none). Network: a 200 (A100) or 400
# Gbit/s adapter for each GPU, as in DGX machines. JAX takes 75 % of the memory, see XLA_PYTHON_CLIENT_MEM_FRACTION.
_SHARE = 0.75
GPUS = {
    "a10": Chip(125e12, 24 * 2**30, 600e9, 32e9, network=12.5e9, share=_SHARE),
    "a100": Chip(312e12, 80 * 2**30, 2039e9, 300e9, network=25e9, share=_SHARE),
    "b200": Chip(2250e12, 180e9, 7.7e12, 900e9, network=50e9, share=_SHARE),
    "h100": Chip(989e12, 80 * 2**30, 3350e9, 450e9, network=50e9, share=_SHARE),
    "h200": Chip(989e12, 140 * 2**30, 4800e9, 450e9, network=50e9, share=_SHARE),
    "l4": Chip(121e12, 24 * 2**30, 300e9, 32e9, network=12.5e9, share=_SHARE),
    "l40s": Chip(362e12, 48 * 2**30, 864e9, 32e9, network=12.5e9, share=_SHARE),
    "rtx4090": Chip(165e12, 24 * 2**30, 1008e9, 32e9, network=12.5e9, share=_SHARE),
}
PER_MACHINE = 8  # GPUs that NVLink joins

# Chips by JAX's names (`device_kind`). Boards of the same GPU with other figures, such as "NVIDIA H100 PCIe", and parts
# of a GPU (MIG) have other names, which are not listed.
KINDS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "NVIDIA A10": "a10",
    "NVIDIA A100-SXM4-80GB": "a100",
    "NVIDIA A100-SXM-80GB": "a100",
    "NVIDIA B200": "b200",
    "NVIDIA GeForce RTX 4090": "rtx4090",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
    "NVIDIA L4": "l4",
    "NVIDIA L40S": "l40s",
}

# FLOP/s of one device, by its name for `bench data --accelerator`.
PEAK_FLOPS = {name: gpu.peak for name, gpu in GPUS.items()} | {f"tpu_{name}": chip.peak for name, chip in CHIPS.items()}


def read_gpus(name: str) -> tuple[Chip, int]:
    """Parse a name such as `h200:8` into the GPU and its number.

    Raises:
      ConfigError: if the name is not of this form, or the GPU is unknown.
    """
    found = re.fullmatch(r"(\w+):([1-9]\d*)", name.lower())
    if not found or found[1] not in GPUS:
        raise ConfigError(f"--gpu={name}: give one of {', '.join(GPUS)} and their number, such as h200:8")
    return GPUS[found[1]], int(found[2])


def slices(name: str) -> list[str]:
    """Slices of 8, 16, … 512 chips of the same generation as the topology `name`, as close to a square or cube as
    possible.

    Slices of v5e and v6e larger than their pod of 256 can be planned, though nobody rents them as one slice.
    """
    chip, _ = read_topology(name)
    shapes = []
    for power in range(3, 10):
        sides = [1] * chip.dims
        for i in range(power):
            sides[chip.dims - 1 - i % chip.dims] *= 2
        shapes.append(f"{name.split(':')[0]}:{'x'.join(map(str, sorted(sides)))}")
    return shapes


def read_topology(name: str) -> tuple[Chip, int]:
    """Parse the name of a slice such as `v5e:16x16` into the chip and the number of chips.

    Raises:
      ConfigError: if the name is not of this form, or the chip is unknown.
    """
    found = re.fullmatch(r"(\w+):(\d+(?:x\d+){1,2})", name)
    if not found or found[1] not in CHIPS:
        raise ConfigError(
            f"--topology={name}: give one of {', '.join(CHIPS)} and the slice's shape, such as v5e:16x16 or v5p:8x8x8"
        )
    return CHIPS[found[1]], math.prod(map(int, found[2].split("x")))


def tpu_devices(name: str) -> list[Any]:
    """Devices of a slice to compile for, one per chip; the slice need not exist.

    Raises:
      ConfigError: if the TPU compiler is missing, or does not know the shape.
    """
    _, count = read_topology(name)
    from jax.experimental import topologies

    options: dict[str, Any] = {}
    if name.startswith("v4"):
        options["chip_config_name"] = "megacore"  # both cores of a chip as one device, as JAX has them
    if count == 1:
        options["chips_per_host_bounds"] = [1, 1, 1]
    try:
        with _quiet():
            return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices)
    except Exception as error:  # the compiler raises errors of several kinds
        import importlib.util

        if importlib.util.find_spec("libtpu") is None:
            raise ConfigError(
                f"compiling for TPUs needs their compiler (the package libtpu), but no TPU: {install('tpu')}"
            ) from None
        raise ConfigError(f"--topology={name}: {error}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Context without libtpu's messages about a missing TPU, which it writes directly to the file descriptor."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    # Only one process may use a TPU, but any number may compile.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
