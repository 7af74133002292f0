"""Admin: the address at which whoever runs a gateway asks it how it is, over HTTP.

What it is.  A few answers to GET (:mod:`.overview` makes them), each on a connection of its own.  No library serves them:
they are short, they are there on every event loop, and a probe must be answered where nothing but the gateway is installed.

The rules.  Nothing here may hold up the gateway: who asks has :data:`TIMEOUT` seconds and :data:`MAX_HEAD` bytes, and more
than :data:`MAX_CONNECTIONS` at once are closed.  It answers until the last caller has left, so that a probe learns that the
gateway is stopping.

Who has to show a token (:mod:`.keyholders`) may ask for ``/healthz`` without: a balancer shows none, and learns nothing else there.

The trap.  A page that a browser shows may make it ask here (:mod:`.origins`), or show what is answered as a part of
itself.  So each answer says that it is nobody else's, and what may run in it: nothing, but for what it names itself.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

import anyio
from anyio.streams.tls import TLSStream

from ...runtime.accept_loop import AcceptingListener
from ...runtime.plain_sockets import accept_plain
from ...service.causes import reason
from ...session.copying import linger
from ..binding import bind
from ..running import NotStarted
from .keyholders import CHALLENGES
from .origins import refusal

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from anyio.abc import ByteStream, TaskGroup

    from ..binding import Bound
    from ..options import Address, UnixAddress
    from .keyholders import Keyholders

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
    401: "Unauthorized",
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
    address: Address | UnixAddress,
    answers: Mapping[str, Callable[[Mapping[str, str]], Answer]],
    keyholders: Keyholders | None = None,
    context: ssl.SSLContext | None = None,
) -> Admin:
    """Listen at the address.

    :param answers: what is answered, by path, to what is asked behind it.
    :param keyholders: who may ask; default whoever comes there.
    :param context: with the certificate to show, if it speaks TLS.
    :raises NotStarted: if that is not possible.
    """
    try:
        bound = await bind(address)
    except OSError as exc:
        raise NotStarted(f"cannot listen on {address} (--admin): {reason(exc)}") from exc
    return Admin(bound, answers, keyholders, context)


class Admin:
    """An address that is listened on.

    :ivar address: where it is, with the port that it got.
    :ivar context: with the certificate, for who comes from now on.
    """

    def __init__(
        self,
        bound: Bound,
        answers: Mapping[str, Callable[[Mapping[str, str]], Answer]],
        keyholders: Keyholders | None,
        context: ssl.SSLContext | None,
    ) -> None:
        self.context = context
        self._keyholders = keyholders
        self.address = bound.address
        self._listener = AcceptingListener(bound.listener, accept_plain)
        self._path = bound.path
        self._answers = answers
        self._connections = 0

    async def serve(self, tasks: TaskGroup) -> None:
        """Answer until it is closed.

        Cancellation: safe.
        """
        at = str(self.address)
        if self._path is None:
            scheme = "http" if self.context is None else "https"
            at = f"{scheme}://{at.removeprefix('tls://')}/"
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
                    await self._converse(await self._agree(connection))
                    await connection.send_eof()
                    await linger(connection)
        except (anyio.BrokenResourceError, anyio.EndOfStream, OSError) as exc:
            logger.debug("who asked is gone: %r", exc)
        finally:
            self._connections -= 1

    async def _agree(self, connection: ByteStream) -> ByteStream:
        if self.context is None:
            return connection
        return await TLSStream.wrap(
            connection, server_side=True, ssl_context=self.context, standard_compatible=False
        )

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
        if answer.status == 401:
            lines += [f"WWW-Authenticate: {challenge}" for challenge in CHALLENGES]
        said = "\r\n".join((*lines, "", "")).encode()
        await connection.send(said if head.startswith(b"HEAD ") else said + answer.body)

    def _answer(self, head: bytes) -> Answer:
        words = head.partition(b"\r\n")[0].split(b" ")
        if b"\r\n\r\n" not in head or len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return Answer(400, b"this is no request\n")
        host = getattr(self.address, "host", "") if self._keyholders is None else None
        why_not = refusal(head, host)
        if why_not is not None:
            return Answer(403, f"{why_not}\n".encode())
        if words[0] not in (b"GET", b"HEAD"):
            return Answer(405, b"there is only GET here\n")
        path, _, query = words[1].decode("latin-1").partition("?")
        if not (self._keyholders is None or path == "/healthz" or self._keyholders.has(head)):
            return Answer(401, b"this gateway wants a token here (--admin-token-file)\n")
        answers = self._answers.get(path)
        if answers is None:
            return Answer(404, f"there is {', '.join(self._answers)}\n".encode())
        try:
            return answers(dict(parse_qsl(query, keep_blank_values=True)))
        except Exception:
            logger.exception("answering who asked failed")
            return Answer(500, b"see the log\n")
