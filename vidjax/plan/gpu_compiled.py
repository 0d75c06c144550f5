"""Estimate of a training on GPUs that are not at hand, with their compiler."""

import re
from typing import Any

import jax

from vidjax import config as cfg
from vidjax.plan.estimates import DataFacts, compile_program, make_program, memory_of
from vidjax.plan.gpu import Gpus
from vidjax.plan.gpu_targets import compiling_for, gpu_devices
from vidjax.plan.hlo import read_hlo

_TRANSPOSE = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = .*? transpose\(", re.MULTILINE)


class CompiledGpus(Gpus):
    """`Gpus` with the memory and collectives of the compiled update; the times remain a bound.

    cuDNN's algorithms are chosen on a device, so their workspaces are not included.

    Raises:
      ConfigError: if the name is not one of `chips.GPUS` with a number.
    """

    def figures(self, config: cfg.Config, facts: DataFacts, clips_per_core: float) -> dict[str, Any]:
        bound = super().figures(config, facts, clips_per_core)
        devices = gpu_devices(self.name)
        with compiling_for(devices[0]):
            program = make_program(config, facts, devices)
            try:
                compiled = compile_program(program)
            except jax.errors.JaxRuntimeError as error:
                reason = str(error).split(":", 1)[-1].strip()[:100]
                raise cfg.ConfigError(f"XLA does not compile the update for {self.name}: {reason}") from error
        text, memory = compiled.as_text(), memory_of(compiled)
        reading = read_hlo(text)
        counts, sizes = reading.counts, reading.bytes
        memory |= {name: bound["memory"][name] for name in ("hbm", "usable")}
        return bound | {
            "memory": memory,
            "fits": memory["total"] <= self.chip.usable,
            "collectives": {kind: {"count": counts[kind], "bytes": sizes[kind]} for kind in sorted(counts)},
            "compiled": {"transposes": len(_TRANSPOSE.findall(text)), "channels_first": text.count("dim_labels=bf012")},
        }


def compiled_words(figures: dict[str, Any]) -> str:
    """Text that tells compiled figures of a plan from bounds."""
    seen = figures["compiled"]
    return (
        f"compiled: memory and collectives are those of XLA's program for {figures['target']}, with "
        f"{seen['transposes']} transposes and {seen['channels_first']} convolutions laid out channels-first; what "
        "cuDNN needs to work in is left out. Times are a bound, not compiled: every kernel at the peak or the "
        "bandwidth of the data sheet. Not included: waiting for data, evaluation, checkpoints"
    )
