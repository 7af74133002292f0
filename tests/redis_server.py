"""A Redis server for one test, on a Unix socket, which saves nothing."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ("RedisServer", "redis_program")

PATIENCE = 20.0


def redis_program() -> Path | None:
    """That of this machine, or the one of ``$REDIS_SERVER``; None if there is none."""
    found = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
    return None if found is None else Path(found)


class RedisServer:
    """One that can be stopped, and started again with nothing in it.

    :param folder: where its socket is.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._path = folder / "redis"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._path}"

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        gc.collect()  # what coredis leaves of connections that failed warns here, and not in a later test

    def start(self) -> None:
        """Start it, empty; it answers when this returns."""
        options = f"--port 0 --appendonly no --dir {self._path.parent}"
        self._process = subprocess.Popen(
            [str(self._program), *options.split(), "--unixsocket", str(self._path), "--save", ""],
            env={**os.environ, "LD_LIBRARY_PATH": _libraries(self._program)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, "redis-server does not start"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once; what it knew is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._path.unlink(missing_ok=True)

    def pause(self) -> None:
        """It takes connections, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It does as before."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asking, suppress(OSError):
            asking.settimeout(PATIENCE)
            asking.connect(str(self._path))
            asking.sendall(b"PING\r\n")
            return asking.recv(16).startswith(b"+PONG")
        return False


def _libraries(program: Path) -> str:
    """Where those are of a program that was unpacked and not installed."""
    usual = os.environ.get("LD_LIBRARY_PATH", "")
    folders = [path.parent for path in program.parent.parent.glob("lib/*/libjemalloc.so.2")]
    return ":".join([*(str(folder) for folder in folders), *filter(None, [usual])])
