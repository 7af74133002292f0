"""Both ends of the pipes of an ``exec:`` in one process: the command gives its own ends away."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import aclose_forcefully

from muxado_py.runtime.pipes import PipeStream

if TYPE_CHECKING:
    from anyio.abc import UNIXSocketStream

__all__ = ("HandedOver", "handing_over", "taken_over")

COMMAND = Path(__file__).parent / "hand_over.py"


def handing_over(path: str) -> str:
    """The URL of a session whose other end is taken over at the Unix socket ``path``."""
    return f"exec:{shlex.join([sys.executable, '-IS', str(COMMAND), path])}"


async def taken_over(command: UNIXSocketStream) -> HandedOver:
    """The stdin and the stdout of a command that has connected."""
    _, (reading, writing) = await command.receive_fds(1, 2)
    return HandedOver(reading, writing, command)


class HandedOver(PipeStream):
    """As ``stdio:`` has them; the command ends when they are closed."""

    def __init__(self, reading: int, writing: int, command: UNIXSocketStream) -> None:
        super().__init__(reading, writing)
        self._command = command

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            await aclose_forcefully(self._command)
