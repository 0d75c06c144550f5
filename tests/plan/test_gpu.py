"""Estimates for GPUs: fields of a TPU's plan, sums that fit together, and what they do not know refused."""

import dataclasses
import json

import jax
import pytest

from vidjax import config as cfg
from vidjax.__main__ import main
from vidjax.config.validate import validate
from vidjax.plan import estimates
from vidjax.plan.chips import CHIPS, GPUS
from vidjax.plan.gpu import Gpus

FACTS = estimates.DataFacts(5, 100, False)
SETTINGS = {
    "model.name": "frame_pool_tiny",
    "data.clip.num_frames": 2,
    "data.clip.size": 32,
    "data.clip.resize": "(32,)",
}


def config(**mesh):
    return validate(
        cfg.Config(
            model=cfg.ModelConfig(name="frame_pool_tiny"),
            data=cfg.DataConfig(
                clip=cfg.ClipConfig(num_frames=2, size=32, resize=(32,)), sampling=cfg.SamplingConfig(views=2)
            ),
            train=cfg.TrainConfig(batch_size=16, steps=100),
            mesh=cfg.MeshConfig(**mesh),
        )
    )


def flags(*further):
    settings = [f"--config.{name}={value}" for name, value in SETTINGS.items()]
    return ["plan", "--num-videos=100", *settings, *further]


def test_the_fields_are_those_of_a_plan_for_tpus():
    figures = Gpus("H200:8").figures(config(), FACTS, 25.0)
    program = estimates.make_program(config(), FACTS, jax.devices()[:8])
    work = estimates.Work(1.0, {"total": 1}, 0.0, 0.0, {}, {})
    same = estimates.figures_of(
        program.config, program.state, dict(program.mesh.shape), CHIPS["v5e"], FACTS, 25.0, work
    )
    assert set(figures) == {"target", *same} and set(figures["seconds"]) == set(same["seconds"])
    assert figures["target"] == "h200:8" and figures["chips"] == 8 and figures["clips_per_update"] == 32
    assert figures["checkpoint_bytes"] == same["checkpoint_bytes"] and figures["steps"] == 100
    seconds = figures["seconds"]
    parts = max(seconds["roofline"], seconds["compute"]) + seconds["collectives"] + seconds["latency"]
    assert seconds["compiler"] is None and seconds["step"] == pytest.approx(parts)
    assert figures["model_flops"] == 2 * estimates.model_macs(program) * 32 / 8
    parameters = sum(4 * x.size for x in jax.tree.leaves(program.state.params))
    assert figures["collectives"]["all-reduce"]["bytes"] > parameters  # and statistics
    assert figures["memory"]["usable"] == 0.75 * GPUS["h200"].memory and figures["fits"]


@pytest.mark.slow
def test_parts_of_the_state_and_the_network_between_machines(monkeypatch):
    monkeypatch.setattr("vidjax.parallel.LARGE", 256)
    whole, split, far = (Gpus(name).figures(config(**mesh), FACTS, 25.0) for name, mesh in (
        ("h100:8", {}), ("h100:8", {"data": 1, "fsdp": -1}), ("h100:16", {"data": 2, "fsdp": -1}),
    ))  # fmt: skip
    assert split["memory"]["arguments"] < whole["memory"]["arguments"]
    assert set(split["collectives"]) == {"all-gather", "all-reduce", "reduce-scatter"}
    assert (split["hosts"], far["hosts"]) == (1, 2)
    assert far["seconds"]["collectives"] > split["seconds"]["collectives"] * 450 / 400


def test_what_it_does_not_know_is_refused():
    with pytest.raises(cfg.ConfigError, match=r"config.mesh.model = 2: the estimate for GPUs"):
        Gpus("h100:8").figures(config(data=-1, model=2), FACTS, 25.0)
    away = config()
    away.optimizer.offload = True
    with pytest.raises(cfg.ConfigError, match=r"config.optimizer.offload: the estimate for GPUs"):
        Gpus("h100:8").figures(away, FACTS, 25.0)


def test_state_that_does_not_fit(monkeypatch):
    monkeypatch.setitem(GPUS, "l4", dataclasses.replace(GPUS["l4"], memory=1e5))
    with pytest.raises(estimates.DoesNotFitError, match=r"state and batch alone take 0.0 GiB") as error:
        Gpus("l4:8").figures(config(), FACTS, 25.0)
    assert not error.value.compiled


def test_commands_for_gpus_without_their_compiler(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("vidjax.plan.gpu_targets._PACKAGES", ("a_package_that_is_missing",))
    assert main(flags("--gpu=a100:4", "--config.train.batch_size=8")) == 0
    text = capsys.readouterr().out
    assert "frame_pool_tiny on a100:4: an estimate" in text and "without a GPU's compiler" in text
    assert main(flags("--gpu=a100:8", "--scaling", "--most=1", f"--out={tmp_path}/x.png", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert [one["target"] for one in result["sizes"]] == ["a100:8"] and (tmp_path / "x.png").exists()
    assert [one.name for one in Gpus("a100:2").sizes()] == [f"a100:{2**n}" for n in range(3, 10)]
    assert main(flags("--gpu=a1000:2")) == 1
    assert "such as h200:8" in capsys.readouterr().err
