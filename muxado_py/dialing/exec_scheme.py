"""``exec:COMMAND``: a command that is started, and whose stdin and stdout carry the session.

What it is for.  To reach what only another program can reach: ``exec:ssh host muxado gateway --stdio``.

The rules.  A command is everything behind the colon, in words as a shell has them; but no shell reads it, so nothing in it is expanded,
and what a URL may say is what a command line may say.  The process ends with its session.

The trap.  A URL that comes from somebody else would start whatever that one likes.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ..runtime.child_process import open_command
from .addresses import Address
from .pending import AnyioPending
from .scheme import Scheme

if TYPE_CHECKING:
    from .pending import PendingConnection
    from .scheme import Bound, Dialing

__all__ = ("EXEC",)


class _ExecScheme(Scheme):
    name = "exec"
    form = "exec:COMMAND"
    has_host = False
    listens = False

    def read(self, url: str) -> Address | None:
        _, _, command = url.partition(":")
        if "\0" in command or not shlex.split(command):
            return None
        return Address("exec", path=command)

    def write(self, address: Address) -> str:
        return f"exec:{address.path}"

    async def dial(self, dialing: Dialing) -> PendingConnection:
        return AnyioPending(await open_command(shlex.split(dialing.address.path)))

    async def listen(self, address: Address) -> Bound:
        raise NotImplementedError


EXEC = _ExecScheme()
