"""The HTTP interface, with a run that needs no network: what is answered, what is refused, and by which status."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from tests import servers
from tests.client import VIDEO, ask, form
from tests.servers import wait_until
from vidjax.data.views import Views
from vidjax.serving.app import Server
from vidjax.serving.limits import Limits
from vidjax.video import VideoError


class Sizes:
    """The answer: how many bytes a file has, by way of the network."""

    summary, schema = "Size of a file.", {"type": "object"}
    fields = {"unit": {"type": "string"}}  # noqa: RUF012

    def __init__(self, read):
        self._read = read

    def read(self, path, given):
        inputs, views = self._read(path)
        return inputs, (views, given.get("unit", "bytes"))

    def of(self, read, outputs):
        return {read[1][1]: int(outputs[0])}


class FakeRun:
    """Files are numbers of bytes; some words in them do what hostile files might."""

    facts = {"model": "sizes", "classes": []}  # noqa: RUF012

    def __init__(self):
        self.answers = {"size": Sizes(self.read)}
        self.paths, self.go = [], threading.Event()

    def read(self, path):
        self.paths.append(Path(path))
        content = Path(path).read_bytes()
        if content.startswith(b"broken"):
            raise VideoError(path, f"is broken ({path})", "mend it")
        if content.startswith(b"defect"):
            raise RuntimeError(f"IndexError in {path}")
        if content.startswith(b"slow"):
            self.go.wait(10)
        size = np.array([len(content)])
        return {"video": size}, Views(*[np.zeros((1, 1))] * 2, np.zeros(1, bool), np.zeros((1, 2, 3)))

    def blank(self):
        return {"video": np.int64(0)}

    def compute(self, views, size):
        return np.stack([view["video"] for view in views])


@contextlib.contextmanager
def running(folder, limits=None, run=None, hosts=()):
    """A server in a thread: its port, the `Server`, and the run."""
    run = run or FakeRun()
    server = Server(run, limits or Limits(max_bytes=1000, queue=4, seconds=5, threads=4), folder, hosts)
    inner = uvicorn.Server(uvicorn.Config(server.app, log_config=None, lifespan="on", ws="none", http="h11"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=inner.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert wait_until(lambda: inner.started and server._ready, 120)
            yield port, server, run
        finally:
            if isinstance(run, FakeRun):
                run.go.set()
            inner.should_exit = True
            thread.join(60)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    with running(folder) as (port, server, run):
        yield port, server, run, folder


def test_a_file_is_sent_as_a_body_or_in_a_form(served):
    port, _, run, folder = served
    for kind in (VIDEO, "application/octet-stream", "audio/ogg", "Video/MP4; codecs=avc1"):
        assert ask(port, "/size", b"x" * 123, kind) == (200, {"bytes": 123})
    assert ask(port, "/size", *form(b"y" * 77)) == (200, {"bytes": 77})
    assert {path.parent for path in run.paths} == {folder} and "passwd" not in str(run.paths), (
        "names are the server's own"
    )
    assert not list(folder.iterdir()), "files are removed"


def test_what_is_refused_has_its_status(served):
    port, server, _, folder = served
    twice = form(b"a")[0].replace(b"--\r\n", b"\r\n") + form(b"b")[0]
    for status, content, kind, words in (
        (413, b"x" * 1001, VIDEO, "larger than 1,000 bytes"),
        (413, *form(b"x" * 1001), "larger than 1,000 bytes"),
        (413, *form(b"x" * 3_000_000), "larger than 1,000 bytes"),
        (415, b"x", "text/plain", "content type text/plain"),
        (415, b"x", "", "content type missing"),
        (415, b"x", "video/", "content type video/"),
        (415, b'{"url": "http://127.0.0.1/"}', "application/json", "content type application/json"),
        (422, b"", VIDEO, "empty (0 bytes)"),
        (422, b"broken", VIDEO, "the file is broken (upload); mend it"),
        (422, b"defect", VIDEO, "the file cannot be decoded"),
        (422, b"nothing", "multipart/form-data; boundary=x", "the form"),
        (422, b"nothing", "multipart/form-data", "the form cannot be read"),
        (422, form(b"a", file="")[0].replace(b'; filename=""', b""), form(b"")[1], "the form"),
        (422, twice, "multipart/form-data; boundary=" + twice[2:34].decode(), "the form"),
    ):
        found, told = ask(port, "/size", content, kind)
        assert (found, words in told["detail"]) == (status, True), (told, content[:20], kind)
        assert str(folder) not in told["detail"]
    assert server.metrics.defects._value.get() == 1 and not list(folder.iterdir())
    assert ask(port, "/size")[0] == 405 and ask(port, "/nothing", b"x")[0] == 404
    assert ask(port, "/size", b"x" * 9) == (200, {"bytes": 9})


def test_fields_stand_in_the_address_or_in_the_form(served):
    port, *_ = served
    content, kind = form(b"y" * 77)
    field = b'--%s\r\nContent-Disposition: form-data; name="unit"\r\n\r\noctets\r\n' % content[2:34]
    assert ask(port, "/size?unit=octets", b"x" * 5) == (200, {"octets": 5})
    assert ask(port, "/size", field + content, kind) == (200, {"octets": 77})
    for path, body in (("/size?colour=red", b"x"), ("/size", field.replace(b'"unit"', b'"colour"') + content)):
        status, told = ask(port, path, body, VIDEO if body == b"x" else kind)
        assert status == 422 and told["detail"] == "the field colour is unknown; this answer takes unit"
    post = ask(port, "/openapi.json")[1]["paths"]["/size"]["post"]
    assert [(each["name"], each["in"]) for each in post["parameters"]] == [("unit", "query")]
    in_form = post["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(in_form["properties"]) == {"file", "unit"} and in_form["required"] == ["file"]


def test_an_upload_of_unknown_length_is_counted(served):
    port, *_ = served

    def pieces(count):
        for _ in range(count):
            yield b"z" * 100

    assert ask(port, "/size", pieces(10)) == (200, {"bytes": 1000})
    assert ask(port, "/size", pieces(11))[0] == 413


def test_health_readiness_figures_and_the_interface(served):
    port, *_ = served
    assert ask(port, "/health") == (200, {"status": "ok", "model": "sizes", "classes": []})
    assert ask(port, "/ready") == (200, {"status": "ready"})
    ask(port, "/size", b"x")
    status, text = ask(port, "/metrics")
    assert status == 200 and 'vidjax_requests_total{answer="size",status="200"}' in text
    assert "vidjax_batch_views_bucket" in text and "vidjax_requests_in_flight 0.0" in text
    _, interface = ask(port, "/openapi.json")
    post = interface["paths"]["/size"]["post"]
    assert {"413", "415", "422", "429", "504"} <= set(post["responses"])
    assert {"multipart/form-data", "video/*"} <= set(post["requestBody"]["content"])
    assert ask(port, "/docs")[0] == 404, "it would fetch scripts from elsewhere"


def test_more_requests_than_the_queue_holds_and_those_that_take_too_long(tmp_path):
    with running(tmp_path, Limits(max_bytes=1000, queue=2, seconds=0.5, threads=2)) as (port, server, run):
        with ThreadPoolExecutor(2) as pool:
            slow = [pool.submit(ask, port, "/size", b"slow") for _ in range(2)]
            assert wait_until(lambda: server._in_flight == 2)
            assert ask(port, "/size", b"x")[0] == 429
            for each in slow:
                status, told = each.result()
                assert status == 504 and "within 0.5 s" in told["detail"]
        run.go.set()
        assert wait_until(lambda: not list(tmp_path.iterdir()))
        assert ask(port, "/size", b"x") == (200, {"bytes": 1})
        with socket.create_connection(("127.0.0.1", port)) as client:  # a body that does not come
            client.sendall(
                b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: 9\r\n\r\nhalf"
            )
            assert b" 408 " in client.recv(1000)


def test_not_ready_until_it_is_compiled(tmp_path):
    run = FakeRun()
    hold, compute = threading.Event(), run.compute

    def slow(views, size):
        hold.wait(10)
        return compute(views, size)

    run.compute = slow
    server = Server(run, Limits(max_batch=1), tmp_path)
    assert not server._ready
    server.warm_up()
    time.sleep(0.05)
    assert not server._ready
    hold.set()
    assert wait_until(lambda: server._ready)
    server.close()
    assert not server._ready


def test_addresses_of_allowed_hosts_are_fetched_and_no_others(tmp_path):
    files = {"/a.mp4": b"w" * 50, "/large.mp4": b"w" * 100_001}
    limits = Limits(max_bytes=100_000, seconds=5)
    with servers.serve(files) as site, running(tmp_path, limits, hosts=["127.0.0.1"]) as (port, _, _):

        def ask_for(address):
            return ask(port, "/size", b'{"url": "%s"}' % address.encode(), "application/json")

        assert ask_for(f"{site.url}/a.mp4") == (200, {"bytes": 50})
        told = b'{"url": "%s/a.mp4", "unit": "octets"}' % site.url.encode()
        assert ask(port, "/size", told, "application/json") == (200, {"octets": 50})
        for status, address, words in (
            (413, f"{site.url}/large.mp4", "larger"),
            (422, f"{site.url}/none.mp4", "answers with 404"),
            (422, f"http://localhost:{site.url.rpartition(':')[2]}/a.mp4", "host localhost are not taken"),
            (422, "file:///etc/passwd", "must be http"),
            (422, "http://127.0.0.1:1/a.mp4", "gives no file"),
            (422, "http://user@127.0.0.1/a.mp4", "without a user"),
            (422, "http://[", "cannot be read"),
        ):
            found, told = ask_for(address)
            assert found == status and words in told["detail"], told
        for text in (b"[]", b"{", b"[" * 60_000, b'{"url": 7}'):
            assert ask(port, "/size", text, "application/json")[0] == 422
        assert ask(port, "/size", b"[" * 70_000, "application/json")[0] == 413
        assert site.sent <= 2 * 50 + 100_001


def test_a_name_that_leads_inside_is_refused(monkeypatch, tmp_path):
    from vidjax.serving import addresses

    for number in ("127.0.0.1", "10.0.0.7", "169.254.169.254", "::1", "fe80::1%eth0"):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, n=number, **__: [(0, 0, 0, "", (n, 80))])
        with pytest.raises(addresses.AddressError, match="is not public"):
            addresses.fetch("http://inside.example/x", tmp_path / "x", hosts=["inside.example"], most=9, seconds=1)
