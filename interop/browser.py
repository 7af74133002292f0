"""A real browser, moved by a test: Chromium without a window, by its DevTools protocol.

What it is.  :func:`find_browser` is the program: one in ``PATH``, or Debian's, unpacked beside what else a run needs.
:class:`Browser` is a process of it, :class:`Tab` one page in that.

The rules.  It reaches this machine alone: no other name leads anywhere, but for those that a test leads here.  Whatever the
browser complains of on the way (an error in a script, something that a policy forbade) is kept, and a test says which
complaints it expects.

The trap.  The answer to a command may come behind any number of events, which are the complaints.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from base64 import b64decode
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

from .workshop import DebianPrograms, ToolchainError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from websockets.sync.connection import Connection

    from .workshop import Workshop

__all__ = ("Browser", "Tab", "find_browser", "running_browser")

CHROMIUM = DebianPrograms(("chromium-headless-shell",), with_dependencies=True)
PROGRAMS = (
    "chromium-headless-shell",
    "chrome-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
)
PATIENCE = 30.0
"""Seconds for whatever is waited for."""

ALIAS = "rebound.example"
"""A stranger's name that leads to this machine."""


def find_browser(workshop: Workshop, *, fetch: bool) -> list[str]:
    """The command that starts one.

    :param fetch: whether 100 MB may be fetched from Debian if there is none.
    :raises ToolchainError: if there is none.
    """
    for name in PROGRAMS:
        if (found := shutil.which(name)) is not None:
            return [found]
    if not fetch:
        raise ToolchainError(f"no browser in PATH ({', '.join(PROGRAMS)})")
    folder = workshop.program(CHROMIUM)
    libraries = dict.fromkeys(str(one.parent) for one in sorted(folder.rglob("*.so*")))
    program = folder / "usr/lib/chromium/chromium-headless-shell"
    return ["/usr/bin/env", f"LD_LIBRARY_PATH={':'.join(libraries)}", str(program)]


@contextmanager
def running_browser(command: Sequence[str], directory: Path) -> Iterator[Browser]:
    """A browser, until the block is left.

    :param directory: where it may write.
    """
    flags = [
        "--headless",
        "--no-sandbox",  # which root has not
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-proxy-server",
        "--remote-debugging-port=0",
        f"--user-data-dir={directory}",
        f"--host-resolver-rules=MAP {ALIAS} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    ]
    log = directory.with_suffix(".log")
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, *flags],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        with connect(_address(process, log), max_size=None, open_timeout=PATIENCE) as socket:
            yield Browser(socket)
    finally:
        with suppress(ProcessLookupError):  # with what it started, and what started it
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends and process.poll() is None:
        if found := re.search(r"DevTools listening on (ws://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise ToolchainError(f"the browser does not start:\n{log.read_text()[-2000:]}")


class Browser:
    """A process with any number of tabs."""

    def __init__(self, socket: Connection) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []
        """Of all tabs."""

    def open(self, url: str, *, dark: bool = False) -> Tab:
        """A tab that has loaded ``url``.

        :param dark: whether the person likes it dark.
        """
        target = self.call("Target.createTarget", url="about:blank", width=1280, height=900)
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = Tab(self, attached["sessionId"])
        for domain in ("Runtime", "Log", "Page"):
            tab.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        tab.go(url)
        return tab

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """What the browser answers to a command."""
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session is not None:
            command["sessionId"] = session
        self._socket.send(json.dumps(command))
        while True:
            said = json.loads(self._socket.recv(PATIENCE))
            if said.get("id") == self._number:
                break
            self._note(said)
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    def _note(self, event: dict[str, Any]) -> None:
        match event:
            case {"method": "Log.entryAdded", "params": {"entry": entry}}:
                if entry["level"] in ("warning", "error"):
                    self.complaints.append(entry["text"])
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.complaints.append(json.dumps(details))
            case {"method": "Runtime.consoleAPICalled", "params": {"type": kind, "args": args}}:
                if kind in ("warning", "error", "assert"):
                    self.complaints.append(json.dumps(args))
            case {"method": "Page.javascriptDialogOpening", "params": {"message": message}}:
                self.complaints.append(f"a dialog: {message}")


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """See :meth:`Browser.call`."""
        return self._browser.call(method, self._session, **params)

    def go(self, url: str) -> None:
        """Load ``url``."""
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def run(self, script: str) -> Any:
        """The value of an expression; of a promise, what comes of it."""
        done = self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            allowUnsafeEvalBlockedByCSP=False,
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        ends = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < ends, f"waited for {script} in:\n{self.text()}"
            time.sleep(0.02)

    def text(self) -> str:
        """What is to be read on it."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key of the keyboard."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def save_picture(self, path: Path) -> None:
        """What it looks like, as PNG, all of it."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(b64decode(shot["data"]))


def may_fetch() -> bool:
    """Whether this run is one that counts."""
    return os.environ.get("MUXADO_INTEROP") == "require"
