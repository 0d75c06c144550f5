"""A client of `vidjax serve`, and a server process for it."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

VIDEO = "video/mp4"


def ask(port: int, path: str, content: Any = None, kind: str = VIDEO) -> tuple[int, Any]:
    """Status and content of a response; a POST if there is `content`, bytes or pieces of them."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        headers = {"Content-Type": kind} if content is not None and kind else {}
        connection.request("GET" if content is None else "POST", path, content, headers)
        response = connection.getresponse()
        text = response.read()
        told = response.headers.get("Content-Type", "")
        return response.status, json.loads(text) if told == "application/json" else text.decode(errors="replace")
    finally:
        connection.close()


def form(content: bytes, name: str = "file", file: str = "../../etc/passwd") -> tuple[bytes, str]:
    """Body and content type of a form with one file."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@dataclass
class Served:
    """A server process, its port, and what it has printed."""

    process: subprocess.Popen
    port: int
    first_line: str


@contextlib.contextmanager
def serving(run: str, *options: str) -> Iterator[Served]:
    """A server process of a run, ready."""
    with listening("serve", run, *options) as served:
        deadline = time.monotonic() + 300
        while ask(served.port, "/ready")[0] != 200:
            assert served.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield served


@contextlib.contextmanager
def listening(command: str, run: str, *options: str) -> Iterator[Served]:
    """A process of a command that listens at a port of its own."""
    words = [sys.executable, "-m", "vidjax", command, run, "--port", "0", *options]
    environment = os.environ | {"COLUMNS": "1000"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stderr.readline()
        yield Served(process, int(re.search(r"http://127.0.0.1:(\d+)", line)[1]), line)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()


def tree_memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    total, todo = 0, [pid]
    while todo:
        each = todo.pop()
        with contextlib.suppress(OSError, IndexError):
            with open(f"/proc/{each}/statm") as file:
                total += int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children") as file:
                    todo += map(int, file.read().split())
    return total
