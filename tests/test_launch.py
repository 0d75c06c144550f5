"""How a process learns its place among others: flags and each launcher's variables, and what is wrong with them."""

import fnmatch
import http.server
import io
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from vidjax import launch
from vidjax.launch import Cluster, LaunchError, detect

ROOT = Path(__file__).parents[1]
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
        (("h:1", None, None), {}, "--num-processes and --process-id must be given too"),
        (("h:1", 2, 2), {}, r"process 2 of 2: must be 0…1"),
        (("h", 2, 0), {}, "must be host:port"),
        ((), JAX, "JOB_COMPLETION_INDEX is missing"),
        ((), {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES is missing"),
        ((), SLURM | {"SLURM_NTASKS": "four"}, "SLURM_NTASKS = 'four': must be a number"),
        ((), {"TPU_WORKER_HOSTNAMES": "a,b"}, "TPU_WORKER_ID is missing"),
        ((), {"GCE_METADATA_IP": "127.0.0.1:9"}, "does not tell its place.*--num-processes=1"),
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


@pytest.fixture
def machine(monkeypatch):
    """A machine with libtpu, and with the devices that a test lists: path → content."""
    devices, modules, plugins = {}, {"libtpu"}, []
    monkeypatch.setattr("glob.glob", lambda pattern: [path for path in devices if fnmatch.fnmatchcase(path, pattern)])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in modules else None)
    monkeypatch.setattr("vidjax.launch._jax_plugins", lambda: set(plugins))
    monkeypatch.setattr("builtins.open", lambda path, **_: io.StringIO(devices[path]))
    return devices, modules, plugins


def test_a_tpu_is_not_looked_for_where_there_is_the_cpu_alone(machine):
    devices, modules, _ = machine
    assert launch._has_only_cpu({"TPU_SKIP_MDS_QUERY": "1", "PATH": "/bin"})
    devices |= {"/sys/bus/pci/devices/1/vendor": "0x8086\n", "/sys/bus/pci/devices/1/class": "0x120000\n"}
    devices |= {"/sys/bus/pci/devices/2/vendor": "0x1ae0\n", "/sys/bus/pci/devices/2/class": "0x020000\n"}  # a network
    assert launch._has_only_cpu({})
    modules.clear()
    assert not launch._has_only_cpu({})  # JAX does not look for one


@pytest.mark.parametrize(
    "device",
    ["/dev/accel0", "/dev/vfio/0", "/sys/bus/pci/devices/0000:00:05.0/vendor", "/dev/nvidia0", "/dev/kfd", "/dev/dxg"],
)
def test_whoever_may_have_an_accelerator_leaves_the_choice_to_jax(machine, device):
    machine[0][device] = "0x1ae0\n"
    machine[0][f"{os.path.dirname(device)}/class"] = "0x120000\n"
    assert not launch._has_only_cpu({})


@pytest.mark.parametrize(
    "variable",
    ["JAX_PLATFORMS", "JAX_PLATFORM_NAME", "TPU_WORKER_ID", "TPU_LIBRARY_PATH", "JAX_FORCE_TPU_INIT",
     "MEGASCALE_NUM_SLICES", "PJRT_DEVICE"],
)  # fmt: skip
def test_so_does_whoever_is_told_something(machine, variable):
    assert not launch._has_only_cpu({variable: ""})


def test_so_do_other_backends(machine):
    _, _, plugins = machine
    plugins.append("jax_plugins.xla_rocm7")
    assert not launch._has_only_cpu({})


def test_nor_is_a_gpu_looked_for_where_there_is_but_the_compiler(machine):
    devices, modules, plugins = machine
    modules.clear()
    plugins.append("jax_plugins.xla_cuda13")
    assert launch._has_only_cpu({})
    assert not launch._has_only_cpu({"JAX_PLATFORMS": ""})
    devices["/dev/nvidia0"] = ""
    assert not launch._has_only_cpu({})


def test_plugins_are_found_in_jaxs_folder_and_by_their_entry_points(monkeypatch, tmp_path):
    (tmp_path / "jax_plugins" / "of_a_test").mkdir(parents=True)
    (tmp_path / "jax_plugins" / "of_a_test" / "__init__.py").touch()
    (tmp_path / "another-1.dist-info").mkdir()
    (tmp_path / "another-1.dist-info" / "entry_points.txt").write_text("[jax_plugins]\nx = another.plugin\n")
    (tmp_path / "another-1.dist-info" / "METADATA").write_text("Name: another\nVersion: 1\n")
    before = launch._jax_plugins()
    monkeypatch.delitem(sys.modules, "jax_plugins", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert launch._jax_plugins() - before == {"jax_plugins.of_a_test", "another.plugin"}


def test_a_command_says_nothing_of_the_tpu_that_is_not_there():
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("TPU_", "JAX_PLATFORMS"))}
    if not launch._has_only_cpu(bare):
        pytest.skip("needs libtpu, and no accelerator")
    code = "from vidjax.apps.user_errors import explain\ndef run():\n import jax; print(jax.devices())\nexplain(run)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=bare, check=True)
    assert "cpu" in done.stdout.lower() and done.stderr == ""


# Stand-ins for a launcher: each starts two processes as it would, on this machine.
SRUN = """#!/bin/bash
# srun [--flags] program arguments, of a job on two nodes
while [[ $1 == --* ]]; do shift; done
export SLURM_JOB_ID=$JOB SLURM_STEP_NODELIST=localhost SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE='1(x2)'
SLURM_PROCID=1 SLURM_LOCALID=0 "$@" & second=$!
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"; first=$?
wait $second && exit $first
"""
GCLOUD = """#!/bin/bash
# gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command=COMMAND
[[ "$1 $2 $3 $4 $5 $6 $7" == "compute tpus tpu-vm ssh slice --zone=here-a --worker=all" ]] || exit 9
command=${8#--command=}
export TPU_WORKER_HOSTNAMES=localhost,localhost JAX_COORDINATOR_PORT=$PORT
TPU_WORKER_ID=1 bash -c "$command" & second=$!
TPU_WORKER_ID=0 bash -c "$command"; first=$?
wait $second && exit $first
"""


def free_port(first=0, count=1):
    for port in range(first, first + count):
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return free.getsockname()[1]
    raise AssertionError("no port is free")


def slurm(folder, flags):
    port = free_port(61440, 4096)
    return [["bash", "configs/launch/slurm.sh", *flags]], {"JOB": str(port - 61440)}, {"srun": SRUN}


def tpu(folder, flags):
    variables = {"PORT": str(free_port()), "VIDJAX_DIR": str(ROOT)}
    return [["bash", "configs/launch/tpu.sh", "slice", "here-a", *flags]], variables, {"gcloud": GCLOUD}


def jobset(folder, flags):
    """The pods' command with the flags of this test in place of the file's, started with the variables of each pod."""
    manifest = yaml.safe_load((ROOT / "configs" / "launch" / "jobset.yaml").read_text())
    (job,) = (j["template"]["spec"] for j in manifest["spec"]["replicatedJobs"])
    (container,) = job["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    host, port = variables["JAX_COORDINATOR_ADDRESS"].split(":")
    name = manifest["metadata"]["name"]
    assert host == f"{name}-{manifest['spec']['replicatedJobs'][0]['name']}-0-0.{name}"
    assert {"containerPort": int(port)} in container["ports"]
    assert job["completionMode"] == "Indexed"
    assert job["parallelism"] == job["completions"] == int(variables["JAX_NUM_PROCESSES"]) == 2
    variables["JAX_COORDINATOR_ADDRESS"] = f"localhost:{free_port()}"
    program = [sys.executable if word == "python" else word for word in container["command"]]
    own = [word for word in program if not word.startswith(("--config", "--workdir"))]
    pods = [["env", f"JOB_COMPLETION_INDEX={i}", *own, *flags] for i in range(job["completions"])]
    return pods, variables, {}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [slurm, tpu, jobset])
def test_launch_recipes_dry_run(recipe, tmp_path):
    """Two processes find each other by what the recipe's launcher gives them, and share mesh and data."""
    for side in ("left", "right"):
        (tmp_path / "data" / side).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "data" / side / f"{i} of {side}.mp4").write_bytes(b"not opened by a dry run")
    flags = [
        "--config=configs/folder.py", f"--workdir={tmp_path / 'a run'}", f"--config.data.train={tmp_path / 'data'}",
        "--config.model.name=frame_pool_tiny", "--config.train.batch_size=8", "--config.mesh.data=-1",
        "--config.mesh.model=2", "--dry_run",
    ]  # fmt: skip
    commands, variables, stand_ins = recipe(tmp_path, flags)
    for name, script in stand_ins.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    environment = os.environ | variables | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable, "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2", "TPU_SKIP_MDS_QUERY": "1",
    }  # fmt: skip
    started = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for command in commands
    ]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    said = "\n".join(outputs)
    assert [process.returncode for process in started] == [0] * len(started), said
    assert "2 processes, 4 × cpu, batch split over 2; features over 2" in said, said
    assert said.count("process 0 on ") == said.count("process 1 on ") == 1, said
    assert "rows 0…3 of every batch of 8" in said and "rows 4…7 of every batch of 8" in said, said
    assert "dry run: nothing was written" in said and not (tmp_path / "a run").exists(), said
