"""Answers of the gateway itself, to callers that no agent answers.

What it is.  A caller that speaks HTTP/1 is told in its own protocol what happened and whether it was
executed; any other is closed, or cut off if something was lost.

The rule.  408, 503: no application has seen the request.  502: it may have been executed.

The trap.  Closing a TCP socket that has unread bytes makes the kernel throw away what was just
written.  Whoever is answered is therefore read for a moment before the socket is closed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ..session.bridge import close
from ..session.copying import linger

if TYPE_CHECKING:
    from anyio.abc import ByteStream

__all__ = ("MAY_BE_EXECUTED", "NOT_EXECUTED", "NO_BUDGET", "answer")

RETRY_AFTER = 5
"""Seconds after which a caller should try again; an agent that lost its connection is back by then."""

MAY_BE_EXECUTED = "The agent broke off before it answered. It may have executed the request."
NOT_EXECUTED = "The agent broke off before it took the request. It was not executed."
NO_BUDGET = (
    "No agent took the request, and too many are offered again already. It was not executed."
)

_PHRASES = {408: "Request Timeout", 502: "Bad Gateway", 503: "Service Unavailable"}


async def answer(connection: ByteStream, head: bytes, status: int, text: str) -> None:
    """Answer the request that begins with ``head``, and close.

    Cancellation: the connection is left as it is.
    """
    phrase = _PHRASES[status]
    body = f"{status} {phrase}: {text}\n".encode()
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if status == 503:
        lines.append(f"Retry-After: {RETRY_AFTER}")
    said = "\r\n".join((*lines, "", "")).encode()
    with suppress(Exception):  # it does not wait for its answer any more
        await connection.send(said if head.startswith(b"HEAD ") else said + body)
        await connection.send_eof()
    await linger(connection)
    await close(connection)
