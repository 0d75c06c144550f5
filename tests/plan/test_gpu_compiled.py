"""Plans for GPUs with their compiler: its memory and collectives, the times of the bound."""

import contextlib

import jax
import pytest

from tests.plan.test_gpu import FACTS, config, flags
from vidjax import config as cfg
from vidjax.__main__ import main
from vidjax.plan import gpu_compiled
from vidjax.plan.gpu import Gpus
from vidjax.plan.gpu_compiled import CompiledGpus
from vidjax.plan.gpu_targets import can_compile


@pytest.fixture
def compiler():
    if not can_compile("h100"):
        pytest.skip("needs the compiler for GPUs: the extra gpu-plan")


def test_memory_and_collectives_are_the_compilers_and_times_the_bounds(compiler):
    bound, compiled = (kind("h100:8").figures(config(), FACTS, 25.0) for kind in (Gpus, CompiledGpus))
    assert set(compiled) == {*bound, "compiled"} and compiled["seconds"] == bound["seconds"]
    assert set(compiled["memory"]) == set(bound["memory"]) and compiled["memory"] != bound["memory"]
    assert compiled["memory"]["usable"] == bound["memory"]["usable"] and compiled["fits"]
    # The gradients are summed, whatever the compiler puts together.
    summed = compiled["collectives"]["all-reduce"]["bytes"]
    assert summed > 0.5 * bound["collectives"]["all-reduce"]["bytes"]
    assert compiled["compiled"]["channels_first"] == 0


def test_a_plan_says_that_it_is_compiled(compiler, capsys):
    assert main(flags("--gpu=h100:8")) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "compiled: memory and collectives are those of XLA's program for h100:8" in text
    assert "without a GPU's compiler" not in text


def test_what_the_compiler_cannot_do_is_said(monkeypatch):
    def fail(program):
        raise jax.errors.JaxRuntimeError("INTERNAL: Couldn't find output tile sizes")

    monkeypatch.setattr(gpu_compiled, "gpu_devices", lambda name: jax.devices()[:8])
    monkeypatch.setattr(gpu_compiled, "compiling_for", contextlib.nullcontext)
    monkeypatch.setattr(gpu_compiled, "compile_program", fail)
    with pytest.raises(cfg.ConfigError, match="XLA does not compile the update for h100:8: Couldn't find output tile"):
        CompiledGpus("h100:8").figures(config(), FACTS, 25.0)
