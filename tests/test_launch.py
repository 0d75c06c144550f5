"""How a process learns its place among others: flags and each launcher's variables, and what is wrong with them."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from tests.training.conftest import write_halves
from vidjax.launch import Cluster, LaunchError, detect

SLURM = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_NODELIST": "gpu[07-08,11],big1", "SLURM_NTASKS": "4", "SLURM_PROCID": "2",
    "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
}  # fmt: skip
JAX = {"JAX_COORDINATOR_ADDRESS": "run-worker-0-0.run:1234", "JAX_NUM_PROCESSES": "4"}
TPU = {"TPU_WORKER_HOSTNAMES": "t0,t1,t2", "TPU_WORKER_ID": "1"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (SLURM, ("gpu07:66151", 4, 2, None)),
        (SLURM | {"SLURM_STEP_NODELIST": "one"}, ("one:66151", 4, 2, None)),
        (SLURM | {"SLURM_STEP_NODELIST": "one,two3"}, ("one:66151", 4, 2, None)),
        (SLURM | {"SLURM_STEP_NODELIST": "n[3-5]-ib"}, ("n3-ib:66151", 4, 2, None)),
        # Two tasks on each machine: one GPU each, unless SLURM shows each its own.
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, ("gpu07:66151", 4, 2, (1,))),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1,3"}, ("gpu07:66151", 4, 2, (1,))),
        (
            SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "CUDA_VISIBLE_DEVICES": "0"},
            ("gpu07:66151", 4, 2, None),
        ),
        ({k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}, None),  # a batch script without srun
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        (JAX | {"JOB_COMPLETION_INDEX": "3"}, ("run-worker-0-0.run:1234", 4, 3, None)),
        (JAX | {"JOB_COMPLETION_INDEX": "3", "JAX_PROCESS_ID": "0"} | SLURM, ("run-worker-0-0.run:1234", 4, 0, None)),
        (TPU, ("t0:8482", 3, 1, None)),
        (
            TPU | {"MEGASCALE_COORDINATOR_ADDRESS": "s0:99", "MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "1"},
            ("s0:8482", 6, 4, None),
        ),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, None),
    ],
)
def test_place_is_read_from_the_launchers_variables(environment, expected):
    found = detect(environment=environment)
    if expected:
        expected = (expected[0].replace("66151", str(61440 + 4711 % 4096)), *expected[1:])
    assert (found and (found.coordinator, found.num_processes, found.process_id, found.local_devices)) == expected


def test_flags_count_before_the_environment():
    assert detect("h:1", 2, 1, environment=SLURM) == Cluster("flags", "h:1", 2, 1)
    assert detect(num_processes=1, environment=SLURM) is None


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (("h:1", None, None), {}, "--num_processes and --process_id must be given too"),
        (("h:1", 2, 2), {}, r"process 2 of 2: must be 0…1"),
        (("h", 2, 0), {}, "must be host:port"),
        ((), JAX, "JOB_COMPLETION_INDEX is missing"),
        ((), {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES is missing"),
        ((), SLURM | {"SLURM_NTASKS": "four"}, "SLURM_NTASKS = 'four': must be a number"),
        ((), {"TPU_WORKER_HOSTNAMES": "a,b"}, "TPU_WORKER_ID is missing"),
        ((), {"GCE_METADATA_IP": "127.0.0.1:9"}, "does not tell its place.*--num_processes=1"),
    ],
)
def test_incomplete_places_are_refused(flags, environment, message):
    with pytest.raises(LaunchError, match=message):
        detect(*flags, environment=environment)


@pytest.mark.parametrize("endpoints", ["10.0.0.5,10.0.0.6", "w0:7:10.0.0.5,w1:8:10.0.0.6", None])
def test_place_is_read_from_a_tpu_machines_metadata(endpoints):
    values = {"worker-network-endpoints": endpoints, "agent-worker-number": "1"}

    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            value = values.get(self.path.rsplit("/", 1)[-1]) if self.headers["Metadata-Flavor"] == "Google" else None
            self.send_response(200 if value else 404)
            self.end_headers()
            self.wfile.write((value or "").encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = detect(environment={"GCE_METADATA_IP": f"127.0.0.1:{server.server_port}"})
        server.shutdown()
    assert (found and (found.coordinator, found.num_processes, found.process_id)) == (
        ("10.0.0.5:8482", 2, 1) if endpoints else None
    )


ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "configs" / "launch"
# What stands in for the launchers: the command in two processes, each with the variables that the launcher sets.
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
export SLURM_STEP_NODELIST=localhost SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=2 SLURM_STEP_TASKS_PER_NODE=2
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & other=$!
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"; status=$?
wait $other && exit $status
"""
GCLOUD = """#!/bin/bash
[[ $* == *"ssh slice"* && $* == *--worker=all* ]] || exit 9
for argument in "$@"; do [[ $argument == --command=* ]] && command=${argument#--command=}; done
export TPU_WORKER_HOSTNAMES=localhost,localhost
TPU_WORKER_ID=1 bash -c "$command" & other=$!
TPU_WORKER_ID=0 bash -c "$command"; status=$?
wait $other && exit $status
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_halves(tmp_path_factory.mktemp("launch") / "videos")


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    def put(name, text):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    return put


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def flags(videos, workdir):
    return ["--config=configs/folder.py", f"--workdir={workdir}", f"--config.data.train={videos}",
            "--config.model.name=frame_pool_tiny", "--config.train.batch_size=8", "--dry_run"]  # fmt: skip


def environment(**more):
    return os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2", "PYTHON": sys.executable} | more


def assert_both_are_there(text, found):
    assert f"2 processes (by {found})" in text, text
    for process, rows in ((0, "0…3"), (1, "4…7")):
        assert f"process {process} on " in text and f"rows {rows} of every batch of 8" in text, text
    assert "2 process(es), 4 × cpu" in text and "dry run: nothing was written" in text, text


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["slurm", "tpu"])
def test_the_scripts_start_processes_that_find_each_other(recipe, videos, on_path, tmp_path):
    on_path("srun", SRUN)
    on_path("gcloud", GCLOUD)
    workdir = tmp_path / "run"
    if recipe == "slurm":
        command, found = ["bash", RECIPES / "slurm.sh", *flags(videos, workdir)], "SLURM"
        variables = {"SLURM_JOB_ID": str(free_port() % 4096), "SLURM_SUBMIT_DIR": str(ROOT), "SLURM_CPUS_PER_TASK": "2"}
    else:
        command, found = [RECIPES / "tpu.sh", "slice", "zone", *flags(videos, workdir)], "TPU_WORKER_HOSTNAMES"
        variables = {"JAX_COORDINATOR_PORT": str(free_port()), "VIDJAX_DIR": str(ROOT)}
    done = subprocess.run(
        command, env=environment(**variables), cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_both_are_there(done.stdout.replace("\n", " "), found)
    assert not workdir.exists()


@pytest.mark.slow
def test_the_pods_of_the_manifest_find_each_other(videos, tmp_path):
    manifest = yaml.safe_load((RECIPES / "jobset.yaml").read_text())
    name, (job,) = manifest["metadata"]["name"], manifest["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    host, port = variables["JAX_COORDINATOR_ADDRESS"].split(":")
    assert host == f"{name}-{job['name']}-0-0.{name}" and spec["completionMode"] == "Indexed"
    assert int(port) == container["ports"][0]["containerPort"]
    assert spec["parallelism"] == spec["completions"] == int(variables["JAX_NUM_PROCESSES"]) == 2
    # The name is known within the cluster alone.
    variables["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{free_port()}"
    command = [sys.executable, *container["command"][1:], *flags(videos, tmp_path / "run")]
    pods = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment(**variables, JOB_COMPLETION_INDEX=str(i)), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    outputs = [pod.communicate(timeout=200)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], outputs
    assert_both_are_there(outputs[0].replace("\n", " "), "JAX_COORDINATOR_ADDRESS and JOB_COMPLETION_INDEX")
    assert not (tmp_path / "run").exists()
