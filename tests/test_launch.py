"""How a process learns its place among others: flags and each launcher's variables, and what is wrong with them."""

import http.server
import threading

import pytest

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
