"""How the processes of one training find each other, and what becomes of them when one is lost.

A process is told its place by flags, or reads it from what its launcher sets: JAX's own variables (as in
`configs/launch/jobset.yaml`), SLURM's `srun`, or Cloud TPU. Without any of these it is alone.
"""

import argparse
import contextlib
import glob
import os
import pkgutil
import sys
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vidjax.errors import UserError

# A process that sends no sign of life for so long is taken for dead, and the others end; they send one several times
# within it, from a thread that neither compiling nor decoding holds up.
_HEARTBEAT_SECONDS = 30
_CONNECT_SECONDS = 300  # pods and nodes start at different times
_SHUTDOWN_SECONDS = 30
_TPU_PORT, _SLURM_PORTS = 8482, (61440, 4096)  # first and how many
_METADATA_SECONDS = 5.0
_GOOGLE, _DISKS_AND_NETWORKS = "0x1ae0", ("0x01", "0x02")  # on the PCI bus
# In what collectives (Gloo, NCCL, TPU) and JAX's coordination service say when another process is gone.
_LOST = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "coordination", "Connection")


class LaunchError(UserError):
    """The processes of a run do not find each other, or lost one; the message names the variable and the mend."""


@dataclass(frozen=True)
class Cluster:
    """This process's place among those of a run."""

    found: str  # where it is known from, for people
    coordinator: str  # host:port where process 0 listens
    num_processes: int
    process_id: int
    local_devices: tuple[int, ...] | None = None  # which of its machine's GPUs are this process's; None: all it sees


def detect(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Cluster | None:
    """This process's place, or None if it is the only one.

    Args:
      coordinator, num_processes, process_id: given by flags; then nothing else counts. `num_processes=1` alone: one
        process, whatever the environment says.
      environment: variables; None: those of this process.

    Raises:
      LaunchError: for flags or variables that are incomplete or contradict each other.
    """
    env = os.environ if environment is None else environment
    flags = {"--coordinator": coordinator, "--num-processes": num_processes, "--process-id": process_id}
    if any(value is not None for value in flags.values()):
        if num_processes == 1 and process_id in (None, 0):
            return None
        if missing := [flag for flag, value in flags.items() if value is None]:
            raise LaunchError(f"{' and '.join(missing)} must be given too, on every process: host:port of process 0, "
                              "how many processes there are, and which of them (from 0) this one is")  # fmt: skip
        found = Cluster("flags", coordinator, num_processes, process_id)
    else:
        found = _from_jax(env) or _from_slurm(env) or _from_tpu(env)
    if found is None or found.num_processes == 1:
        return None
    host, _, port = found.coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise LaunchError(f"{found.found}: the coordinator {found.coordinator!r} must be host:port of process 0")
    if not 0 <= found.process_id < found.num_processes:
        raise LaunchError(
            f"{found.found}: process {found.process_id} of {found.num_processes}: must be 0…{found.num_processes - 1}"
        )
    return found


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the options `--coordinator`, `--num-processes` and `--process-id`, which are for `detect`."""
    parser.add_argument("--coordinator", help="host:port of process 0, where no launcher tells it")
    parser.add_argument(
        "--num-processes", type=int, metavar="COUNT", help="how many processes do this together; with --coordinator"
    )
    parser.add_argument(
        "--process-id", type=int, metavar="NUMBER", help="which of them this is, from 0; with --coordinator"
    )


def join(cluster: Cluster | None, say: Callable[[str], None] = print) -> None:
    """Connect this process with the others; nothing for None. Before anything else of JAX.

    Raises:
      LaunchError: if the others cannot be reached within five minutes.
    """
    if cluster is None:
        return
    import jax

    if cluster.process_id == 0:
        say(f"{cluster.num_processes} processes (by {cluster.found}); process 0 listens at {cluster.coordinator}")
    try:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.num_processes,
            cluster.process_id,
            list(cluster.local_devices) if cluster.local_devices else None,
            cluster_detection_method="deactivate",
            initialization_timeout=_CONNECT_SECONDS,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except RuntimeError as error:
        raise LaunchError(
            f"process {cluster.process_id} of {cluster.num_processes} (by {cluster.found}) could not meet the others "
            f"at {cluster.coordinator}: {_first_line(error)}. Are all of them running, and may they reach that port?"
        ) from error


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What is done within ends with a `LaunchError` when a collective fails because another process is gone.

    A process that waits where no collective reports that is ended by JAX's heartbeat, within half a minute or so. After
    an error of its own, a process that has others ends at once, so that they too learn of it.
    """
    import jax

    try:
        yield
    except Exception as error:
        if jax.process_count() == 1 or isinstance(error, UserError | OSError):
            raise
        text = str(error)
        if "RESOURCE_EXHAUSTED" in text or not any(sign in text for sign in _LOST):
            traceback.print_exc()
            leave(1)
        raise LaunchError(
            f"process {jax.process_index()} of {jax.process_count()} lost touch with another, which has probably died; "
            f"its own output tells why. The same command continues from the last checkpoint. ({_first_line(error)})"
        ) from error


def leave(status: int) -> int:
    """The exit status, for the end of a command: after an error a process that has others does not wait for them."""
    if "jax" in sys.modules and status:
        import jax

        if jax.distributed.is_initialized():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return status


def skip_tpu_search() -> None:
    """Have JAX use the CPU at once where it has nothing else: see `_has_only_cpu`.

    With libtpu or the compiler for GPUs installed, as `vidjax plan` needs them, JAX would look for a TPU and a GPU
    first, and both say at length that they find none. Does nothing once JAX is imported, which is when it reads
    `JAX_PLATFORMS`; where that is set, also to nothing, the choice is the user's or JAX's.
    """
    if "jax" not in sys.modules and _has_only_cpu(os.environ):
        os.environ["JAX_PLATFORMS"] = "cpu"


# What JAX or libtpu are told where TPUs are, also far ones; the other one says where they are not.
_TPU_VARIABLES = ("TPU_", "LIBTPU_", "JAX_FORCE_TPU_INIT", "MEGASCALE_", "COLAB_TPU", "GCE_METADATA_IP", "PJRT_")
_NO_TPU_VARIABLE = "TPU_SKIP_MDS_QUERY"
_TPUS = ("/dev/accel*", "/dev/vfio/[0-9]*")
_CUDA = "jax_plugins.xla_cuda"
_GPUS = ("/dev/nvidia*", "/dev/dxg", "/dev/kfd", "/dev/dri/renderD*")


def _has_only_cpu(env: Mapping[str, str]) -> bool:
    """Whether JAX would look for a TPU or an NVIDIA GPU, and nothing speaks for one, another backend or a choice."""
    from importlib.util import find_spec

    told = any(name.startswith(_TPU_VARIABLES) and name != _NO_TPU_VARIABLE for name in env)
    plugins = _jax_plugins()
    looks = find_spec("libtpu") or plugins
    if told or {"JAX_PLATFORMS", "JAX_PLATFORM_NAME"} & env.keys() or not looks:
        return False
    others = {name for name in plugins if not name.startswith(_CUDA)}
    accelerators = any(glob.glob(pattern) for pattern in (*_TPUS, *_GPUS))
    return not (others or accelerators or any(map(_may_be_tpu, glob.glob("/sys/bus/pci/devices/*/vendor"))))


def _jax_plugins() -> set[str]:
    """Modules that add backends to JAX, found as JAX finds them."""
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    package = find_spec("jax_plugins")
    folders = package.submodule_search_locations if package else None
    return {f"jax_plugins.{module.name}" for module in pkgutil.iter_modules(folders or [])} | {
        point.value for point in entry_points(group="jax_plugins")
    }


def _may_be_tpu(vendor: str) -> bool:
    """Whether a device on the PCI bus, where JAX looks for TPUs, is Google's, and no network card or disk of theirs.

    Args:
      vendor: the file with its maker's number; that of its kind lies beside it.
    """
    numbers = []
    for path in (vendor, os.path.join(os.path.dirname(vendor), "class")):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            numbers.append(file.read().strip())
    return numbers[:1] == [_GOOGLE] and not "".join(numbers[1:]).startswith(_DISKS_AND_NETWORKS)


def _from_jax(env: Mapping[str, str]) -> Cluster | None:
    """`JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` or the index of an indexed Kubernetes job."""
    if "JAX_COORDINATOR_ADDRESS" not in env:
        return None
    index = "JAX_PROCESS_ID" if "JAX_PROCESS_ID" in env else "JOB_COMPLETION_INDEX"
    return Cluster(
        f"JAX_COORDINATOR_ADDRESS and {index}",
        env["JAX_COORDINATOR_ADDRESS"],
        _number(env, "JAX_NUM_PROCESSES", "set with JAX_COORDINATOR_ADDRESS"),
        _number(env, index, "set with JAX_COORDINATOR_ADDRESS (or JAX_PROCESS_ID)"),
    )


def _from_slurm(env: Mapping[str, str]) -> Cluster | None:
    """A step started by `srun`: its tasks are the processes."""
    if not {"SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID"} <= set(env):
        return None
    count = _number(env, "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in env else "SLURM_NTASKS", "set by srun")
    first, ports = _SLURM_PORTS
    coordinator = f"{_first_node(env['SLURM_STEP_NODELIST'])}:{first + _number(env, 'SLURM_JOB_ID', 'SLURM') % ports}"
    # Several tasks on one machine share its GPUs, one each, unless SLURM has shown each task its own already.
    tasks = env.get("SLURM_STEP_TASKS_PER_NODE", env.get("SLURM_TASKS_PER_NODE", "1"))
    alone = all(part.split("(")[0] == "1" for part in tasks.split(","))
    bound = "," not in env.get("CUDA_VISIBLE_DEVICES", env.get("ROCR_VISIBLE_DEVICES", ","))
    local = None if alone or bound else (_number(env, "SLURM_LOCALID", "set by srun"),)
    return Cluster("SLURM", coordinator, count, _number(env, "SLURM_PROCID", "set by srun"), local)


def _first_node(nodes: str) -> str:
    """The first host of a list such as `node[007-009,012],other`: `node007`."""
    name, bracket, rest = nodes.partition("[")
    if not bracket or "," in name:
        return nodes.split(",")[0]
    inside, _, behind = rest.partition("]")
    return name + inside.replace("-", ",").split(",")[0] + behind.split(",")[0]


def _from_tpu(env: Mapping[str, str]) -> Cluster | None:
    """The hosts of a TPU slice, or of several: as Kubernetes sets them, or as the machine's metadata lists them."""
    hosts = env.get("TPU_PROCESS_ADDRESSES", env.get("TPU_WORKER_HOSTNAMES", ""))
    if hosts:
        found, workers, worker = "TPU_WORKER_HOSTNAMES", hosts.split(","), _number(env, "TPU_WORKER_ID", "set with it")
    elif "TPU_SKIP_MDS_QUERY" not in env and ("GCE_METADATA_IP" in env or _has_tpu()):
        found, endpoints = "the metadata of this TPU machine", _metadata(env, "worker-network-endpoints")
        if endpoints is None:
            return None
        # Each is an address, or name:number:address.
        workers = [endpoint.split(":")[-1] for endpoint in endpoints.split(",")]
        worker = int(_metadata(env, "agent-worker-number") or 0)
    else:
        return None
    slices, number = int(env.get("MEGASCALE_NUM_SLICES") or 1), int(env.get("MEGASCALE_SLICE_ID") or 0)
    first = env.get("MEGASCALE_COORDINATOR_ADDRESS") or workers[0]
    port = env.get("JAX_COORDINATOR_PORT") or _TPU_PORT
    coordinator = f"{first.split(':')[0]}:{port}"
    return Cluster(found, coordinator, len(workers) * slices, worker + number * len(workers))


def _has_tpu() -> bool:
    from importlib.util import find_spec

    return bool(find_spec("libtpu") and any(glob.glob(pattern) for pattern in _TPUS))


def _metadata(env: Mapping[str, str], key: str) -> str | None:
    """One value of the machine's metadata; None if it has none."""
    host = env.get("GCE_METADATA_IP", "metadata.google.internal")
    url = f"http://{host}/computeMetadata/v1/instance/attributes/{key}"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=_METADATA_SECONDS) as answer:
            return answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise LaunchError(f"{url}: {error}") from error
    except OSError as error:
        raise LaunchError(
            f"this machine has a TPU, but {url} does not tell its place in the slice ({error}); "
            "--num-processes=1 if it is the only one, or give --coordinator, --num-processes and --process-id"
        ) from error


def _number(env: Mapping[str, str], name: str, origin: str) -> int:
    try:
        return int(env[name])
    except KeyError:
        raise LaunchError(f"the variable {name} is missing ({origin}); or give the flags --coordinator, "
                          "--num-processes and --process-id") from None  # fmt: skip
    except ValueError:
        raise LaunchError(f"{name} = {env[name]!r}: must be a number") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
