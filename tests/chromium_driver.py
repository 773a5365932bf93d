"""Drives a real Chromium over the pipe of its DevTools protocol: no driver program and no other package is needed."""

import contextlib
import json
import os
import pathlib
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pages_in_chromium

_PATIENCE = 60.0  # seconds for one command


class Browser:
    """One page of a browser."""

    def __init__(self, write: int, read: int):
        self._write, self._read, self._number, self._buffer = write, read, 0, b""
        self._session: str | None = None
        self.requests: list[str] = []  # addresses that the page has asked for
        self.problems: list[str] = []  # what the console says is wrong
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Returns the result of a command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _PATIENCE
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer.get("result", {})

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            self._buffer += os.read(self._read, 1 << 16)
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:500])
        return message

    def run(self, script: str) -> Any:
        """Returns the value of an expression in the page; a promise is waited for."""
        found = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 30.0) -> None:
        """Waits until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(0.05)

    def open(self, url: str, *, width: int = 1200, height: int = 900, is_dark: bool = False) -> None:
        """Opens a page and waits until it has loaded."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.command("Emulation.setEmulatedMedia", features=scheme)
        self.command("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def key(self, key: str, *, text: str = "", modifiers: int = 0) -> None:
        """Presses a key."""
        codes = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32}
        part = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0), "modifiers": modifiers}
        self.command("Input.dispatchKeyEvent", type="keyDown", **part, **({"text": text} if text else {}))
        self.command("Input.dispatchKeyEvent", type="keyUp", **part)

    def type(self, text: str) -> None:
        """Types text where the focus is."""
        self.command("Input.insertText", text=text)

    def choose(self, selector: str, *files: pathlib.Path) -> None:
        """Chooses files in an input."""
        document = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def screenshot(self, path: pathlib.Path) -> None:
        """Writes what the page shows as PNG."""
        import base64

        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))

    def findings(self) -> list[dict[str, Any]]:
        """Returns what axe-core finds wrong, serious or critical."""
        script = pages_in_chromium.axe()
        assert script
        self.run(script.read_text("utf-8") + "; 0")
        found = self.run(
            "axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify("
            "found.violations.map(rule => ({id: rule.id, impact: rule.impact, "
            "nodes: rule.nodes.slice(0, 3).map(node => node.html.slice(0, 200))}))))"
        )
        return [rule for rule in json.loads(found) if rule["impact"] in ("serious", "critical")]


@contextlib.contextmanager
def browser(*headers: tuple[str, str]) -> Iterator[Browser]:
    """Yields a browser that sends these headers with every request."""
    program = pages_in_chromium.browser()
    assert program
    to_browser, from_browser = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        # The protocol reads descriptor 3 and writes descriptor 4.
        script = f'exec "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *options, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_browser[0], from_browser[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            made = Browser(to_browser[1], from_browser[0])
            if headers:
                made.command("Network.setExtraHTTPHeaders", headers=dict(headers))
            yield made
        finally:
            process.terminate()
            process.wait(20)
            for descriptor in (*to_browser, *from_browser):
                os.close(descriptor)
