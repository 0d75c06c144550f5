"""Launch of a training's processes: how they find each other, and how they exit when one is lost.

Flags or JAX's own variables (as in `configs/launch/jobset.yaml`) set a process's place in the run, or JAX reads it
from the variables of SLURM's `srun`, Open MPI's `mpirun` or Cloud TPU. Without any of these it is the only process.
"""

import argparse
import contextlib
import glob
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vidjax.errors import UserError

# A process without a heartbeat for this long is considered dead, and the others exit. Heartbeats are several times as
# frequent, and sent by a thread that neither compiling nor decoding blocks.
_HEARTBEAT_SECONDS = 30
_CONNECT_SECONDS = 300  # pods and nodes start at different times
_SHUTDOWN_SECONDS = 30
_GOOGLE, _DISKS_AND_NETWORKS = "0x1ae0", ("0x01", "0x02")  # vendor and device classes on the PCI bus
# Parts of the messages of collectives (Gloo, NCCL, TPU) and JAX's coordination service when another process is gone.
_LOST = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "coordination", "Connection")


class LaunchError(UserError):
    """Error: a run's processes cannot find each other or lost one; the message names the variable and the remedy."""


@dataclass(frozen=True)
class Cluster:
    """Place of this process in a run, or the source from which JAX reads it."""

    found: str  # source of the place, for messages
    method: str | None = "deactivate"  # JAX's method to find the rest; "deactivate": nothing is missing; None: any
    coordinator: str | None = None  # host:port where process 0 listens
    num_processes: int | None = None
    process_id: int | None = None
    all_gpus: bool = False  # whether this process uses all GPUs of its machine, although JAX would take one


def discover(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Cluster | None:
    """Find the place of this process in the run; None if it is the only one.

    Args:
      coordinator, num_processes, process_id: values of the flags, which take precedence over everything else. With only
        `num_processes=1`, there is one process, whatever the environment says.
      environment: environment variables; None: those of this process.

    Raises:
      LaunchError: if flags or variables are incomplete or contradict each other.
    """
    env = os.environ if environment is None else environment
    flags = {"--coordinator": coordinator, "--num-processes": num_processes, "--process-id": process_id}
    if any(value is not None for value in flags.values()):
        if num_processes == 1 and process_id in (None, 0):
            return None
        if missing := [flag for flag, value in flags.items() if value is None]:
            raise LaunchError(f"{' and '.join(missing)} must be given too, on every process: host:port of process 0, "
                              "the number of processes, and the number of this one, from 0")  # fmt: skip
        return _told("flags", coordinator, num_processes, process_id)
    return _from_jax(env) if "JAX_COORDINATOR_ADDRESS" in env else _from_launcher(env)


def place(number: int | None = None, count: int | None = None, environment: Mapping[str, str] | None = None) -> "Place":
    """Find the place of this process among processes that do the same work apart, without connecting to the others.

    Args:
      number, count: values of the flags `--process-id` and `--num-processes`, which take precedence; None: as the
        launcher says.
      environment: environment variables; None: those of this process.

    Raises:
      LaunchError: if flags or variables are incomplete or contradict each other, or do not tell the place.
    """
    env = os.environ if environment is None else environment
    if (number is None) != (count is None):
        raise LaunchError(
            "give both --num-processes and --process-id, or neither: the launcher's variables are used then"
        )
    if number is not None and count is not None:
        return _checked("the flags", number, count)
    cluster = discover(environment=env)
    if cluster is None:
        return Place(0, 1)
    if cluster.process_id is not None and cluster.num_processes is not None:
        return _checked(cluster.found, cluster.process_id, cluster.num_processes)
    names = _PLACES.get(cluster.method or "")
    if names is None:
        raise LaunchError(
            f"by {cluster.found} this process is one of several that share a computation, which this command does not "
            "need: start it on each host with --num-processes=COUNT --process-id=NUMBER"
        )
    own, all_of_them, local = (_number(env, name, f"set by {cluster.found}") for name in names)
    return _checked(cluster.found, own, all_of_them, None if cluster.all_gpus else local)


@dataclass(frozen=True)
class Place:
    """Place of a process among several.

    Attributes:
      number: number of the process, from 0.
      count: number of processes.
      gpu: number of the GPU that it has to itself; None: all that it sees.
    """

    number: int
    count: int
    gpu: int | None = None

    def claim(self) -> None:
        """Make JAX use only the GPU of this process. Call this before anything imports JAX."""
        if self.gpu is not None:
            os.environ.setdefault("JAX_CUDA_VISIBLE_DEVICES", str(self.gpu))


# Method of JAX → variables with the number of a process, the number of processes, and the number on its machine.
_PLACES = {
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    "ompi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}


def _checked(found: str, number: int, count: int, gpu: int | None = None) -> Place:
    if not 0 <= number < count:
        raise LaunchError(f"{found}: process {number} of {count}: must be 0…{count - 1}")
    return Place(number, count, gpu)


def add_place_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options `--num-processes` and `--process-id`, for `place`, to a parser."""
    told = "to share the work among processes that no launcher started"
    parser.add_argument("--num-processes", type=int, metavar="COUNT", help=f"number of processes, {told}")
    parser.add_argument("--process-id", type=int, metavar="NUMBER", help="number of this process, from 0")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options `--coordinator`, `--num-processes` and `--process-id`, for `discover`, to a parser."""
    parser.add_argument("--coordinator", help="host:port of process 0, if no launcher sets it")
    parser.add_argument(
        "--num-processes", type=int, metavar="COUNT", help="number of processes of the run; with --coordinator"
    )
    parser.add_argument(
        "--process-id", type=int, metavar="NUMBER", help="number of this process, from 0; with --coordinator"
    )


def join(cluster: Cluster | None, say: Callable[[str], None] = print) -> None:
    """Connect this process with the others (None: do nothing). Call this before any other use of JAX.

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
            [] if cluster.all_gpus else None,
            cluster_detection_method=cluster.method,
            initialization_timeout=_CONNECT_SECONDS,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except Exception as error:  # of many kinds, if a launcher's variables are not as JAX expects
        if cluster.method is None and "coordinator_address should be defined" in str(error):
            return  # this machine's metadata name no TPU slice
        raise LaunchError(_not_met(cluster, error)) from error
    if cluster.coordinator is None and jax.process_index() == 0:
        say(f"{jax.process_count()} processes (by {cluster.found})")


def _not_met(cluster: Cluster, error: Exception) -> str:
    """Message for an error raised while the processes were connecting."""
    reason = f"{type(error).__name__}: {_first_line(error)}" if _first_line(error) else type(error).__name__
    if cluster.coordinator is None:
        return (
            f"by {cluster.found} this process could not connect to the others ({reason}). Give --num_processes=1 if "
            "it is the only one, or --coordinator, --num_processes and --process_id on every process"
        )
    return (
        f"process {cluster.process_id} of {cluster.num_processes} (by {cluster.found}) could not connect to the others "
        f"at {cluster.coordinator} ({reason}). Are all of them running, and can they reach that port?"
    )


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Context that raises a `LaunchError` when a collective fails because another process is gone.

    A process that waits outside a collective, which would report the loss, is ended by JAX's heartbeat within about
    half a minute. After an error of its own, one of several processes exits at once, so that the others notice.
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
            f"see its own output. The same command continues from the last checkpoint. ({_first_line(error)})"
        ) from error


def leave(status: int) -> int:
    """End a command with its exit status; after an error, one of several processes does not wait for the others."""
    if "jax" in sys.modules and status:
        import jax

        if jax.distributed.is_initialized():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return status


def skip_tpu_search() -> None:
    """Make JAX use the CPU without searching for accelerators if the machine has none, see `_has_only_cpu`.

    With libtpu or the GPU compiler installed, as `vidjax plan` needs them, JAX would first look for a TPU and a GPU,
    and print long messages that there is none. Has no effect once JAX is imported, which is when it reads
    `JAX_PLATFORMS`, nor if that variable is set, even to an empty value.
    """
    if "jax" not in sys.modules and _has_only_cpu(os.environ):
        os.environ["JAX_PLATFORMS"] = "cpu"


# Variables that point JAX or libtpu to TPUs, including remote ones; the second one marks machines without any.
_TPU_VARIABLES = ("TPU_", "LIBTPU_", "JAX_FORCE_TPU_INIT", "MEGASCALE_", "COLAB_TPU", "GCE_METADATA_IP", "PJRT_")
_NO_TPU_VARIABLE = "TPU_SKIP_MDS_QUERY"
_TPUS = ("/dev/accel*", "/dev/vfio/[0-9]*")
_CUDA = "jax_plugins.xla_cuda"
_GPUS = ("/dev/nvidia*", "/dev/dxg", "/dev/kfd", "/dev/dri/renderD*")


def _has_only_cpu(env: Mapping[str, str]) -> bool:
    """Whether JAX would look for a TPU or NVIDIA GPU with no sign of one, of another backend or of a user's choice."""
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
    """Modules that add backends to JAX, found in the same way as by JAX."""
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    package = find_spec("jax_plugins")
    folders = package.submodule_search_locations if package else None
    return {f"jax_plugins.{module.name}" for module in pkgutil.iter_modules(folders or [])} | {
        point.value for point in entry_points(group="jax_plugins")
    }


def _may_be_tpu(vendor: str) -> bool:
    """Whether a device on the PCI bus, where JAX looks for TPUs, is Google's, but not a network card or disk.

    Args:
      vendor: path of the file with the vendor's number; the file with the device class is beside it.
    """
    numbers = []
    for path in (vendor, os.path.join(os.path.dirname(vendor), "class")):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            numbers.append(file.read().strip())
    return numbers[:1] == [_GOOGLE] and not "".join(numbers[1:]).startswith(_DISKS_AND_NETWORKS)


def _told(found: str, coordinator: str, num_processes: int, process_id: int) -> Cluster | None:
    """Check and return a fully specified place; None if there is only one process."""
    if num_processes == 1:
        return None
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise LaunchError(f"{found}: the coordinator {coordinator!r} must be host:port of process 0")
    if not 0 <= process_id < num_processes:
        raise LaunchError(f"{found}: process {process_id} of {num_processes}: must be 0…{num_processes - 1}")
    return Cluster(found, "deactivate", coordinator, num_processes, process_id)


def _from_jax(env: Mapping[str, str]) -> Cluster | None:
    """Place given by JAX's own variables. A Kubernetes Job numbers its pods; `JAX_PROCESS_ID` takes precedence."""
    index = "JAX_PROCESS_ID" if "JAX_PROCESS_ID" in env else "JOB_COMPLETION_INDEX"
    return _told(
        f"JAX_COORDINATOR_ADDRESS and {index}",
        env["JAX_COORDINATOR_ADDRESS"],
        _number(env, "JAX_NUM_PROCESSES", "set with JAX_COORDINATOR_ADDRESS"),
        _number(env, index, "set with JAX_COORDINATOR_ADDRESS (or JAX_PROCESS_ID)"),
    )


_SLURM = {"SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID"}  # set in a step started by `srun`


def _from_launcher(env: Mapping[str, str]) -> Cluster | None:
    """Launcher that started this process with others; JAX gets its name and reads the rest itself.

    The name is passed because JAX's own detection takes any Kubernetes pod for one of many. Only on a TPU machine is
    detection left to JAX: nothing else shows whether there are other processes.
    """
    if env.keys() >= _SLURM and env.get("SLURM_NTASKS") != "1":
        # JAX gives each task one GPU. A task alone on its machine, or with its own visible GPUs, uses all of them.
        tasks = env.get("SLURM_STEP_TASKS_PER_NODE", env.get("SLURM_TASKS_PER_NODE", "1"))
        alone = all(part.split("(")[0] == "1" for part in tasks.split(","))
        return Cluster("SLURM", "slurm", all_gpus=_all_gpus(env, alone))
    if "OMPI_MCA_orte_hnp_uri" in env and env.get("OMPI_COMM_WORLD_SIZE") != "1":
        return Cluster("Open MPI", "ompi", all_gpus=_all_gpus(env, env.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1"))
    hosts = env.get("TPU_PROCESS_ADDRESSES", env.get("TPU_WORKER_HOSTNAMES", ""))
    if hosts:
        several = "," in hosts or int(env.get("MEGASCALE_NUM_SLICES") or 1) > 1
        return Cluster("TPU_WORKER_HOSTNAMES", "gketpu") if several else None
    wanted = "tpu" in env.get("JAX_PLATFORMS", "") or not env.get("JAX_PLATFORMS")
    if wanted and not {"TPU_SKIP_MDS_QUERY", "KUBERNETES_SERVICE_HOST"} & env.keys() and _has_tpu():
        return Cluster("the metadata of this TPU machine", None)
    return None


def _all_gpus(env: Mapping[str, str], alone: bool) -> bool:
    bound = "," not in env.get("CUDA_VISIBLE_DEVICES", env.get("ROCR_VISIBLE_DEVICES", ","))
    return (alone or bound) and "JAX_LOCAL_DEVICE_IDS" not in env


def _has_tpu() -> bool:
    from importlib.util import find_spec

    return bool(find_spec("libtpu") and any(glob.glob(pattern) for pattern in _TPUS))


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
