"""``python -m interop.stalled``: one live caller beside many that have stopped reading, or are not read.

What it is.  Two real processes with one session between them, so many callers that stand still, and one that
calls again and again.  Printed are how long its calls take without the others and with them, and what both
processes grew by; the bound that they are compared with is ``Config.session_window``.

- ``--between library``: this process dials, another listens; both are a few lines around the library.
- ``--between tunnel``: ``muxado gateway`` and ``muxado serve``, with TCP callers from here.

``--do download``: the callers ask for an endless answer and read none of it.  ``--do upload``: they send an
endless request that nobody reads.  ``--do wait``: they ask and get no answer, which shows what a caller
costs that holds no bytes: its tasks, its connection's objects, an app server's request.

The traps.  What a process holds is not only what the session holds: an app server keeps what it has read
from a stream and its application has not taken, and each direction of a bridge has a chunk in its hands.  And
what an application has in its own hands is not counted here: a message of its own for each caller that does not
read comes on top.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

import muxado_py as muxado

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping, Sequence

__all__ = ("app", "main")

MIB = 2**20
CHUNK = 64 * 1024
MESSAGE = bytes(CHUNK)
"""What is sent again and again.  It is one object, since what is measured is what muxado_py and the app server
hold: an application that makes a message for each caller holds so many."""
ANSWER = 1000
PATIENCE = 120.0
"""Seconds within which nothing may move any more on the streams that stand still: what the kernel's
buffers take of each is megabytes."""


# The application, once as streams and once for ASGI.


async def handle(stream: muxado.Stream) -> None:
    """One stream of the library's pair; its first bytes say what is wanted."""
    async with stream:
        wanted = await stream.receive(8)  # and no more, for what is read is this side's
        if wanted.startswith((b"upload", b"wait")):
            await anyio.sleep_forever()
        while wanted.startswith(b"download"):
            await stream.send(MESSAGE)
        await stream.send(bytes(ANSWER))


async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """The same for ASGI, told by the path."""
    while scope["type"] == "lifespan":
        event = (await receive())["type"]
        await send({"type": event + ".complete"})
        if event == "lifespan.shutdown":
            return
    if scope["path"] in ("/upload", "/wait"):
        await anyio.sleep_forever()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] == "/download":
        await send({"type": "http.response.body", "body": MESSAGE, "more_body": True})
    await send({"type": "http.response.body", "body": bytes(ANSWER)})


# What is measured.


def rss(pid: int) -> int:
    """What the process holds, in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.findall(r"VmRSS:\s+(\d+)", status.read())[0]) * 1024


def ticks(pids: Sequence[int]) -> int:
    """The processor time that these processes have used, in hundredths of a second."""
    used = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            used += sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))
    return used


def rest(pids: Sequence[int], meanwhile: Callable[[], object] = lambda: time.sleep(0.5)) -> None:
    """Wait until nothing moves any more, by what the processes use of the processor in half a second.

    :param meanwhile: what to do in each half second.
    """
    until, used = time.monotonic() + PATIENCE, ticks(pids)
    while time.monotonic() < until:
        meanwhile()
        before, used = used, ticks(pids)
        if used - before <= 2:
            break


def percentile(times: Sequence[float], rank: float) -> float:
    return statistics.quantiles(times, n=1000, method="inclusive")[min(998, round(rank * 10) - 1)]


def report(
    options: argparse.Namespace, alone: list[float], beside: list[float], grown: dict[str, int]
) -> None:
    """Print it, for people or as JSON."""
    figures = {
        "p50 alone, ms": percentile(alone, 50) * 1e3,
        "p99 alone, ms": percentile(alone, 99) * 1e3,
        "p50 beside, ms": percentile(beside, 50) * 1e3,
        "p99 beside, ms": percentile(beside, 99) * 1e3,
        "p99, times": percentile(beside, 99) / percentile(alone, 99),
        **{f"{name} grew by, MiB": size / MIB for name, size in grown.items()},
        "session_window, MiB": muxado.Config().session_window / MIB,
    }
    if options.json:
        print(json.dumps(figures))
        return
    print(
        f"{options.number} callers, {options.do}, {options.between}, {options.wire}, {options.loop}"
    )
    for name, value in figures.items():
        print(f"  {name:32}{value:10.2f}")


# Two processes around the library.


async def listen(wire: str) -> None:
    """The other process: serve one session, and say first where."""
    async with muxado.listen("tcp://127.0.0.1:0", config=muxado.Config(wire=wire)) as listener:
        print(listener.url, flush=True)

        async def serve(session: muxado.Session) -> None:
            await session.net_listener().serve(handle)

        await listener.serve(serve)


async def call(session: muxado.Session) -> float:
    began = time.perf_counter()
    async with await session.open_stream() as stream:
        await stream.send(b"call")
        left = ANSWER
        while left:
            left -= len(await stream.receive())
    return time.perf_counter() - began


async def stand_still(session: muxado.Session, do: str) -> None:
    """One caller that stands still."""
    with contextlib.suppress(muxado.StreamError):
        stream = await session.open_stream()
        await stream.send(do.encode())
        while do == "upload":
            await stream.send(MESSAGE)
        await anyio.sleep_forever()


async def library(options: argparse.Namespace, url: str, other: int) -> None:
    async with (
        muxado.connect(url, config=muxado.Config(wire=options.wire)) as session,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(options.calls // 4):
            await call(session)  # warm
        before = {"this side": rss(os.getpid()), "the other side": rss(other)}
        alone = [await call(session) for _ in range(options.calls)]
        for _ in range(options.number):
            tasks.start_soon(stand_still, session, options.do)
        await anyio.to_thread.run_sync(rest, (os.getpid(), other))
        beside = [await call(session) for _ in range(options.calls)]
        after = {"this side": rss(os.getpid()), "the other side": rss(other)}
        report(options, alone, beside, {name: after[name] - before[name] for name in after})
        tasks.cancel_scope.cancel()


def run_library(options: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "interop.stalled", "--listen"]
    command += ["--loop", options.loop, "--wire", options.wire]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            url = other.stdout.readline().strip()
            # What stands still is still unsent at the end, and that is the point.
            with contextlib.suppress(muxado.UndeliveredError):
                run(options.loop, library, options, url, other.pid)
        finally:
            other.kill()


# A gateway and an agent.


@contextlib.contextmanager
def command(options: argparse.Namespace, *arguments: str) -> Iterator[tuple[int, list[str]]]:
    """``muxado`` with these arguments: its process, and the lines that it has logged so far."""
    line = [sys.executable, "-m", "muxado_py", *arguments]
    line += ["--loop", options.loop, "--wire", options.wire]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said: list[str] = []
        threading.Thread(target=said.extend, args=(process.stderr,), daemon=True).start()
        try:
            yield process.pid, said
        finally:
            process.kill()


def heard(said: list[str], pattern: str) -> str:
    """What ``pattern`` finds in the log, once it stands there."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if found := re.findall(pattern, "".join(said)):
            return str(found[0])
        time.sleep(0.02)
    raise TimeoutError(f"no {pattern!r} in: {''.join(said)}")


def http_call(port: int) -> float:
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as caller:
        caller.sendall(b"GET /call HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := caller.recv(65536):
            answer += chunk
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"a call was answered {answer[:80]!r}")
    return time.perf_counter() - began


def still_callers(options: argparse.Namespace, port: int) -> list[socket.socket]:
    callers = []
    for _ in range(options.number):
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(("127.0.0.1", port))
        if options.do != "upload":
            caller.sendall(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % options.do.encode())
        else:
            caller.sendall(
                b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
            )
        caller.setblocking(False)
        callers.append(caller)
    return callers


def push(callers: Sequence[socket.socket]) -> None:
    """Send for half a second whatever is taken."""
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        for caller in callers:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                caller.send(bytes(CHUNK))
        time.sleep(0.01)


def run_tunnel(options: argparse.Namespace) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(soft, min(hard, 8 * options.number + 200)), hard)
    )
    doors = ["--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0"]
    limit = ["--limit-concurrency", str(options.number + 10)]
    with contextlib.ExitStack() as stack:
        gateway, said = stack.enter_context(command(options, "gateway", *doors, *limit))
        url = heard(said, r"agents connect to (\S+)")
        port = int(heard(said, r"callers connect to \S+:(\d+)"))
        serve = ["serve", "interop.stalled:app", "--connect", url]
        agent, its_log = stack.enter_context(command(options, *serve, "--no-access-log"))
        heard(its_log, r"(?i)connected to")
        heard(said, r"connected \(1 in all")
        for _ in range(options.calls // 4):
            http_call(port)
        before = {"gateway": rss(gateway), "agent": rss(agent)}
        alone = [http_call(port) for _ in range(options.calls)]
        callers = still_callers(options, port)
        rest((gateway, agent), partial(push, callers if options.do == "upload" else ()))
        beside = [http_call(port) for _ in range(options.calls)]
        after = {"gateway": rss(gateway), "agent": rss(agent)}
        report(options, alone, beside, {name: after[name] - before[name] for name in after})
        for caller in callers:
            caller.close()


def run(loop: str, function: Any, *arguments: Any) -> None:
    """``anyio.run`` on ``asyncio``, ``uvloop`` or ``trio``."""
    backend = "trio" if loop == "trio" else "asyncio"
    anyio.run(
        function,
        *arguments,
        backend=backend,
        backend_options={"use_uvloop": True} if loop == "uvloop" else {},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m interop.stalled", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--between", choices=("library", "tunnel"), default="library")
    parser.add_argument("--do", choices=("download", "upload", "wait"), default="download")
    parser.add_argument("--number", type=int, default=1000, help="of callers that stand still")
    parser.add_argument("--calls", type=int, default=400, help="of the live caller, each time")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "trio"), default="uvloop")
    parser.add_argument("--wire", default="muxado")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--listen", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.listen:
        run(options.loop, listen, options.wire)
    elif options.between == "library":
        run_library(options)
    else:
        run_tunnel(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
