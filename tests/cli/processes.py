"""The command line as a user runs it: processes, what they say on stderr, and how they end."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM, Signals
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("ROOT", "Running", "command", "run", "running")

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 30.0


class Running:
    """A ``muxado`` process whose stderr can be waited for."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._said = ""
        self._news = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            for line in stderr:
                with self._news:
                    self._said += line
                    self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    def wait_for(self, pattern: str, times: int = 1) -> str:
        """The first group of the last of ``times`` matches of ``pattern`` in what it said."""
        with self._news:
            self._news.wait_for(
                lambda: len(re.findall(pattern, self._said)) >= times or self._over, PATIENCE
            )
            found = re.findall(pattern, self._said)
            assert len(found) >= times, f"waited for {pattern!r} in:\n{self._said}"
            said: str = found[times - 1]
            return said

    def said(self) -> str:
        """All that it said, once it has ended."""
        self.wait()
        self._reader.join(PATIENCE)
        return self._said

    def limit_descriptors(self, number: int) -> None:
        """It may have so many open, from here on."""
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (number, number))

    def descriptors(self) -> int:
        """How many it has open."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def stdout_line(self) -> str:
        """The next line of its stdout."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def children(self) -> list[int]:
        """The ids of the processes it started and has not ended."""
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/children")  # trio starts in one
        return [int(child) for thread in threads for child in thread.read_text().split()]

    def send(self, number: Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: Signals = SIGTERM) -> int:
        """Signal it, and the exit code it ends with."""
        self.send(number)
        return self.wait()

    def wait(self) -> int:
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._reader.join(PATIENCE)


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    """Run ``muxado`` with ``arguments`` until the block is left."""
    process = Running(arguments)
    try:
        yield process
    finally:
        process.close()


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``muxado`` with ``arguments`` to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=100, cwd=ROOT, env=env
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "muxado_py", *arguments]
