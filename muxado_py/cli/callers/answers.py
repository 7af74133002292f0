"""Answers of the gateway itself, to callers that no agent answers.

What it is.  A caller that speaks HTTP/1 is told in its own protocol what happened and whether it was
executed; any other is closed, or cut off if something was lost.

The rule.  At a published address 408 and 503 say that no application has seen the request, 502 that it may have been
executed.  What the HTTP door says has more cases; docs/how-to.md has them.

The trap.  Closing a TCP socket that has unread bytes makes the kernel throw away what was just
written.  Whoever is answered is therefore read for a moment before the socket is closed.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from ...session.bridge import close
from ...session.copying import linger

if TYPE_CHECKING:
    from anyio.abc import ByteStream

__all__ = ("MAY_BE_EXECUTED", "NOT_EXECUTED", "NO_BUDGET", "answer", "own_answer")

RETRY_AFTER = 5
"""Seconds after which a caller should try again; an agent that lost its connection is back by then."""

MAY_BE_EXECUTED = "The agent broke off before it answered. It may have executed the request."
NOT_EXECUTED = "The agent broke off before it took the request. It was not executed."
NO_BUDGET = (
    "No agent took the request, and too many are offered again already. It was not executed."
)

_PHRASES = {
    400: "Bad Request",
    404: "Not Found",
    408: "Request Timeout",
    413: "Content Too Large",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def own_answer(
    status: int, text: str, *, is_head: bool, closes: bool, retry_after: float | None = None
) -> bytes:
    """What the gateway says itself.

    :param is_head: whether it was asked by HEAD.
    :param closes: whether nothing follows.
    :param retry_after: seconds after which to ask again, if that is known.
    """
    phrase = _PHRASES[status]
    body = f"{status} {phrase}: {text}\n".encode()
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
    ]
    if closes:
        lines.append("Connection: close")
    if retry_after is None and status == 503:
        retry_after = RETRY_AFTER
    if retry_after is not None:
        lines.append(f"Retry-After: {math.ceil(retry_after)}")
    said = "\r\n".join((*lines, "", "")).encode()
    return said if is_head else said + body


async def answer(connection: ByteStream, head: bytes, status: int, text: str) -> None:
    """Answer the request that begins with ``head``, and close.

    Cancellation: the connection is left as it is.
    """
    said = own_answer(status, text, is_head=head.startswith(b"HEAD "), closes=True)
    with suppress(Exception):  # it does not wait for its answer any more
        await connection.send(said)
        await connection.send_eof()
    await linger(connection)
    await close(connection)
