"""``muxado gateway``: each TCP connection to a published address becomes a stream to an agent.

What it is.  Two kinds of peers meet here.  *Agents* dial in, open a session and serve an app on it.
*Callers* connect to a published address; what they send and get is copied, byte for byte, to a
stream of an agent's session.  So whatever runs over TCP passes: HTTP, websockets, gRPC.

Which agent.  The one that connected last; an older one if that opens no more streams.  A new agent
thus takes over from the one it replaces, and an agent that came back after its network failed takes
over from its own dead session, which the gateway may not have noticed yet.  A connection that never
sent a frame comes last: it may be a Go agent, which says nothing until it is asked, or a port scan.

Where nobody answers.  When no agent takes a stream, the first bytes of the caller are looked at: an
HTTP/1 request gets a 503 that says so, anything else is closed.  An agent that breaks off before
its first byte is a 502, with no word on whether the request was executed, for that is not known.

The rule.  A slow side holds no memory but the stream's window and one read of 64 KiB: the bridge
reads from a side only what the other has taken.  Callers are counted, and bounded, with those that
are being turned away.

The trap.  Closing a TCP socket that has unread bytes makes the kernel throw away what was just
written.  Whoever is turned away is therefore read for a moment before the socket is closed.
"""

from __future__ import annotations

import logging
import math
import re
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import ByteStream

import muxado_py as muxado

from ..bridging import IO_ERRORS, abort, bridge
from .links import peer_name
from .running import NotStarted, reason

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence

    from anyio.abc import TaskStatus

    from .options import Address

__all__ = ("Agents", "Callers", "gateway")

logger = logging.getLogger("muxado.cli")

HEAD_SIZE = 16
HEAD_TIMEOUT = 5.0
LINGER_TIME = 2.0
LINGER_BYTES = 256 * 1024
RETRY_AFTER = 5

# A method and a target; "PRI *" is HTTP/2, which understands no HTTP/1 answer.
_HTTP_REQUEST = re.compile(rb"(?!PRI )[A-Z]{3,12} [/*a-zA-Z\[]")


class Agents:
    """The sessions of the agents that are connected."""

    def __init__(self) -> None:
        self._sessions: list[muxado.Session] = []  # the newest last
        self._announced: set[muxado.Session] = set()  # those whose first frame has come

    async def serve(self, session: muxado.Session) -> None:
        """Keep ``session`` among the agents until it is over.

        Cancellation: the session is no agent any more.
        """
        name = peer_name(session)
        cause = "it closed the session"
        self._sessions.append(session)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._announce, session, name)
                try:
                    await session.wait()
                except muxado.SessionError as exc:
                    cause = reason(exc)
                tasks.cancel_scope.cancel()
        finally:
            self._sessions.remove(session)
            announced = session in self._announced
            self._announced.discard(session)
        if announced:
            logger.warning("agent %s is gone: %s (%d left)", name, cause, len(self._announced))
        else:
            logger.info("%s left before it answered: %s", name, cause)

    async def _announce(self, session: muxado.Session, name: str) -> None:
        # Whatever comes of the ping, it ends no earlier than the peer's first frame.
        with suppress(muxado.MuxadoError):
            await session.ping(math.inf)
        if session.is_muxado_py is not None:
            self._announced.add(session)
            logger.info("agent %s connected (%d in all)", name, len(self._announced))

    async def dial(self) -> muxado.Stream:
        """A stream to the newest agent that opens one; silent connections come last.

        :raises ConnectionRefusedError: if none does.

        Cancellation: no stream is opened.
        """
        newest_first = reversed(self._sessions)
        for session in sorted(newest_first, key=lambda session: session.is_muxado_py is None):
            try:
                return await session.net_dial()
            except muxado.SessionError as exc:
                logger.debug("agent %s opens no stream: %s", peer_name(session), exc)
        if self._sessions:
            raise ConnectionRefusedError("No connected agent takes more connections.")
        raise ConnectionRefusedError("No agent is connected to this gateway.")


class Callers:
    """The connections to the published addresses.

    :param limit: how many may be bridged at once; as many again may be being turned away.
    """

    def __init__(self, agents: Agents, limit: int) -> None:
        self._agents = agents
        self._limit = limit
        self._open = 0
        self._idle = anyio.Event()

    async def handle(self, connection: ByteStream) -> None:
        """Bridge one caller to an agent, or turn it away.

        Cancellation: both sides are aborted.
        """
        if self._open >= 2 * self._limit:
            await abort(connection)
            return
        self._open += 1
        try:
            if self._open > self._limit:
                await _turn_away(connection, 503, "This gateway has no room for more connections.")
            else:
                await self._bridge(connection)
        except IO_ERRORS as exc:
            logger.debug("a caller is gone: %r", exc)
            await connection.aclose()
        except Exception:
            # Whatever it is, it is this caller's trouble and must not end the gateway.
            logger.exception("serving a caller failed")
            await anyio.aclose_forcefully(connection)
        except BaseException:
            await abort(connection)
            raise
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()
                self._idle = anyio.Event()

    async def _bridge(self, connection: ByteStream) -> None:
        try:
            stream = await self._agents.dial()
        except ConnectionRefusedError as exc:
            await _turn_away(connection, 503, str(exc))
            return
        caller = _Caller(connection)
        await bridge(caller, stream)
        if caller.is_gone:
            await connection.aclose()
        elif caller.lacks_answer:
            logger.warning("the agent broke off before it answered")
            await _answer(
                connection,
                caller.head,
                502,
                "The agent broke off before it answered. It may have executed the request.",
            )
        elif caller.agent_finished:
            await _close(connection)
        else:
            await abort(connection)

    async def finished(self) -> None:
        """Wait until no caller is left.

        Cancellation: safe.
        """
        while self._open:
            await self._idle.wait()


class _Caller(ByteStream):
    """A caller's connection, remembered: what it began with, and what it was told.

    The bridge ends both of its sides; how this one ends depends on more than the bridge knows, so
    closing it does nothing and the gateway does it afterwards.
    """

    def __init__(self, connection: ByteStream) -> None:
        self._connection = connection
        self.head = b""
        self.agent_finished = False
        self.is_gone = False
        self._got_nothing = True

    async def receive(self, max_bytes: int = 65536) -> bytes:
        with self._noticing_loss():
            data = await self._connection.receive(max_bytes)
        if len(self.head) < HEAD_SIZE:
            self.head += data[:HEAD_SIZE]
        return data

    async def send(self, item: bytes) -> None:
        self._got_nothing = False
        with self._noticing_loss():
            await self._connection.send(item)

    async def send_eof(self) -> None:
        if self.lacks_answer:
            # Ends the bridge: this caller waits for an answer, which the gateway will give.
            raise anyio.BrokenResourceError
        self.agent_finished = True
        with self._noticing_loss():
            await self._connection.send_eof()

    @contextmanager
    def _noticing_loss(self) -> Iterator[None]:
        try:
            yield
        except IO_ERRORS:
            self.is_gone = True
            raise

    @property
    def lacks_answer(self) -> bool:
        """Whether it made an HTTP request and got not a byte."""
        return self._got_nothing and _HTTP_REQUEST.match(self.head) is not None

    async def aclose(self) -> None:
        pass

    @property
    def extra_attributes(self) -> Mapping[Any, Any]:
        return {}


async def _turn_away(connection: ByteStream, status: int, text: str) -> None:
    """Answer an HTTP request; close what is none, or says nothing."""
    head = b""
    with anyio.move_on_after(HEAD_TIMEOUT), suppress(anyio.EndOfStream):
        while len(head) < HEAD_SIZE:
            head += await connection.receive(HEAD_SIZE - len(head))
    if _HTTP_REQUEST.match(head):
        await _answer(connection, head, status, text)
    else:
        await connection.aclose()


async def _answer(connection: ByteStream, head: bytes, status: int, text: str) -> None:
    phrase = {502: "Bad Gateway", 503: "Service Unavailable"}[status]
    body = f"{status} {phrase}: {text}\n".encode()
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if status == 503:
        lines.append(f"Retry-After: {RETRY_AFTER}")
    answer = "\r\n".join((*lines, "", "")).encode()
    await connection.send(answer if head.startswith(b"HEAD ") else answer + body)
    await connection.send_eof()
    await _close(connection)


async def _close(connection: ByteStream) -> None:
    """Close a connection whose caller may still be sending; see the trap above."""
    unread = LINGER_BYTES
    with anyio.move_on_after(LINGER_TIME), suppress(anyio.EndOfStream, *IO_ERRORS):
        while unread > 0:
            unread -= len(await connection.receive())
    await connection.aclose()


async def gateway(
    url: str,
    published: Sequence[Address],
    stop: anyio.Event,
    *,
    ssl_context: ssl.SSLContext | None,
    limit: int,
    graceful_timeout: float,
    wire: str = "muxado",
    task_status: TaskStatus[tuple[str, list[int]]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Accept agents at ``url`` and callers at ``published`` until ``stop`` is set.

    :param limit: callers served at once.
    :param graceful_timeout: seconds that callers have to finish after ``stop``.
    :param wire: what agents speak, see ``Config.wire``.
    :param task_status: started with the real URL for agents and the real ports for callers.
    :raises NotStarted: if an address cannot be listened on.

    Cancellation: everything is cut off.
    """
    agents = Agents()
    callers = Callers(agents, limit)
    async with AsyncExitStack() as stack:
        try:
            listener = await stack.enter_async_context(
                muxado.listen(url, config=muxado.Config(wire=wire), ssl_context=ssl_context)
            )
        except OSError as exc:
            raise NotStarted(f"cannot listen on {url}: {reason(exc)}") from exc
        doors = []
        for address in published:
            try:
                door = await anyio.create_tcp_listener(
                    local_host=address.host, local_port=address.port
                )
            except OSError as exc:
                raise NotStarted(f"cannot publish on {address}: {reason(exc)}") from exc
            doors.append(await stack.enter_async_context(door))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(listener.serve, agents.serve)
        ports = [door.extra(anyio.abc.SocketAttribute.local_port) for door in doors]
        logger.info("agents connect to %s", listener.url)
        for address, port in zip(published, ports, strict=True):
            logger.info("callers connect to %s", address._replace(port=port))
        async with anyio.create_task_group() as accepting:
            for door in doors:
                accepting.start_soon(partial(door.serve, callers.handle, tasks))
            task_status.started((listener.url, ports))
            await stop.wait()
            accepting.cancel_scope.cancel()
        for door in doors:
            await door.aclose()
        with anyio.move_on_after(graceful_timeout):
            await callers.finished()
        tasks.cancel_scope.cancel()
