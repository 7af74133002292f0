"""Admin: the address at which whoever runs a gateway asks it how it is, over HTTP.

What it is.  A few answers to GET (:mod:`.overview` makes them), each on a connection of its own.  No library serves them:
they are short, they are there on every event loop, and a probe must be answered where nothing but the gateway is installed.

The rules.  Nothing here may hold up the gateway: who asks has :data:`TIMEOUT` seconds and :data:`MAX_HEAD` bytes, and more
than :data:`MAX_CONNECTIONS` at once are closed.  It answers until the last caller has left, so that a probe learns that the
gateway is stopping.

The trap.  A page that a browser shows may make it ask here (:mod:`.origins`), or show what is answered as a part of
itself.  So each answer says that it is nobody else's, and what may run in it: nothing, but for what it names itself.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

import anyio

from ..runtime.accept_loop import AcceptingListener
from ..runtime.plain_sockets import accept_plain
from ..session.copying import linger
from .binding import bind
from .origins import refusal
from .running import NotStarted, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import ByteStream, TaskGroup

    from .binding import Bound
    from .options import Address, UnixAddress

__all__ = ("Admin", "Answer", "open_admin")

logger = logging.getLogger("muxado.cli")

TIMEOUT = 5.0
"""Seconds of a connection, from its first to its last byte."""

MAX_HEAD = 8192
"""Bytes of a request."""

MAX_CONNECTIONS = 16
"""Connections at once: those of a scraper, a probe and a person."""

CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What a browser may do with any answer."""

_PHRASES = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class Answer(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    may_run: str = ""
    """What of it a browser may run and show, in the words of Content-Security-Policy; nothing else may be."""


async def open_admin(
    address: Address | UnixAddress, answers: Mapping[str, Callable[[Mapping[str, str]], Answer]]
) -> Admin:
    """Listen at the address.

    :param answers: what is answered, by path, to what is asked behind it.
    :raises NotStarted: if that is not possible.
    """
    try:
        bound = await bind(address)
    except OSError as exc:
        raise NotStarted(f"cannot listen on {address} (--admin): {reason(exc)}") from exc
    return Admin(bound, answers)


class Admin:
    """An address that is listened on.

    :ivar address: where it is, with the port that it got.
    """

    def __init__(
        self,
        bound: Bound,
        answers: Mapping[str, Callable[[Mapping[str, str]], Answer]],
    ) -> None:
        self.address = bound.address
        self._listener = AcceptingListener(bound.listener, accept_plain)
        self._path = bound.path
        self._answers = answers
        self._connections = 0

    async def serve(self, tasks: TaskGroup) -> None:
        """Answer until it is closed.

        Cancellation: safe.
        """
        at = f"http://{self.address}/" if self._path is None else str(self.address)
        logger.info("see how it is at %s", at)
        await self._listener.serve(self._handle, tasks)

    async def aclose(self) -> None:
        """Answer nobody any more.

        Cancellation: it is closed all the same.
        """
        if self._path is not None:
            self._path.remove()
        await self._listener.aclose()

    async def _handle(self, connection: ByteStream) -> None:
        self._connections += 1
        try:
            async with connection:
                if self._connections > MAX_CONNECTIONS:
                    return
                with anyio.move_on_after(TIMEOUT):
                    await self._converse(connection)
        except (anyio.BrokenResourceError, anyio.EndOfStream, OSError) as exc:
            logger.debug("who asked is gone: %r", exc)
        finally:
            self._connections -= 1

    async def _converse(self, connection: ByteStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if len(head) > MAX_HEAD:
                break
            head += await connection.receive(MAX_HEAD)
        answer = self._answer(head)
        lines = [
            f"HTTP/1.1 {answer.status} {_PHRASES[answer.status]}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            "Cache-Control: no-store",
            f"Content-Security-Policy: {CLOSED}{answer.may_run}",
            "Cross-Origin-Resource-Policy: same-origin",
            "Referrer-Policy: no-referrer",
            "X-Content-Type-Options: nosniff",
            "X-Frame-Options: DENY",
            "Connection: close",
        ]
        said = "\r\n".join((*lines, "", "")).encode()
        await connection.send(said if head.startswith(b"HEAD ") else said + answer.body)
        await connection.send_eof()
        await linger(connection)

    def _answer(self, head: bytes) -> Answer:
        words = head.partition(b"\r\n")[0].split(b" ")
        if b"\r\n\r\n" not in head or len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return Answer(400, b"this is no request\n")
        why_not = refusal(head, getattr(self.address, "host", ""))
        if why_not is not None:
            return Answer(403, f"{why_not}\n".encode())
        if words[0] not in (b"GET", b"HEAD"):
            return Answer(405, b"there is only GET here\n")
        path, _, query = words[1].decode("latin-1").partition("?")
        answers = self._answers.get(path)
        if answers is None:
            return Answer(404, f"there is {', '.join(self._answers)}\n".encode())
        try:
            return answers(dict(parse_qsl(query, keep_blank_values=True)))
        except Exception:
            logger.exception("answering who asked failed")
            return Answer(500, b"see the log\n")
