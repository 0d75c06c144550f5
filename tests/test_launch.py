"""How a process learns its place among others: flags and each launcher's variables, and what is wrong with them."""

import fnmatch
import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vidjax import launch
from vidjax.launch import Cluster, LaunchError, discover

ROOT = Path(__file__).parents[1]
SLURM = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_NODELIST": "gpu[07-08,11],big1", "SLURM_NTASKS": "4", "SLURM_PROCID": "2",
    "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
}  # fmt: skip
OMPI = {"OMPI_MCA_orte_hnp_uri": "4096.0;tcp://10.0.0.1:1", "OMPI_COMM_WORLD_SIZE": "4"}
JAX = {"JAX_COORDINATOR_ADDRESS": "run-worker-0-0.run:1234", "JAX_NUM_PROCESSES": "4"}
TPU = {"TPU_WORKER_HOSTNAMES": "t0,t1,t2", "TPU_WORKER_ID": "1"}
SLICES = {"MEGASCALE_COORDINATOR_ADDRESS": "s0:99", "MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "1"}


@pytest.mark.parametrize(
    ("environment", "method", "all_gpus"),
    [
        (SLURM, "slurm", True),
        # Two tasks on each machine: one GPU each, unless SLURM shows each its own, or the user says which.
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, "slurm", False),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1,3"}, "slurm", False),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "CUDA_VISIBLE_DEVICES": "0"}, "slurm", True),
        (SLURM | {"JAX_LOCAL_DEVICE_IDS": "0,1"}, "slurm", False),
        (OMPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, "ompi", True),
        (OMPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, "ompi", False),
        (TPU, "gketpu", False),
        (TPU | SLICES, "gketpu", False),
        (TPU | SLICES | {"TPU_WORKER_HOSTNAMES": "t0"}, "gketpu", False),
    ],
)
def test_jax_is_told_which_launcher_has_started_the_process(environment, method, all_gpus):
    found = discover(environment=environment)
    assert (found.method, found.all_gpus, found.coordinator) == (method, all_gpus, None)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"},  # a batch script without srun
        SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        OMPI | {"OMPI_COMM_WORLD_SIZE": "1"},
        {"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},  # any pod
        JAX | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"},
    ],
)
def test_a_process_may_be_alone(environment):
    assert discover(environment=environment) is None


def test_place_is_read_from_jaxs_own_variables():
    address, found = JAX["JAX_COORDINATOR_ADDRESS"], discover(environment=JAX | {"JOB_COMPLETION_INDEX": "3"})
    assert found == Cluster("JAX_COORDINATOR_ADDRESS and JOB_COMPLETION_INDEX", "deactivate", address, 4, 3)
    found = discover(environment=JAX | {"JOB_COMPLETION_INDEX": "3", "JAX_PROCESS_ID": "0"} | SLURM)
    assert found == Cluster("JAX_COORDINATOR_ADDRESS and JAX_PROCESS_ID", "deactivate", address, 4, 0)


def test_flags_count_before_the_environment():
    assert discover("h:1", 2, 1, environment=SLURM) == Cluster("flags", "deactivate", "h:1", 2, 1)
    assert discover(num_processes=1, environment=SLURM) is None


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (("h:1", None, None), {}, "--num-processes and --process-id must be given too"),
        (("h:1", 2, 2), {}, r"process 2 of 2: must be 0…1"),
        (("h", 2, 0), {}, "must be host:port"),
        ((), JAX, "JOB_COMPLETION_INDEX is missing"),
        ((), {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES is missing"),
        (
            (),
            JAX | {"JAX_NUM_PROCESSES": "four", "JAX_PROCESS_ID": "0"},
            "JAX_NUM_PROCESSES = 'four': must be a number",
        ),
    ],
)
def test_incomplete_places_are_refused(flags, environment, message):
    with pytest.raises(LaunchError, match=message):
        discover(*flags, environment=environment)


@pytest.mark.parametrize(
    ("cluster", "environment", "message"),
    [
        (Cluster("SLURM", "slurm"), SLURM | {"SLURM_NTASKS": "four"}, r"by SLURM .*'four'.*--num_processes=1 if"),
        (Cluster("SLURM", "slurm"), {}, r"by SLURM .*KeyError: 'SLURM_JOB_ID'.*--coordinator"),
        (Cluster("Open MPI", "ompi"), OMPI, r"by Open MPI .*OMPI_COMM_WORLD_RANK"),
    ],
)
def test_variables_that_jax_cannot_read_are_reported(cluster, environment, message):
    said = joined(cluster, environment)
    assert re.search(message, said), said


def joined(cluster, environment):
    """What a fresh process says that joins others."""
    code = (
        "import jax; from vidjax.launch import Cluster, LaunchError, join\n"
        f"try: join({cluster}); print('joined' if jax.distributed.is_initialized() else 'alone')\n"
        "except LaunchError as error: print(error)"
    )
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "OMPI_", "JAX_COORDINATOR", "KUBER"))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=bare | environment, check=True).stdout


def test_a_tpu_machine_whose_metadata_name_no_slice_is_alone(machine):
    devices, _, _ = machine
    devices["/dev/accel0"] = ""
    found = discover(environment={})
    assert found == Cluster("the metadata of this TPU machine", None)
    for variables in ({"JAX_PLATFORMS": "cpu"}, {"TPU_SKIP_MDS_QUERY": "1"}, {"KUBERNETES_SERVICE_HOST": "h"}):
        assert discover(environment=variables) is None


def test_where_jax_finds_no_others_a_process_is_alone():
    assert joined(Cluster("the metadata of this TPU machine", None), {}) == "alone\n"


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
export SLURM_JOB_ID=$JOB SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2 SLURM_STEP_TASKS_PER_NODE='1(x2)'
SLURM_PROCID=1 SLURM_LOCALID=0 "$@" & second=$!
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"; first=$?
wait $second && exit $first
"""
MPIRUN = """#!/bin/bash
# mpirun -np 2 program arguments
shift 2
export OMPI_MCA_orte_hnp_uri='4096.0;tcp://127.0.0.1:1' JAX_COORDINATOR_PORT=$PORT
export OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_SIZE=1 OMPI_COMM_WORLD_LOCAL_RANK=0
OMPI_COMM_WORLD_RANK=1 "$@" & second=$!
OMPI_COMM_WORLD_RANK=0 "$@"; first=$?
wait $second && exit $first
"""
GCLOUD = """#!/bin/bash
# gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command=COMMAND
[[ "$1 $2 $3 $4 $5 $6 $7" == "compute tpus tpu-vm ssh slice --zone=here-a --worker=all" ]] || exit 9
command=${8#--command=}
# JAX takes this machine for one with a TPU, and finds itself told that there is one slice.
export TPU_WORKER_HOSTNAMES=localhost,localhost JAX_COORDINATOR_PORT=$PORT JAX_FORCE_TPU_INIT=1
export MEGASCALE_COORDINATOR_ADDRESS= MEGASCALE_NUM_SLICES= MEGASCALE_SLICE_ID=
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


def mpi(folder, flags):
    return [["mpirun", "-np", "2", sys.executable, "train.py", *flags]], {"PORT": str(free_port())}, {"mpirun": MPIRUN}


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
@pytest.mark.parametrize("recipe", [slurm, mpi, tpu, jobset])
def test_launch_recipes_dry_run(recipe, tmp_path):
    """Two processes find each other by what the recipe's launcher gives them, and share mesh and data."""
    for side in ("left", "right"):
        (tmp_path / "data" / side).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "data" / side / f"{i} of {side}.mp4").write_bytes(b"not opened by a dry run")
    flags = [
        "--config=configs/folder.py", f"--workdir={tmp_path / 'a run'}", f"--config.data.train={tmp_path / 'data'}",
        "--config.model.name=frame_pool_tiny", "--config.model.init_from=", "--config.train.batch_size=8",
        "--config.mesh.data=-1", "--config.mesh.model=2", "--dry_run",
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
    assert said.count("2 processes (by ") == 1, said
    assert "2 processes, 4 × cpu, batch split over 2; features over 2" in said, said
    assert said.count("process 0 on ") == said.count("process 1 on ") == 1, said
    assert "rows 0…3 of every batch of 8" in said and "rows 4…7 of every batch of 8" in said, said
    assert "dry run: nothing was written" in said and not (tmp_path / "a run").exists(), said


@pytest.mark.parametrize(
    ("environment", "flags", "expected"),
    [
        ({}, (None, None), (0, 1, None)),
        (SLURM, (None, None), (2, 4, None)),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, (None, None), (2, 4, 1)),
        (SLURM, (0, 3), (0, 3, None)),
        (OMPI | {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"},
         (None, None), (3, 4, 1)),
        (JAX | {"JOB_COMPLETION_INDEX": "1"}, (None, None), (1, 4, None)),
    ],
)  # fmt: skip
def test_processes_that_work_apart_know_their_place(environment, flags, expected, monkeypatch):
    found = launch.place(*flags, environment=environment)
    assert (found.number, found.count, found.gpu) == expected
    monkeypatch.delenv("JAX_CUDA_VISIBLE_DEVICES", raising=False)
    found.claim()
    assert os.environ.get("JAX_CUDA_VISIBLE_DEVICES") == (None if found.gpu is None else str(found.gpu))
    monkeypatch.delenv("JAX_CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("environment", "flags", "words"),
    [
        ({}, (1, None), "give both"),
        ({}, (4, 4), "process 4 of 4"),
        (TPU, (None, None), "--num-processes=COUNT --process-id=NUMBER"),
        (OMPI, (None, None), "OMPI_COMM_WORLD_RANK is missing"),
    ],
)
def test_a_place_that_is_not_told_is_an_error(environment, flags, words):
    with pytest.raises(LaunchError, match=words):
        launch.place(*flags, environment=environment)
