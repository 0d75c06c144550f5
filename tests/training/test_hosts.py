"""Several real processes that train together on this machine: the result, evaluation, a lost process, SIGTERM, and
going on with another number of processes."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from tests.videos import write_halves
from vidjax.config import (
    ClipConfig,
    Config,
    DataConfig,
    EvalConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from vidjax.models.state import split
from vidjax.training.checkpoints import load_model
from vidjax.training.logs import read_metrics
from vidjax.training.loop import train

ROOT = Path(__file__).parents[2]
STEPS = 20
MODELS = {
    "cnn": ModelConfig(name="r2plus1d_tiny"),  # its batch norm is over the batch of all devices
    "vit": ModelConfig(name="videomae_small", kwargs={"dim": 24, "depth": 2, "heads": 2}),
}
# Sums over devices are rounded in another order. Where that puts a unit on the other side of ReLU's kink, an update of
# the CNN differs by far more than rounding; at this rate by less than the tolerance. Its batch statistics move at any
# rate: another batch shows in them.
RATES = {"cnn": 0.0001, "vit": 0.001}
pytestmark = pytest.mark.slow


def config_of(model, data):
    return Config(
        model=MODELS[model],
        data=DataConfig(train=str(data), eval_share=0.3, clip=ClipConfig(num_frames=4, size=16, resize=(20,))),
        optimizer=OptimizerConfig(name="sgd", learning_rate=RATES[model]),
        train=TrainConfig(batch_size=8, steps=STEPS, log_every=1, eval_epochs=0, checkpoint_epochs=0.1),
        eval=EvalConfig(num_clips=2, batch_size=8),
        mesh=MeshConfig(data=4),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Videos, two of which cannot be read; with them, no number of processes divides those to be evaluated."""
    folder = write_halves(tmp_path_factory.mktemp("hosts") / "data", count=24)
    for side in ("left", "right"):
        (folder / side / "bad.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module", params=MODELS)
def alone(request, data, tmp_path_factory):
    """(model, work directory) of the same training by one process with four devices."""
    workdir = tmp_path_factory.mktemp("alone")
    train(config_of(request.param, data), workdir, Console(quiet=True))
    return request.param, workdir


class Together:
    """`train.py` in `count` processes of two devices each, or of `devices`."""

    def __init__(self, model, data, workdir, count, *flags, devices=2):
        config = workdir.parent / f"{model}.py"
        made = repr(config_of(model, data))
        config.write_text(f"from vidjax.config import *\n\n\ndef get_config():\n    return {made}\n")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "PYTHONUNBUFFERED": "1",
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(count),
        }
        self.log, self.outputs = workdir / "metrics.jsonl", [workdir.parent / f"output-{i}" for i in range(count)]
        self.processes = []
        for i, output in enumerate(self.outputs):
            with open(output, "w") as file:
                command = [sys.executable, "train.py", f"--config={config}", f"--workdir={workdir}", *flags]
                self.processes.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment | {"JAX_PROCESS_ID": str(i)}, stdout=file, stderr=file
                    )
                )

    def reach(self, update):
        deadline = time.monotonic() + 400
        while not any(line["step"] >= update for line in read_metrics(self.log)):
            if time.monotonic() > deadline or any(p.poll() is not None for p in self.processes):
                self.kill()
                pytest.fail(self.text())
            time.sleep(0.01)
        return self

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def end(self, seconds=400):
        try:
            return [process.wait(seconds) for process in self.processes]
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def text(self):
        return "\n---\n".join(output.read_text() for output in self.outputs)


def arrays(workdir):
    model, _, _ = load_model(workdir, step=STEPS)
    _, params, stats = split(model)
    return jax.device_get(params | stats)


def assert_same(alone, workdir):
    one, two = arrays(alone), arrays(workdir)
    assert one.keys() == two.keys()
    for path in one:
        np.testing.assert_allclose(two[path], one[path], atol=1e-5, rtol=1e-5, err_msg=path)
    logs = ([m["loss"] for m in read_metrics(w / "metrics.jsonl") if m["kind"] == "train"] for w in (alone, workdir))
    np.testing.assert_allclose(*logs, atol=1e-5)
    reports = [json.loads((w / "eval.json").read_text()) for w in (alone, workdir)]
    assert reports[0] == reports[1]
    with open(workdir / "video_scores.csv", newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    unreadable = [line["path"] for line in reports[1]["unreadable"]]
    assert len(paths) == len(set(paths)) == reports[1]["num_videos"] and not set(paths) & set(unreadable)


def test_processes_together_lose_one_and_go_on_to_the_result_of_one_alone(alone, data, tmp_path):
    model, whole = alone
    workdir = tmp_path / "run"
    if model == "cnn":
        # One dies: the others end with an error soon.
        lost, left = Together(model, data, workdir, 2).reach(6), 0
        lost.processes[1].kill()
        killed_at = time.monotonic()
        codes = lost.end(seconds=60)
        assert codes[1] == -signal.SIGKILL and codes[left] != 0, lost.text()
        assert time.monotonic() - killed_at < 60
        said = lost.outputs[left].read_text()
        assert "lost touch with another" in said or "another task died" in said, said
    else:
        # One is told to stop: all save after the same update, and end in order.
        stopped = Together(model, data, workdir, 2, "--stopped_status=75").reach(6)
        stopped.processes[1].send_signal(signal.SIGTERM)
        codes = stopped.end()
        said = {output.read_text().split("stopped by signal after ")[1].split(";")[0] for output in stopped.outputs}
        assert codes == [75, 75] and len(said) == 1, stopped.text()
        assert said.pop().removeprefix("update ") in {p.name for p in (workdir / "checkpoints").iterdir()}
        # One process on one device, with workers, sees the same clips in the same order: its losses are the same.
        smaller = Together(
            model, data, workdir, 1, "--config.mesh.data=1", "--config.data.reading.num_workers=2", devices=1
        )
        smaller.reach(12).kill()
    done = Together(model, data, workdir, 2)
    assert done.end() == [0, 0], done.text()
    assert "continuing from update" in done.outputs[0].read_text()
    assert_same(whole, workdir)
