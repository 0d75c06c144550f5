"""Plans: that their figures are those of the program, fit together, and say what is missing."""

import importlib.util
import json
from pathlib import Path

import jax
import pytest

from vidjax import config as cfg
from vidjax.__main__ import main
from vidjax.apps import plan as planning
from vidjax.apps.chips import CHIPS, read_topology
from vidjax.apps.settings import read_config
from vidjax.checks import validate
from vidjax.data.clips import resolve_spec
from vidjax.data.datasets import DATASETS
from vidjax.models.cost import model_cost
from vidjax.models.registry import get_spec
from vidjax.training.program import Program

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = ["--config.data.num_frames=2", "--config.data.size=32", "--config.data.resize=(32,)"]
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra tpu")


def program(batch_size, devices):
    config = cfg.Config(
        model=cfg.ModelConfig(name="frame_pool_tiny"),
        data=cfg.DataConfig(num_frames=2, size=32, resize=(32,), train_views=2),
        train=cfg.TrainConfig(batch_size=batch_size, steps=7200),
    )
    config = validate(config)
    spec = resolve_spec(get_spec("frame_pool_tiny"), config.data, "rgb")
    return Program.of(config, spec, num_classes=5, num_videos=100, devices=jax.devices()[:devices])


@pytest.mark.slow
def test_figures_are_those_of_the_program_and_fit_together():
    facts = planning.DataFacts(5, 100, False)
    compiled = (whole := program(8, 4)).lower().compile()
    figures = planning.estimate(whole, compiled, CHIPS["v5e"], facts, 50.0)
    macs = model_cost("frame_pool_tiny", num_classes=5, num_frames=2, size=32).macs
    assert figures["model_flops"] == 6 * macs * 16 / 4
    # XLA:CPU's own figures for the very program.
    stats = compiled.memory_analysis()
    assert figures["memory"]["arguments"] == stats.argument_size_in_bytes
    assert figures["memory"]["temporaries"] == stats.temp_size_in_bytes
    assert figures["xla_flops"] == compiled.cost_analysis()["flops"] > 0.5 * figures["model_flops"]
    state = sum(
        x.nbytes for x in jax.tree.leaves(jax.tree.map(lambda s: jax.numpy.zeros(s.shape, s.dtype), whole.state))
    )
    assert figures["checkpoint_bytes"] == state
    seconds = figures["seconds"]
    assert seconds["step"] == max(seconds["compute"], seconds["compiler"]) + seconds["collectives"]
    assert figures["clips_per_s"] == pytest.approx(16 / seconds["step"])
    assert figures["hours"] == pytest.approx(7200 * seconds["step"] / 3600) and figures["steps"] == 7200
    assert figures["host_cores"] == pytest.approx(figures["clips_per_s"] / 50)
    # Gradients of all parameters are summed over the devices, and of one device over none.
    parameters = sum(4 * x.size for x in jax.tree.leaves(whole.state.params))
    assert figures["collectives"]["all-reduce"]["bytes"] >= parameters
    alone = planning.estimate(one := program(8, 1), one.lower().compile(), CHIPS["v5e"], facts)
    assert not alone["collectives"] and alone["model_flops"] == 4 * figures["model_flops"]


def test_what_does_not_fit():
    whole = program(8, 1)
    small = CHIPS["v5e"].__class__(1e12, 1000.0, 1e9, 1e9, 1000)
    figures = planning.estimate(whole, whole.lower().compile(), small, planning.DataFacts(5, 100, False))
    assert not figures["fits"]


def test_sizes_of_data_sets():
    assert all(d.train_videos > 1000 for d in DATASETS.values())
    config = cfg.Config(data=cfg.DataConfig(dataset="charades"))
    assert planning.data_facts(config, 0, 0) == planning.DataFacts(157, 7985, True)
    assert planning.data_facts(config, 3, 4) == planning.DataFacts(3, 4, True)
    with pytest.raises(cfg.ConfigError, match="--num-videos"):
        planning.data_facts(cfg.Config(), 0, 0)


@pytest.mark.parametrize("name", ["v5e", "v7:2x2", "v5e:2by2", "v5e:4"])
def test_wrong_topology(name, capsys):
    assert main(["plan", f"--topology={name}"]) == 1
    assert "v5e:16x16" in capsys.readouterr().err


def test_chips_of_a_topology():
    assert read_topology("v5p:8x8x8") == (CHIPS["v5p"], 512)


def test_without_the_compiler(monkeypatch, capsys):
    def none(**_):
        raise RuntimeError("no")

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", none)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["plan", "--topology=v5e:2x2", "--num-videos=9"]) == 1
    assert "vidjax[tpu]" in capsys.readouterr().err


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("name", ["folder", "k400_i3d_r50", "motion", "motion_frame_pool"])
def test_configs_plan(name, capsys):
    """Short and small clips, so that it compiles in seconds."""
    path = CONFIGS / f"{name}.py"
    settings = [*TINY, "--config.data.num_frames=8", "--config.train.batch_size=8", "--config.train.accumulate=1"]
    arguments = [f"--config={path}", "--topology=v5e:2x2", "--num-videos=1000", "--json", *settings]
    assert main(["plan", *arguments]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["chips"] == 4 and figures["model"] == read_config([f"--config={path}"]).model.name
    assert figures["seconds"]["compiler"] > 0 and 0 < figures["mfu"] < 1 and figures["steps"] > 0
    assert figures["collectives"]["all-reduce"]["bytes"] > 0
