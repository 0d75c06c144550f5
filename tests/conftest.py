"""Eight fake devices, no rank promotion, and the shared material or a reason to skip."""

import collections
import ctypes
import gc
import os
import sys
import tempfile
from pathlib import Path

import hypothesis
import jax
import pytest

# Compiling is most of what the tests cost. XLA's own passes, which make the program, stay. The machine code of each
# part comes from the older of two generators, with less work by LLVM: half of the time in all.
_CHEAP = {
    "--xla_backend_optimization_level": "0",
    "--xla_cpu_use_fusion_emitters": "false",
    "--xla_llvm_disable_expensive_passes": "true",
}
if tuple(map(int, jax.__version__.split(".")[:2])) > (0, 12):  # XLA aborts on a flag that it has dropped
    del _CHEAP["--xla_cpu_use_fusion_emitters"]
_given = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = " ".join([_given, *(f"{k}={v}" for k, v in _CHEAP.items() if k not in _given)]).strip()

# An example may compile a program first.
hypothesis.settings.register_profile("vidjax", deadline=None)
hypothesis.settings.load_profile("vidjax")

# Also of the processes that tests start. With the TPU compiler installed JAX would look for a TPU first, and say at
# length that there is none.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Many tests compile the same programs, in both workers and in the processes that they start. A folder named in the
# environment is kept, so that running a few tests again costs little.
_FOLDER, _LEAST = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
_compiled = os.environ.get(_FOLDER)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_configure(config):
    global _compiled
    if not _compiled:
        if hasattr(config, "workerinput"):
            _compiled = config.workerinput["compiled"]
        else:
            folder = tempfile.TemporaryDirectory(prefix="vidjax-tests-")
            config.add_cleanup(folder.cleanup)
            _compiled = folder.name
    jax.config.update("jax_compilation_cache_dir", _compiled)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    node.workerinput["compiled"] = _compiled


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks for some cases of a parametrised test: `slow(after=N, first=M)`.

    The first N always run, the next M are slow, and all others exhaustive. Without `after` none always run; without
    `first` none are exhaustive. What is exhaustive by a mark of its own is never slow, and does not count.
    """
    seen = collections.Counter()
    for item in items:
        if item.get_closest_marker("exhaustive"):
            item.own_markers[:] = [mark for mark in item.own_markers if mark.name != "slow"]
            continue
        mark = item.get_closest_marker("slow")
        if mark is None or not mark.kwargs:
            continue
        test = item.nodeid.partition("[")[0]
        seen[test] += 1
        after, first = mark.kwargs.get("after", 0), mark.kwargs.get("first", len(items))
        if not after < seen[test] <= after + first:
            item.own_markers.remove(mark)
            if seen[test] > after:
                item.add_marker(pytest.mark.exhaustive)


@pytest.fixture(scope="session", autouse=True)
def _processes_share_compiled_programs():
    """Not at import: the process that hands out the tests would pass it on to its workers as if a user had named it."""
    os.environ[_FOLDER] = _compiled
    os.environ.setdefault(_LEAST, "0.3")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and reference facts; tests that need it skip where it is absent."""
    path = Path(os.environ.get("VIDJAX_SHARED", Path(__file__).parents[2] / "shared"))
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the shared material; {path} is no folder")
        pytest.skip(f"needs the shared material: {path} is no folder (set VIDJAX_SHARED)")
    return path


@pytest.fixture(autouse=True)
def _full_size_networks_leave_nothing_behind(request):
    """Compiled full-size networks hold gigabytes of weights; a run of all of them would fill the machine."""
    yield
    if request.node.get_closest_marker("slow") or request.node.get_closest_marker("exhaustive"):
        jax.clear_caches()
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def halves(tmp_path_factory) -> Path:
    """A tiny data set of real videos in two classes."""
    from tests.videos import write_halves

    return write_halves(tmp_path_factory.mktemp("halves"))
