"""A web server on this machine that knows ranges, or does not, or stalls."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """What a server serves, and what it has been asked.

    Attributes:
      files: by path, "/clip.mp4".
      ranges: whether it honours them.
      stall: requests for the bytes of a file get no answer.
      url: where it is.
      sent: bytes of files sent so far.
      open: connections that are being served.
    """

    def __init__(self, files: dict[str, bytes], ranges: bool = True):
        self.files, self.ranges, self.stall, self.url, self.sent, self.open = files, ranges, False, "", 0, 0


@contextlib.contextmanager
def serve(files: dict[str, bytes], *, ranges: bool = True) -> Iterator[Site]:
    """Serves `files` on 127.0.0.1."""
    site = Site(files, ranges)
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            site.open += 1
            try:
                if site.stall:
                    self._wait_for_the_end()
                else:
                    self._answer(body=True)
            finally:
                site.open -= 1

        def _wait_for_the_end(self):
            self.connection.settimeout(0.02)
            while not over.is_set():
                try:
                    if not self.connection.recv(1):
                        break  # the client has hung up
                except TimeoutError:
                    continue
                except OSError:
                    break
            self.close_connection = True

        def _answer(self, body):
            data = site.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            size, status = len(data), 200
            if wanted and site.ranges:
                first, last = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
                data, status = data[first : last + 1], 206
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            if site.ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                site.sent += len(data)
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def wait_until(true, seconds: float = 10.0) -> bool:
    """Whether `true()` has come about in time."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(true())
