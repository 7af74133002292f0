"""Restarted: a process of a scenario that is ended and begun again, with the same arguments and one log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    import signal

__all__ = ("ROOT", "Restarted", "has_ended")

ROOT = Path(__file__).resolve().parents[1]
"""Where ``-m interop`` is found."""

ENDING = 30.0
"""Seconds in which a process must have ended that was asked to."""


class Restarted:
    """A module that is run by this interpreter, as often as it is begun.

    :param log: where its standard error goes, of all times.
    """

    def __init__(self, log: Path, module: str, *arguments: str) -> None:
        self._log = log
        self._command = [sys.executable, "-m", module, *arguments]
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Run it; it need not be of use yet."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log
            )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> None:
        """Until it has ended."""
        assert self.process is not None
        await has_ended(self.process)

    def kill(self) -> None:
        """End it at once, if it is there."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        """Its log."""
        return self._log.read_text() if self._log.exists() else ""


async def has_ended(process: subprocess.Popen[bytes]) -> None:
    """Until it has.

    :raises TimeoutError: if it has not after :data:`ENDING`.
    """
    with anyio.fail_after(ENDING):
        while process.poll() is None:  # noqa: ASYNC110 - nobody tells of it
            await anyio.sleep(0.01)
