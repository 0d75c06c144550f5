"""The search: that it tries what can be better and nothing else, says why settings are out, and puts the best first."""

import dataclasses
import json

import pytest

from vidjax import config as cfg
from vidjax.__main__ import main
from vidjax.parallel import mesh_sizes
from vidjax.plan import forecast as planning
from vidjax.plan.chips import CHIPS
from vidjax.plan.estimates import DoesNotFitError, at_pace
from vidjax.plan.search import Candidate, meshes


class Pretended:
    """Eight devices on which a video takes 1 GiB, less with remat, which takes time; 4 GiB of state are split."""

    kept = {"": 1.0, "dots": 0.5, "attention": 0.4, "full": 0.25}  # noqa: RUF012

    name, chip, count = "v5e:2x4", CHIPS["v5e"], 8

    def __init__(self, state=4.0, video=1.0):
        self.state, self.video, self.tried = state, video, []

    def figures(self, config, facts, clips_per_core):
        mesh = mesh_sizes(self.count, config.mesh.data, config.mesh.fsdp, config.mesh.model)
        shards, batch = mesh["data"] * mesh["fsdp"], config.train.batch_size
        if batch % shards:
            raise cfg.ConfigError("cannot be split")
        state = self.state / mesh["fsdp"] / mesh["model"]
        if state > 16:
            raise DoesNotFitError("state and batch alone", compiled=False)
        self.tried.append((tuple(mesh.values()), config.model.remat, batch))
        total = state + batch / shards * self.video * self.kept[config.model.remat] / mesh["model"]
        if total > 32:
            raise DoesNotFitError("the compiler wants more")
        speed = (
            batch / (batch + 8) * (0.7 + 0.3 * self.kept[config.model.remat]) / (1 + 0.1 * mesh["fsdp"] * mesh["model"])
        )
        return {
            "target": self.name, "mesh": mesh, "model": "x", "remat": config.model.remat, "batch_size": batch,
            "memory": {"total": total * 2**30, "usable": 16 * 2**30}, "fits": total <= 16, "mfu": speed, "hours": 1.0,
            "seconds": {"step": 1.0}, "clips_per_s": speed, "resolved": True,
        }  # fmt: skip


class Tiny(Pretended):
    """A network so small that its steps get faster with more videos: the compiler makes fewer kernels."""

    steps = {8: 0.9, 16: 1.0, 32: 0.7, 64: 0.8, 128: 1.2, 256: 2.5}  # noqa: RUF012
    resolved = False

    def figures(self, config, facts, clips_per_core):
        figures = super().figures(config, facts, clips_per_core)
        batch = config.train.batch_size
        figures |= {
            "clips_per_update": batch,
            "steps": 1000,
            "clips_per_core": 25.0,
            "hosts": 1,
            "resolved": self.resolved,
        }
        return at_pace(figures | {"seconds": {"compute": 1e-6}}, 1e-3 * self.steps[batch])


def searched(monkeypatch, capsys, devices, *flags):
    monkeypatch.setattr(planning, "Slice", lambda name: devices)
    settings = ["--num-videos=100", "--config.train.batch_size=32"]
    status = main(["plan", "--topology=v5e:2x4", "--search", *settings, *flags])
    return status, capsys.readouterr().out


def test_best_first_and_larger_batches_on_the_best_mesh(monkeypatch, capsys):
    status, text = searched(monkeypatch, capsys, devices := Pretended(), "--json")
    result = json.loads(text)
    assert status == 0 and result["plans"][0]["flags"] == (
        "--config.mesh.data=8 --config.mesh.fsdp=1 --config.mesh.model=1 --config.train.batch_size=64"
    )
    speeds = [plan["clips_per_s"] for plan in result["plans"]]
    assert speeds == sorted(speeds, reverse=True)
    # What fits is not tried with remat; 128 and more do not fit without, and with it they do.
    assert devices.tried[0] == ((8, 1, 1), "", 32) and ((8, 1, 1), "dots", 32) not in devices.tried
    assert ((8, 1, 1), "dots", 128) in devices.tried and ((8, 1, 1), "", 16) in devices.tried
    assert ((8, 1, 1), "", 256) not in devices.tried  # 128 did not fit
    assert all(plan["same_batch"] == (plan["batch_size"] == 32) for plan in result["plans"])
    assert len(devices.tried) <= 12


def test_table_names_the_best_flags_and_what_was_left_out(monkeypatch, capsys):
    status, text = searched(monkeypatch, capsys, Pretended(state=30.0), "--most=4")
    assert status == 0
    assert "best with the config's batch: --config.mesh.data=" in text and "another recipe" in text
    assert "data 8 × fsdp 1 × model 1, remat no, batch 32: state and batch alone" in text
    assert "not tried: --most" in text


def test_smaller_batches_where_the_configs_does_not_fit(monkeypatch, capsys):
    status, text = searched(monkeypatch, capsys, devices := Pretended(state=0.5, video=64.0), "--json", "--most=60")
    result = json.loads(text)
    assert status == 1 and result["plans"] == []  # 16 GiB for a video, recomputed
    assert {batch for _, _, batch in devices.tried} == {32, 16, 8}
    assert {one["reason"].split()[0] for one in result["rejected"]} == {"the", "takes"}


def test_nothing_is_tried_beyond_the_limit(monkeypatch, capsys):
    searched(monkeypatch, capsys, devices := Pretended(), "--most=3")
    assert len(devices.tried) == 3


def test_a_probe_is_not_tried_with_remat(monkeypatch, capsys):
    searched(monkeypatch, capsys, devices := Pretended(), "--config.model.probe=linear")
    assert {remat for _, remat, _ in devices.tried} == {""}


def test_below_what_the_estimate_resolves_more_videos_take_no_less_time(monkeypatch, capsys):
    arguments = (monkeypatch, capsys, Tiny(state=0.1, video=0.01), "--config.train.batch_size=16", "--most=12")
    _, text = searched(*arguments, "--json")
    plans = [plan for plan in json.loads(text)["plans"] if plan["mesh"]["data"] == 8]
    steps = {plan["batch_size"]: round(1e3 * plan["seconds"]["step"], 6) for plan in plans}
    assert steps == {8: 0.9, 16: 1.0, 32: 1.0, 64: 1.0, 128: 1.2}
    assert all(plan["clips_per_s"] == pytest.approx(plan["batch_size"] / plan["seconds"]["step"]) for plan in plans)
    _, text = searched(*arguments)
    assert "~1.0" in text and "~ below what the estimate resolves" in text
    assert "best, as far as the estimate resolves: --config.mesh.data=8" in text


def test_what_the_estimate_resolves_is_left_as_it_is(monkeypatch, capsys):
    devices = Tiny(state=0.1, video=0.01)
    devices.resolved = True
    _, text = searched(monkeypatch, capsys, devices, "--config.train.batch_size=16", "--most=12", "--json")
    plans = [plan for plan in json.loads(text)["plans"] if plan["mesh"]["data"] == 8]
    assert {plan["batch_size"]: plan["seconds"]["step"] for plan in plans}[32] == pytest.approx(7e-4)


def test_meshes_are_of_all_devices_and_start_with_the_configs():
    for count in (1, 2, 4, 8, 256):
        found = meshes(cfg.MeshConfig(), count)
        assert found[0] == (count, 1, 1) and len(found) == len(set(found))
        assert all(a * b * c == count for a, b, c in found)
    assert meshes(cfg.MeshConfig(data=2, fsdp=-1), 8)[0] == (2, 4, 1)


@pytest.mark.parametrize("remat", ["", "dots"])
def test_flags_make_the_candidate(remat):
    config = cfg.Config(train=cfg.TrainConfig(batch_size=16))
    candidate = Candidate((2, 2, 2), remat, 32)
    applied = candidate.apply(config)
    assert (applied.mesh.data, applied.mesh.fsdp, applied.mesh.model) == (2, 2, 2)
    assert config == cfg.Config(train=cfg.TrainConfig(batch_size=16)), "the config is left as it was"
    from vidjax.config.files import read_config

    again = read_config(["--config.train.batch_size=16", *candidate.flags(config).split()])
    assert dataclasses.asdict(again) == dataclasses.asdict(applied)
