"""Accelerators that a run can be planned for, by their makers' published figures, and the TPU slices they come in."""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vidjax.config import ConfigError


@dataclass(frozen=True)
class Chip:
    """One TPU chip.

    Attributes:
      peak: dense bfloat16 products with float32 sums, FLOP/s.
      memory: HBM, bytes.
      bandwidth: of HBM, bytes/s.
      links: to other chips, all of them together, bytes/s.
      flops_per_cycle: of all matrix units, that `peak` is the product of with the clock.
    """

    peak: float
    memory: float
    bandwidth: float
    links: float
    flops_per_cycle: int

    @property
    def clock(self) -> float:
        """Cycles/s at which the matrix units reach the peak."""
        return self.peak / self.flops_per_cycle


# Google's pages on system architecture (cloud.google.com/tpu/docs/v4, v5e, v5p, v6e): peak, HBM and its bandwidth, and
# interchip interconnect in Gbit/s per chip: v4 2400, v5e 1600, v5p 4800, v6e 3200 (earlier editions: 3584). A chip of
# v4 and v5p has eight matrix units of 128 × 128, one of v5e four. The pages do not agree on those of v6e (two or four
# of 256 × 256): with two, the compiler's cycles for a product of 8192² matrices would be fewer than the units need.
CHIPS = {
    "v4": Chip(275e12, 32 * 2**30, 1228e9, 300e9, 8 * 2 * 128**2),
    "v5e": Chip(197e12, 16 * 2**30, 819e9, 200e9, 4 * 2 * 128**2),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 600e9, 8 * 2 * 128**2),
    "v6e": Chip(918e12, 32 * 2**30, 1640e9, 400e9, 4 * 2 * 256**2),
}


def read_topology(name: str) -> tuple[Chip, int]:
    """The chip of a slice such as `v5e:16x16`, and how many there are.

    Raises:
      ConfigError: if it is none.
    """
    found = re.fullmatch(r"(\w+):(\d+(?:x\d+){1,2})", name)
    if not found or found[1] not in CHIPS:
        raise ConfigError(
            f"--topology={name}: give one of {', '.join(CHIPS)} and the slice's shape, such as v5e:16x16 or v5p:8x8x8"
        )
    return CHIPS[found[1]], math.prod(map(int, found[2].split("x")))


def tpu_devices(name: str) -> list[Any]:
    """The devices of a slice that need not exist, to compile for; one per chip.

    Raises:
      ConfigError: without the TPU compiler, or for a shape that it does not know.
    """
    _, count = read_topology(name)
    from jax.experimental import topologies

    options: dict[str, Any] = {}
    if name.startswith("v4"):
        options["chip_config_name"] = "megachip"  # both cores of a chip as one device, as JAX has them
    if count == 1:
        options["chips_per_host_bounds"] = [1, 1, 1]
    try:
        with _quiet():
            return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices)
    except Exception as error:  # what the compiler raises is not of one kind
        import importlib.util

        if importlib.util.find_spec("libtpu") is None:
            raise ConfigError(
                "compiling for TPUs needs their compiler, no TPU: pip install 'vidjax[tpu]' (the package libtpu)"
            ) from None
        raise ConfigError(f"--topology={name}: {error}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what libtpu says of the TPU that it does not find; it writes past Python."""
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
