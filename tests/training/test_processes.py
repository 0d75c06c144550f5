"""`train.py` as a user runs it: killed at any moment and started again, stopped by SIGTERM, on a full disk, wrong
flags, odd videos."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from vidjax.models.state import split
from vidjax.training.checkpoints import load_model
from vidjax.training.damaged_checkpoints import visible_damage
from vidjax.training.logs import read_metrics

ROOT = Path(__file__).parents[2]
TIMINGS = ("clips_per_second", "data_wait")
pytestmark = pytest.mark.slow


def command(data, workdir, *flags):
    settings = {
        "model.name": "frame_pool_tiny",
        "model.init_from": "",
        "model.dropout": 0.2,
        "data.train": data,
        "data.clip.num_frames": 2,
        "data.clip.size": 16,
        "data.clip.resize": "(20,)",
        "train.batch_size": 8,
        "train.epochs": 30,
        "train.ema_decay": 0.9,
        "train.log_every": 1,
        "train.eval_epochs": 8,
        "train.checkpoint_epochs": 3,
    }
    overrides = [f"--config.{name}={value}" for name, value in settings.items()]
    return [sys.executable, "train.py", "--config=configs/folder.py", f"--workdir={workdir}", *overrides, *flags]


def environment():
    return os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}


def run_to_the_end(data, workdir, *flags):
    return subprocess.run(
        command(data, workdir, *flags), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300
    )


def signal_after(data, workdir, update, number, *flags, also=lambda: True, send=os.kill):
    """Start the command, `send` a signal once `metrics.jsonl` shows that update and `also` holds; status and output."""
    process = subprocess.Popen(
        command(data, workdir, *flags), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if also() and any(line["step"] >= update for line in read_metrics(Path(workdir) / "metrics.jsonl")):
            send(process.pid, number)
            break
        time.sleep(0.001)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def steps(workdir):
    return [int(p.name) for p in (Path(workdir) / "checkpoints").glob("*") if p.name.isdigit()]


def arrays(workdir):
    model, _, _ = load_model(workdir, step=max(steps(workdir)))
    _, params, stats = split(model)
    return jax.device_get(params | stats)


def logged(workdir):
    lines = read_metrics(Path(workdir) / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]


@pytest.fixture(scope="module")
def whole(halves, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("processes") / "whole"
    done = run_to_the_end(halves, workdir)
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir


def test_killed_at_any_moment_and_continued_is_bit_identical(whole, halves, tmp_path):
    workdir = tmp_path / "killed"
    total = max(line["step"] for line in logged(whole))
    rng = np.random.default_rng(int.from_bytes(os.urandom(4)))
    moments = sorted(rng.choice(np.arange(1, total), size=3, replace=False).tolist())
    for moment in moments:
        code, output = signal_after(halves, workdir, moment, signal.SIGKILL)
        assert code == -signal.SIGKILL, (moment, output)
    done = run_to_the_end(halves, workdir)
    assert done.returncode == 0, (moments, done.stdout + done.stderr)
    jax.tree.map(np.testing.assert_array_equal, arrays(whole), arrays(workdir))
    assert logged(whole) == logged(workdir), moments
    one, two = (json.loads((w / "eval.json").read_text()) for w in (whole, workdir))
    assert one == two


def half_written(workdir):
    """Folders of checkpoints that are being written, or were when a process was killed."""
    folder = workdir / "checkpoints"
    return [p.name for p in folder.iterdir() if not p.name.isdigit()] if folder.is_dir() else []


def test_killed_while_a_checkpoint_is_written_and_continued_is_bit_identical(whole, halves, tmp_path):
    workdir, hit = tmp_path / "killed", 0
    for update in (3, 9, 15, 21):
        code, output = signal_after(halves, workdir, update, signal.SIGKILL, also=lambda: half_written(workdir))
        assert code == -signal.SIGKILL, (update, output)
        hit += bool(half_written(workdir))  # else it became whole in the millisecond before the signal
        if hit == 2:
            break
    assert hit
    done = run_to_the_end(halves, workdir)
    assert done.returncode == 0 and half_written(workdir) == [], done.stdout + done.stderr
    jax.tree.map(np.testing.assert_array_equal, arrays(whole), arrays(workdir))
    assert logged(whole) == logged(workdir)


class Disk:
    """A file system of its own, that can be filled."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("nothing may be mounted here: needs root")

    def fill(self):
        self._resize(shutil.disk_usage(self.folder).used + 200_000)  # less than a checkpoint

    def make_room(self):
        self._resize(64_000_000)

    def _resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk.folder)], check=True)


def test_a_full_disk_is_a_clear_error_and_the_last_checkpoint_stays_whole(whole, halves, disk):
    workdir = disk.folder / "run"
    signal_after(halves, workdir, 5, signal.SIGKILL, also=lambda: steps(workdir))
    kept = max(steps(workdir))
    disk.fill()
    done = run_to_the_end(halves, workdir)
    # The threads of TensorStore and TensorBoard have their say too; what is to be done is in one line.
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: the checkpoint of update ") and "No space left on device" in line, done.stderr
    assert line.endswith(f"That of update {kept} is intact; make room, and the same command continues"), line
    assert visible_damage(workdir / "checkpoints" / str(kept)) is None and load_model(workdir, step=kept)[2] == kept
    disk.make_room()
    done = run_to_the_end(halves, workdir)
    assert done.returncode == 0 and f"continuing from update {kept} of" in done.stdout, done.stdout + done.stderr
    jax.tree.map(np.testing.assert_array_equal, arrays(whole), arrays(workdir))
    assert logged(whole) == logged(workdir)


def test_sigterm_saves_and_exits_in_order(whole, halves, tmp_path):
    workdir = tmp_path / "stopped"
    code, output = signal_after(halves, workdir, 10, signal.SIGTERM)
    assert code == 0, output
    assert "stopped by signal after update" in output
    stopped_at = int(output.split("stopped by signal after update ")[1].split(";")[0])
    assert (workdir / "checkpoints" / str(stopped_at)).is_dir()
    done = run_to_the_end(halves, workdir)
    assert done.returncode == 0 and f"continuing from update {stopped_at} of" in done.stdout, done.stdout + done.stderr
    jax.tree.map(np.testing.assert_array_equal, arrays(whole), arrays(workdir))
    assert logged(whole) == logged(workdir)


def test_ctrl_c_reaches_every_process_of_a_terminal_and_the_state_is_saved(whole, halves, tmp_path):
    workdir, workers = tmp_path / "stopped", "--config.data.reading.num_workers=2"
    code, output = signal_after(halves, workdir, 10, signal.SIGINT, workers, send=os.killpg)
    assert code == 130 and "interrupt again to stop without saving" in output and "Traceback" not in output, output
    stopped_at = int(output.split("stopped by signal after update ")[1].split(";")[0])
    assert (workdir / "checkpoints" / str(stopped_at)).is_dir() and not (workdir / "bad_records.jsonl").exists()
    done = run_to_the_end(halves, workdir)
    assert done.returncode == 0 and f"continuing from update {stopped_at} of" in done.stdout, done.stdout + done.stderr
    jax.tree.map(np.testing.assert_array_equal, arrays(whole), arrays(workdir))
    assert logged(whole) == logged(workdir)


def test_last_lines_say_the_figures_and_where_the_results_are(whole, halves):
    done = run_to_the_end(halves, whole)
    figures, place = done.stdout.strip().splitlines()[-2:]
    assert figures.startswith("clip top-1 ") and "video top-1 " in figures and "top-5" not in figures
    assert place.startswith("update ") and place.endswith(f"results in {whole}")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "--config.train.batchsize=4",
            "error: config.train.batchsize is not a setting. Did you mean config.train.batch_size",
        ),
        ("--config.train.best_metric=top1", "error: config.train.best_metric = 'top1'"),
        ("--config.model.name=r2plus1d_81", "error: there is no model 'r2plus1d_81'. Did you mean r2plus1d_18"),
        ("--config.data.train=nowhere.csv", "error: nowhere.csv: no such file or folder"),
        ("--config=configs/nowhere.py", "error: --config=configs/nowhere.py: no such file"),
    ],
)
def test_wrong_flags_are_one_line_without_traceback(halves, tmp_path, flag, message):
    done = run_to_the_end(halves, tmp_path / "run", flag)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_folder_with_every_odd_file_trains_to_the_end(shared, halves, tmp_path):
    data = shutil.copytree(halves, tmp_path / "data")
    odd = sorted((shared / "data" / "odd").iterdir())
    for i, path in enumerate(odd):
        shutil.copy(path, data / ("left", "right")[i % 2] / path.name)
    (data / "left" / "empty.mp4").touch()
    (data / "right" / "half.mp4").write_bytes((halves / "right" / "01.mp4").read_bytes()[:700])
    workdir = tmp_path / "run"
    done = run_to_the_end(data, workdir, "--config.train.epochs=2", "--config.data.reading.num_workers=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "crunching.mp3" in done.stderr  # no video by its name: listed, not opened
    listed = {Path(line["path"]).name for line in read_metrics(workdir / "bad_records.jsonl")}
    report = json.loads((workdir / "eval.json").read_text())
    unreadable = {Path(line["path"]).name for line in report["unreadable"]}
    assert {"empty.mp4", "half.mp4"} <= listed | unreadable
    assert listed | unreadable <= {"empty.mp4", "half.mp4", "corrupted.mp4"}
    assert f"{len(listed)} unreadable training video" in done.stdout or not listed
    assert report["coverage"] == pytest.approx(report["num_videos"] / (report["num_videos"] + len(unreadable)))


def test_evaluate_and_predict_what_was_trained(whole, halves, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=200,
        )

    out = tmp_path / "evaluation"
    done = run(
        "eval.py", f"--workdir={whole}", f"--out={out}", "--config.eval.num_clips=4", "--config.eval.num_crops=3"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "eval.json").read_text())
    assert report["num_views"] == 12 and report["coverage"] == 1.0
    told = f"4 clips × 3 crops; evaluation part of {halves.name}; results in {out}"
    assert done.stdout.strip().splitlines()[-1].endswith(told)

    moved = shutil.copytree(whole / "checkpoints", tmp_path / "alone" / "checkpoints").parent
    video, missing = halves / "left" / "00.mp4", tmp_path / "missing.mp4"
    done = run("-m", "vidjax", "predict", moved, video, "--json")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)
    assert {row["class"] for row in entry["top"]} == {"left", "right"}
    assert sum(row["score"] for row in entry["top"]) == pytest.approx(1)
    done = run("-m", "vidjax", "predict", moved, video, missing)
    assert done.returncode == 1 and "no such file" in done.stdout and "left" in done.stdout

    wrong = run("eval.py", f"--checkpoint={tmp_path / 'alone'}", "--config.eval.num_clip=4")
    assert wrong.returncode == 1 and "Did you mean config.eval.num_clips" in wrong.stderr
    wrong = run("eval.py", f"--checkpoint={tmp_path / 'nothing'}")
    assert wrong.returncode == 1 and "no vidjax checkpoint there" in wrong.stderr and "Traceback" not in wrong.stderr
