"""Estimate of a training on GPUs that are not at hand, from counts and data sheets, without their compiler."""

import copy
import math
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh

from vidjax import config as cfg
from vidjax.models.state import frozen_paths
from vidjax.nn.target_backend import targeting
from vidjax.parallel import AXES, check_batch_size, mesh_sizes, state_sharding
from vidjax.plan.chips import PER_MACHINE, read_gpus
from vidjax.plan.estimates import DataFacts, DoesNotFitError, Work, figures_of, make_program, model_macs
from vidjax.plan.generation import cache_figures
from vidjax.plan.roofline import Roofline, roofline
from vidjax.training.compiled_step import Program

# cuDNN's fused attention is used from Hopper on, see `vidjax.nn.attention`.
_FUSED_ATTENTION = ("b200", "h100", "h200")
_BUCKET = 30 * 2**20  # bytes of gradients that XLA:GPU sums over the devices at once by default


class Gpus:
    """A `Target` of GPUs of one kind; more than `PER_MACHINE` of them are in several machines joined by a network.

    One device's share of the update is traced, and each kernel takes as long as its arithmetic or memory traffic at the
    data sheet's peak. Gradients are summed with rings, and with `fsdp` parameters are gathered before each of the two
    passes, without overlap; each device then keeps a part of the state, and gathered parameters use the memory of
    gradients already sent.

    Raises:
      ConfigError: if the name is not one of `chips.GPUS` with a number.
    """

    def __init__(self, name: str):
        self.name = name.lower()
        self.chip, self.count = read_gpus(name)

    def figures(self, config: cfg.Config, facts: DataFacts, clips_per_core: float) -> dict[str, Any]:
        sizes = mesh_sizes(self.count, config.mesh.data, config.mesh.fsdp, config.mesh.model)
        if sizes["model"] > 1:
            raise cfg.ConfigError(
                f"config.mesh.model = {sizes['model']}: the estimate for GPUs supports only data and fsdp; use 1"
            )
        if config.optimizer.offload:
            raise cfg.ConfigError("config.optimizer.offload: the estimate for GPUs does not support it; use False")
        mesh = AbstractMesh(tuple(sizes.values()), AXES)
        shards = sizes["data"] * sizes["fsdp"]
        check_batch_size(config.train.batch_size // config.train.accumulate, mesh, "train.batch_size")
        with targeting("gpu"):
            program = make_program(_share(config, shards), facts, jax.devices()[:1])
            held = _held(program, mesh)
            if held > self.chip.usable:
                there = self.chip.usable / 2**30
                message = f"state and batch alone take {held / 2**30:.1f} GiB per device, of {there:.2f} GiB available"
                raise DoesNotFitError(message, compiled=False)
            traced = program.step.trace(program.state, program.batch)
            lowered = traced.lower()
        kind = self.name.split(":")[0]
        cost = roofline(traced.jaxpr, self.chip, fused_attention=kind in _FUSED_ATTENTION)
        memory = {"arguments": held, "temporaries": int(cost.peak), "output": 0, "code": 0}
        work = self._work(program, sizes, cost, memory | {"total": sum(memory.values())}, lowered.cost_analysis() or {})
        with targeting("gpu"):
            answers = cache_figures(program.model, config, program.spec, sizes)
        figures = figures_of(config, program.state, sizes, self.chip, facts, clips_per_core, work)
        return {"target": self.name} | figures | answers

    def sizes(self) -> "list[Gpus]":
        return [Gpus(f"{self.name.split(':')[0]}:{2**power}") for power in range(3, 10)]

    def _work(
        self, program: Program, sizes: dict[str, int], cost: Roofline, memory: dict[str, int], xla: dict[str, float]
    ) -> Work:
        devices = sizes["data"] * sizes["fsdp"]
        frozen = frozen_paths(program.model)
        gradients = sum(4 * x.size for path, x in program.state.params.items() if path not in frozen)
        collectives = _collectives(program, sizes, gradients)
        # Each device of a ring sends nearly the whole array, and twice for a sum. Across machines there are as many
        # rings as a machine has adapters, each with its part of the array.
        rate = self.chip.links if devices <= PER_MACHINE else min(self.chip.links, PER_MACHINE * self.chip.network)
        around = (devices - 1) / devices
        sent = sum(c["bytes"] * around * (2 if kind == "all-reduce" else 1) for kind, c in collectives.items())
        return Work(
            model_flops=2.0 * model_macs(program) * program.clips,
            memory=memory,
            kernels=cost.kernels,
            roofline=cost.seconds,
            exchange=sent / rate,
            latency=sum(
                c["count"] * self.chip.latency(devices, both_ways=kind == "all-reduce")
                for kind, c in collectives.items()
            ),
            collectives=collectives,
            xla=xla,
            hosts=-(-devices // PER_MACHINE),
        )


def _share(config: cfg.Config, shards: int) -> cfg.Config:
    """`config` for one of the devices that share its batch."""
    config = copy.deepcopy(config)
    config.mesh = cfg.MeshConfig(data=1)
    # The learning rate, meant for another batch size, does not matter here.
    config.train = replace(config.train, batch_size=config.train.batch_size // shards)
    return config


def _held(program: Program, mesh: AbstractMesh) -> int:
    """Memory of a device's part of the state, and of the current and the next batch, bytes."""
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), program.state)
    parts = zip(jax.tree.leaves(state), jax.tree.leaves(state_sharding(state, mesh)), strict=True)
    own = sum(np.dtype(x.dtype).itemsize * math.prod(s.shard_shape(x.shape)) for x, s in parts)
    return own + sum(np.dtype(x.dtype).itemsize * math.prod(x.shape) for x in jax.tree.leaves(program.batch))


def _collectives(program: Program, sizes: dict[str, int], gradients: int) -> dict[str, dict[str, float]]:
    """Collectives of an update: gradients, split parameters, and batch statistics."""
    if sizes["data"] * sizes["fsdp"] == 1:
        return {}
    train, shared = program.config.train, jax.tree.leaves(program.state.stats)
    if train.batch_norm == "device":
        shared = []
    statistics = train.accumulate * len(shared)
    small = 2 * train.accumulate * sum(4 * x.size for x in shared)  # forward, and their gradients
    buckets = max(1, -(-gradients // _BUCKET))
    if sizes["fsdp"] == 1:
        return {"all-reduce": {"count": buckets + 2 * statistics, "bytes": gradients + small}}
    # Each device gets its part of the sum over fsdp, which is then summed over data.
    summed = gradients // sizes["fsdp"] if sizes["data"] > 1 else 0
    return {
        "all-gather": {"count": 2 * buckets, "bytes": 2 * gradients},
        "all-reduce": {"count": buckets * (sizes["data"] > 1) + 2 * statistics, "bytes": summed + small},
        "reduce-scatter": {"count": buckets, "bytes": gradients},
    }
