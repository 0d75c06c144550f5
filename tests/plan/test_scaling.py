"""Scaling: that each device keeps its part of the batch, and efficiency is what it says."""

import json

import pytest

from vidjax.__main__ import main
from vidjax.plan import forecast as planning
from vidjax.plan.chips import CHIPS, read_topology, slices
from vidjax.plan.estimates import DoesNotFitError
from vidjax.plan.scaling import picture


class Pretended:
    """A video takes a device a second, and the exchange as many milliseconds as there are devices."""

    chip, batches = CHIPS["v5e"], {}

    def __init__(self, name):
        self.name, self.count = name, read_topology(name)[1]

    def figures(self, config, facts, clips_per_core):
        self.batches[self.count] = config.train.batch_size
        if self.count == 64:
            raise DoesNotFitError("the compiler wants more")
        step = config.train.batch_size / self.count + self.count / 1000
        return {
            "target": self.name, "chips": self.count, "model": "x", "batch_size": config.train.batch_size, "mfu": 0.1,
            "memory": {"total": 1.0}, "clips_per_s": config.train.batch_size / step, "hours": 0.5,
            "resolved": self.count < 500,
            "seconds": {"step": step, "collectives": self.count / 1000, "latency": 0.0},
        }  # fmt: skip

    def sizes(self):
        return [Pretended(name) for name in slices(self.name)]


@pytest.fixture
def scaled(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(planning, "Slice", Pretended)
    monkeypatch.setattr(Pretended, "batches", {})

    def run(*flags):
        status = main(
            ["plan", "--topology=v5e:4x4", "--scaling", "--num-videos=100", f"--out={tmp_path}/a/b.png", *flags]
        )
        return status, capsys.readouterr(), tmp_path / "a" / "b.png"

    return run


def test_each_device_keeps_its_share(scaled):
    status, text, plot = scaled("--json", "--config.train.batch_size=32")
    result = json.loads(text.out)
    assert status == 0 and result["plot"] == str(plot) and plot.stat().st_size > 5000
    assert Pretended.batches == {n: 2 * n for n in (8, 16, 32, 64, 128, 256, 512)}
    assert [one["chips"] for one in result["sizes"]] == [8, 16, 32, 128, 256, 512]
    for one in result["sizes"]:
        assert one["efficiency"] == pytest.approx(2.008 / (2 + one["chips"] / 1000))
        assert one["larger_than_a_pod"] == (one["chips"] == 512)
    assert result["rejected"] == [{"target": "v5e:8x8", "reason": "the compiler wants more"}]


def test_table_says_where_the_plot_is(scaled, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    status, text, plot = scaled("--most=3", "--config.train.batch_size=16")
    assert status == 0 and sorted(Pretended.batches) == [8, 64, 512]
    assert f"plot: {plot}" in text.out and "larger than a pod" in text.out and "v5e:8x8 left out" in text.out
    assert "30 min" in text.out and "~1512.0" in text.out and "~1008.0" not in text.out and "~ below" in text.out


def test_fixed_axes_keep_their_size(scaled):
    scaled("--most=2", "--config.train.batch_size=8", "--config.mesh.data=4", "--config.mesh.model=2")
    assert Pretended.batches == {8: 4, 512: 256}
    scaled("--most=1", "--config.train.batch_size=8", "--config.mesh.data=2", "--config.mesh.fsdp=-1")
    assert Pretended.batches[8] == 4


def test_batch_that_cannot_be_shared(scaled):
    status, text, _ = scaled("--config.train.batch_size=24")
    assert status == 1 and "16 would do" in text.err
    assert "cannot be split evenly over the 16 devices of v5e:4x4" in text.err


def test_the_picture_tells_speed_and_time_in_one_line_each():
    sizes = [
        {"target": f"v5e:{n}", "chips": n, "model": "x", "batch_size": 2 * n, "clips_per_s": 30.0 * n,
         "hours": 20 / n, "efficiency": 1.0} for n in (8, 16, 64)
    ]  # fmt: skip
    figure = picture(sizes)
    figure.draw_without_rendering()
    left, right = figure.axes
    assert [text.get_text() for text in left.texts] == ["2.5 h", "1.2 h", "19 min"]
    numbers = [tick.label1.get_text() for tick in left.yaxis.get_major_ticks() if tick.label1.get_text()]
    assert {"200", "500", "1,000", "2,000"} <= set(numbers) and "x on v5e" in figure.get_suptitle()
    assert len(left.lines) == len(right.lines) == 1 and right.get_ylim()[1] > 100
