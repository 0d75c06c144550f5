"""`bench step`: that its figures are those of the update, fit together, and need no video library."""

import json
import subprocess
import sys

import jax
import pytest

from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.apps import bench_step
from vidjax.apps.bench_step import _facts, _open, _timed, matmul_peak
from vidjax.config import Config, ConfigError, DataConfig
from vidjax.models.cost import model_cost
from vidjax.parallel import make_mesh
from vidjax.plan.estimates import DataFacts

SETTINGS = {"model.name": "frame_pool_tiny", "data.clip.num_frames": 2, "data.clip.size": 32,
            "data.clip.resize": "(32,)", "train.batch_size": 8, "data.sampling.views": 2}  # fmt: skip


def flags(*further, **settings):
    settings = SETTINGS | settings
    return ["bench", "step", "--updates=3", *further, *(f"--config.{name}={value}" for name, value in settings.items())]


@pytest.mark.slow
def test_figures_are_those_of_the_update(capsys):
    assert main(flags("--json", "--num-classes=7", **{"mesh.data": 2})) == 0
    figures = json.loads(capsys.readouterr().out)
    macs = model_cost("frame_pool_tiny", num_classes=7, num_frames=2, size=32).macs
    assert figures["model_flops"] == 6 * macs * 16 / 2 and figures["chips"] == 2 and figures["updates"] == 3
    seconds = figures["seconds"]
    assert 0 < seconds["fastest"] <= seconds["step"] <= seconds["slowest"] and seconds["compile"] > 0
    assert figures["clips_per_s"] == pytest.approx(16 / seconds["step"])
    assert figures["mfu"] == pytest.approx(2 * figures["model_flops"] / seconds["step"] / figures["matmul_flops"])
    assert 0 < figures["mfu"] < 1 and figures["target"] == f"{jax.devices()[0].device_kind}:2"
    memory = figures["memory"]  # the CPU has no allocator that tells
    assert memory["source"] == "compiler" and memory["total"] >= memory["arguments"] > 0
    assert figures["data"] == {"reason": "--data was not given"}
    assert {"source": "compiler"} | figures["compiled_memory"] == memory and "temporaries" in memory
    assert 0 < seconds["host"] <= seconds["slowest"]
    assert list(figures["plan"]) == ["reason"] and figures["plan"]["reason"].startswith("plan does not know cpu, ")


@pytest.mark.slow
def test_table_and_wait_for_data(tmp_path, capsys):
    for i in range(8):
        write_video(tmp_path / "ab"[i % 2] / f"{i}.mp4", numbered_frames(12, offset=i))
    mesh = {"mesh.data": 2, "data.train": tmp_path, "data.reading.isolate": False, "data.eval_share": 0.25}
    assert main(flags("--data", **mesh)) == 0
    text = capsys.readouterr().out
    for words in ("frame_pool_tiny on", "measured", "clips/s", "median of 3", "GiB at most, by the compiler"):
        assert words in text
    assert "ms per update, " in text and "clips/s with the input" in text
    for words in ("of the program: temporaries", "of the program: code", "Python, to start a step"):
        assert words in text
    assert "no prediction to compare with: plan does not know" in text


@pytest.mark.slow
def test_a_known_device_has_plans_figures_beside_it(capsys, monkeypatch):
    monkeypatch.setattr(bench_step, "_kind", lambda program: "NVIDIA A100-SXM4-80GB")
    assert main(flags("--json", "--num-classes=7", **{"mesh.data": 2})) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["plan"]["target"] == "a100:2" and figures["target"] == "NVIDIA A100-SXM4-80GB:2"
    row = figures["plan"]["compared"]["clips_per_s"]
    assert row["measured"] == figures["clips_per_s"] and row["ratio"] == row["measured"] / row["predicted"]
    assert figures["plan"]["figures"]["clips_per_update"] == figures["clips_per_update"]


def test_time_of_python_is_that_of_the_call_alone(monkeypatch):
    """A step that takes 2 s to start and 3 more to end, on a clock of its own."""
    clock = [0.0]

    def step(state, batch):
        clock[0] += 2.0
        return state + 1, "running"

    def wait(x):
        clock[0] += 3.0

    monkeypatch.setattr(bench_step.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(bench_step.jax, "block_until_ready", wait)
    found = list(_timed(step, 0, {}, 3))
    assert [host for _, host, _ in found] == [2.0, 2.0, 2.0] and [state for *_, state in found] == [2, 3, 3]
    assert [seconds for seconds, _, _ in found] == [7.0, 5.0, 3.0]


def test_data_that_is_not_there_is_said():
    assert "nowhere: no such file or folder" in _open(Config(data=DataConfig(train="nowhere")))


def test_classes_are_the_datas_where_there_is_some(tmp_path):
    for i in range(4):
        write_video(tmp_path / "ab"[i % 2] / f"{i}.mp4", numbered_frames(4, offset=i))
    config = Config(data=DataConfig(train=str(tmp_path), eval_share=0.5))
    videos = _open(config)
    assert _facts(config, 0, videos) == DataFacts(2, 2, False)
    with pytest.raises(ConfigError, match="--num-classes=7: with --data it is that of the data, 2"):
        _facts(config, 7, videos)


def test_batch_that_does_not_fit_the_devices(capsys):
    assert main(flags(**{"train.batch_size": 12})) == 1
    assert "config.train.batch_size = 12 cannot be split evenly over 8 devices" in capsys.readouterr().err


def test_peak_is_of_all_devices_together():
    one = matmul_peak(make_mesh(1), Config())
    assert 1e9 < one < 1e14
    assert 0.3 < matmul_peak(make_mesh(2), Config()) / one < 3  # these share the cores


@pytest.mark.slow
def test_needs_no_video_library():
    """Machines with accelerators need not decode."""
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("av", "cv2", "grain"):
            raise ModuleNotFoundError(f"no {name}", name=name)
sys.meta_path.insert(0, Missing())
from vidjax.apps import bench_step as bench
from vidjax.config import Config, DataConfig, ModelConfig
config = Config(model=ModelConfig(name="frame_pool_tiny"), data=DataConfig(dataset="kinetics400"))
facts = bench._facts(config, 0, source := bench._open(config))
bench.make_program(config, facts, None)
print(source, facts.num_classes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "av is not installed 6\n"
