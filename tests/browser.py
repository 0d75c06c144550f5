"""Chromium without a window, driven by its remote debugging protocol through a pipe."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 60.0  # seconds for an answer


class Page:
    """A page of the browser.

    Attributes:
      addresses: addresses that it has asked for.
    """

    def __init__(self, send: int, receive: int):
        self._send, self._receive = os.fdopen(send, "wb", 0), os.fdopen(receive, "rb", 0)
        self._number, self._rest, self._session = 0, b"", None
        self.addresses: list[str] = []

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Result of a command of the protocol."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": params}
        order |= {"sessionId": self._session} if self._session else {}
        self._send.write(json.dumps(order).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            if answer.get("method") == "Network.requestWillBeSent":
                self.addresses.append(answer["params"]["request"]["url"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._receive], [], [], _PATIENCE)[0], "the browser does not answer"
            piece = self._receive.read(1 << 16)
            assert piece, "the browser has ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, address: str) -> None:
        """Go to an address."""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self("Network.enable")
        self("Emulation.setDeviceMetricsOverride", width=1200, height=1000, deviceScaleFactor=1, mobile=False)
        self("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """Value of a JavaScript expression."""
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait(self, expression: str, seconds: float = 120.0) -> Any:
        """Value of an expression as soon as it is true."""
        deadline = time.monotonic() + seconds
        while not (found := self.value(expression)):
            assert time.monotonic() < deadline, f"{expression} has not come about"
            time.sleep(0.1)
        return found

    def upload(self, selector: str, path: Path) -> None:
        """Give a file to an element for files."""
        root = self("DOM.getDocument")["root"]["nodeId"]
        node = self("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def screenshot(self, path: Path) -> Path:
        """Write a PNG picture of the whole page."""
        data = self("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError, AssertionError):
            self._session = None
            self("Browser.close")
        self._send.close()
        self._receive.close()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser that reaches this machine alone; tests skip where there is none.

    Args:
      folder: folder for its profile.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("needs a browser: apt-get install chromium")
    orders, answers = os.pipe(), os.pipe()
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--mute-audio",
        f"--user-data-dir={folder}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-pipe",
    ]  # fmt: skip

    # The browser reads orders from descriptor 3 and answers in descriptor 4.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (orders[0], answers[1])]
    words = ["bash", "-c", f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}', "bash", program, *flags]
    process = subprocess.Popen(words, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for end in (orders[0], answers[1], *ends):
        os.close(end)
    page = Page(orders[1], answers[0])
    try:
        yield page
    finally:
        page.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
