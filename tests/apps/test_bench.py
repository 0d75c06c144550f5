"""`bench data`: that its figures add up, and say what they say."""

import json
import subprocess
import sys
import time

import pytest

from tests.videos import numbered_frames, write_video
from vidjax.__main__ import main
from vidjax.apps.bench import _demand, _processor_seconds, _target, _train_flops
from vidjax.config import Config, ModelConfig
from vidjax.models.cost import model_cost
from vidjax.models.registry import get_spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    for i in range(6):
        write_video(folder / "videos" / "ab"[i % 2] / f"{i}.mp4", numbered_frames(12, offset=i))
    (folder / "videos" / "a" / "bad.mp4").write_bytes(b"no video")
    return folder


def flags(folder, *further):
    settings = {
        "model.name": "frame_pool_tiny", "data.train": folder / "videos", "data.clip.num_frames": 4,
        "data.clip.size": 32, "data.eval_share": 0.3, "train.batch_size": 8, "data.sampling.views": 2,
        "data.reading.isolate": False,
    }  # fmt: skip
    return ["bench", "data", "--seconds", "0.5", *further, *(f"--config.{k}={v}" for k, v in settings.items())]


@pytest.mark.slow
def test_figures_fit_together(folder, capsys):
    assert main(flags(folder, "--json", "--accelerator", "H200", "--mfu", "0.25")) == 0
    figures = json.loads(capsys.readouterr().out)
    parts = figures["ms_per_clip"]
    assert set(parts) == {"decode", "transform", "collate", "transfer", "pipeline"}
    assert all(value >= 0 for value in parts.values()) and parts["decode"] > 0 and parts["transform"] > 0
    assert sum(figures["shares"].values()) == pytest.approx(1)
    per_core = figures["clips_per_s_per_core"]
    assert per_core == pytest.approx(1e3 / (sum(parts.values()) - parts["transfer"]))
    target = figures["accelerator"]  # of a network that is too small for an estimate
    assert target["estimated"] and target["clips_per_s"] is None and figures["cores_per_accelerator"] is None
    assert 0 < target["flops_per_clip"] < 1e9
    memory = figures["memory"]
    assert memory["batches"] == 5 and memory["batch_bytes"] == 8 * 2 * 4 * 32 * 32 * 3 and memory["device_batches"] == 2
    assert figures["clips_per_batch"] == 16 and figures["measured"]["pipeline_clips"] % 16 == 0
    assert figures["clips_per_s"] * figures["measured"]["pipeline_seconds"] == pytest.approx(
        figures["measured"]["pipeline_clips"]
    )


def test_table_and_given_accelerator(folder, capsys):
    assert main(flags(folder, "--accelerator_clips_per_s", "500")) == 0
    text = capsys.readouterr().out
    for words in ("decoding", "transforms", "transfer", "clips/s per core", "500 clips/s (as given)"):
        assert words in text
    assert "memory: at most 5 batches" in text and "cores like these" in text


def test_a_given_speed_decides_the_cores(folder, capsys):
    assert main(flags(folder, "--json", "--accelerator-clips-per-s", "500")) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["accelerator"]["clips_per_s"] == 500 and not figures["accelerator"]["estimated"]
    assert figures["cores_per_accelerator"] == pytest.approx(500 / figures["clips_per_s_per_core"])


def test_large_networks_are_estimated_by_a_share_of_the_peak_and_small_ones_not():
    large, small = (_target("h200", None, 0.25, flops) for flops in (240e9, 0.4e9))
    assert large["estimated"] and large["clips_per_s"] == pytest.approx(0.25 * 989e12 / 240e9)
    takes, needs = _demand(large, 41.0)
    assert takes.startswith("one accelerator takes 1030 clips/s (an estimate for h200: 25 % of its peak, 240 GFLOP per")
    assert needs == "it needs 41.0 cores like these"
    (line,) = _demand(small, None)
    assert "too small, 0.4 GFLOP per clip" in line and "--accelerator-clips-per-s" in line


def test_flops_are_three_passes_of_the_models_multiply_adds():
    config = Config(model=ModelConfig(name="frame_pool_tiny", input="rgb+diff"))
    spec = get_spec("frame_pool_tiny").with_video(num_frames=4, size=32, enters="both")
    plain = spec.with_video(enters="frames")
    macs = model_cost("frame_pool_tiny", num_classes=7, num_frames=4, size=32).macs
    assert _train_flops(Config(model=ModelConfig(name="frame_pool_tiny")), plain, 7) == 2 * 3 * macs
    assert _train_flops(config, spec, 7) > 2 * 3 * macs  # its first layer has twice the channels
    config = Config(model=ModelConfig(name="frame_pool_tiny", remat="full"))
    assert _train_flops(config, plain, 7) == 2 * 4 * macs


def test_processor_time_of_other_processes_counts():
    code = "import time\nwhile time.process_time() < 0.4: pass\nprint('done', flush=True)\ninput()"
    before = _processor_seconds()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        alive = _processor_seconds() - before
        child.communicate(b"\n")
    ended = _processor_seconds() - before
    assert 0.35 < alive <= ended + 0.05 < alive + 1.0
    assert time.process_time() > 0


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--accelerator=h1000"], "--accelerator=h1000: give one of a10, a100, b200"),
        (["--config.data.train=nowhere"], "nowhere: no such file or folder"),
        (["--config.data.trian=x"], "Did you mean config.data.train"),
    ],
)
def test_errors_name_what_is_wrong(folder, capsys, further, message):
    assert main([*flags(folder), *further]) == 1
    assert message in capsys.readouterr().err


def test_wrong_share_of_the_peak(folder, capsys):
    with pytest.raises(SystemExit):
        main(flags(folder, "--mfu", "2"))
    assert "0-1" in capsys.readouterr().err


def test_no_readable_video_is_an_error(folder, tmp_path, capsys):
    for i in range(4):
        path = tmp_path / "videos" / "ab"[i % 2] / f"{i}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no video")
    assert main(flags(tmp_path)) == 1
    assert "training videos can be read" in capsys.readouterr().err
