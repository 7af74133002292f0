"""``muxado`` processes that need not import anything: each is a fork of one that has done so, and else like any other.

To start an interpreter and to import what a command needs takes half a second of a processor, and tests start hundreds.
So the first that starts one starts a *stock* first: ``python -m tests.cli.warm``, which imports and then waits.  For each
process that is wanted it gets the ends of the pipes, forks a *minder*, and that forks the process, which takes its arguments and
its environment, leaves all that is here, and runs ``python -m muxado_py`` to the end of the interpreter.  The minder says the
process' id, and how it ended; the process stays a zombie until that was heard, so no signal can reach another.

What has imported trio takes other ways also on asyncio, so there is a stock for each of both.

What is shown of the start itself needs a process that nobody has prepared: :func:`~.processes.run` and ``command``.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

__all__ = ("WarmProcess",)

ROOT = Path(__file__).parent.parent.parent
LOOPS = {
    "asyncio": ("anyio._backends._asyncio", "uvloop"),
    "trio": ("anyio._backends._trio",),
}
USED = (
    "uvicorn.config",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.auto",
    "tests.cli.apps",
)


class WarmProcess:
    """One of them, as :class:`subprocess.Popen` would have it; its output is read from pipes, as text."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        stock = _stock("trio" if "trio" in arguments else "asyncio")
        out, its_out = os.pipe()
        err, its_err = os.pipe()
        self._minder, its_end = socket.socketpair()
        socket.send_fds(stock, [b"."], [its_out, its_err, its_end.fileno()])
        for one in (its_out, its_err):
            os.close(one)
        its_end.close()
        wanted = {"arguments": arguments, "environment": dict(os.environ)}
        self._minder.sendall(json.dumps(wanted).encode() + b"\n")
        self.stdout: IO[str] = open(out, encoding="utf-8")  # noqa: SIM115 - whoever has this closes it
        self.stderr: IO[str] = open(err, encoding="utf-8")  # noqa: SIM115
        self._said = b""
        self.pid = int(self._line(30.0))
        self._code: int | None = None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float) -> int:
        if self._code is None:
            self._code = int(self._line(timeout))
            self._minder.close()
        return self._code

    def _line(self, timeout: float) -> bytes:
        self._minder.settimeout(timeout)
        while b"\n" not in self._said:
            try:
                piece = self._minder.recv(100)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("muxado", timeout) from None
            assert piece, "its minder is gone"
            self._said += piece
        line, _, self._said = self._said.partition(b"\n")
        return line


@functools.cache
def _stock(loop: str) -> socket.socket:
    """Where to ask for a process; what is there ends with this one."""
    ours, its = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.warm", loop, str(its.fileno())],
        stdout=subprocess.DEVNULL,
        pass_fds=[its.fileno()],
        cwd=ROOT,
    )
    its.close()

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait(30)

    return ours


def prepare(loop: str) -> None:
    """Import what a command needs, and nothing of the other loops."""
    used = [*LOOPS[loop], *USED]
    cli = importlib.import_module("muxado_py.cli")
    used += (one.name for one in pkgutil.walk_packages(cli.__path__, "muxado_py.cli."))
    for name in used:
        if loop != "trio" and name.endswith("anycorn"):
            continue
        with suppress(ImportError):  # with the lowest dependencies some are not there
            importlib.import_module(name)
    assert loop == "trio" or "trio" not in sys.modules


def wait_for_work(stock: socket.socket) -> None:
    """Returns in each process that is wanted, when it is like one that was just started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a minder ended
    while True:
        _, ends, _, _ = socket.recv_fds(stock, 1, 3)
        if not ends:
            sys.exit()
        if not os.fork():
            break
        for one in ends:
            os.close(one)
    stock.close()
    out, err, end = ends
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=end) as asking:
        with asking.makefile("rb") as lines:
            wanted = json.loads(lines.readline())
        pid = os.fork()
        if pid:
            os.close(out)
            os.close(err)
            mind(pid, asking)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv[1:] = wanted["arguments"]


def mind(pid: int, asking: socket.socket) -> None:
    """Tell of a process what its parent hears; does not return."""
    with suppress(OSError):  # whoever asked may be gone
        asking.sendall(b"%d\n" % pid)
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    with suppress(OSError):
        asking.sendall(b"%d\n" % code)
        asking.recv(1)
    os.waitpid(pid, 0)
    os.kill(
        os.getpid(), signal.SIGKILL
    )  # it has nothing to clean up, and the stock's is not its own


if __name__ == "__main__":
    prepare(sys.argv[1])
    wait_for_work(socket.socket(fileno=int(sys.argv[2])))
    runpy.run_module("muxado_py", run_name="__main__", alter_sys=True)
