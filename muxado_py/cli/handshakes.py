"""Handshakes: callers of a door with TLS that have not agreed on it yet.

What it is.  Between the door, which accepts a connection, and those who serve its callers stands the handshake: by callbacks
where the loop has them, else in the task of the connection.  Who is through goes on as every other caller, with a socket
that speaks TLS (:mod:`~muxado_py.links.tls_socket`); the others are told why and closed, with a line in the log for who
looks for it, and are no callers.

The rules.  A handshake has :data:`PATIENCE` seconds.  There are as many at once, at all doors of published names together, as
these may have callers, and as many again at the HTTP door; when there is no room, the one that has waited longest makes some, unless that is a moment only.

The trap.  Certificates are replaced while callers come: each takes those that there are when it comes.
"""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import anyio

from ..links.codec import REFUSAL_WAIT
from ..links.tls_socket import MAX_PIECE, TLSSocket
from ..runtime.checkpoints import event_loop
from ..runtime.plain_sockets import PlainSocket, reset_when_closed
from ..service.causes import reason
from .callers.answers import own_answer
from .callers.visits import QUIET

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Awaitable, Callable

__all__ = ("Handshakes",)

logger = logging.getLogger("muxado.cli")

PATIENCE = 10.0
"""Seconds of a handshake (.NET's Kestrel; a door's ``--timeout-request-head``, where that is less)."""

NO_TLS = own_answer(400, "This door speaks HTTPS.", is_head=False, closes=True)
"""What is told to who speaks HTTP without TLS (nginx, Go's net/http)."""


class _Place(NamedTuple):
    since: float
    give_up: Callable[[], object]


class Handshakes:
    """Those of all doors that show the same certificate: of the published names, or of the HTTP door.

    :param context: with the certificate.
    :param limit: how many there may be at once.
    :param patience: seconds that each may take, :data:`PATIENCE` at most.
    """

    def __init__(self, context: ssl.SSLContext, limit: int, patience: float) -> None:
        self.context = context
        """For who comes from now on."""
        self._limit = limit
        self._patience = min(PATIENCE, patience)
        self._memory = memoryview(bytearray(MAX_PIECE))
        self._loop = event_loop()
        self._now = anyio.current_time if self._loop is None else self._loop.time
        self._places: dict[object, _Place] = {}  # the longest first

    def came(self, go_on: Callable[[socket.socket], object], accepted: socket.socket) -> None:
        """Let one caller ``go_on`` when it has agreed; for callbacks."""
        assert self._loop is not None
        if not self._has_room():
            _leave_out(accepted)
            return
        sock = TLSSocket(accepted, self.context, self._memory)
        one = _Handshake(self._loop, sock, go_on, self._places)
        self._places[one] = _Place(self._now(), one.give_up)
        one.begin(self._patience)

    async def handle(
        self, go_on: Callable[[PlainSocket], Awaitable[None]], connection: PlainSocket
    ) -> None:
        """The same, where there is a task.

        Cancellation: the connection is closed.
        """
        if not self._has_room():
            _leave_out(connection.raw_socket)
            return
        scope = anyio.CancelScope(deadline=anyio.current_time() + self._patience)
        sock = TLSSocket(connection.raw_socket, self.context, self._memory)
        self._places[scope] = _Place(self._now(), scope.cancel)
        has_agreed = False
        try:
            with scope:
                has_agreed = await _agree(sock)
        finally:
            del self._places[scope]
            if not has_agreed:
                sock.close()
        if has_agreed:
            await go_on(PlainSocket(sock))

    def stop(self) -> None:
        """Close all of them."""
        for place in list(self._places.values()):
            place.give_up()

    def _has_room(self) -> bool:
        if len(self._places) < self._limit:
            return True
        place = next(iter(self._places.values()))
        if self._now() - place.since <= 2 * QUIET:
            return False
        place.give_up()
        return True


class _Handshake:
    """One that goes by callbacks."""

    __slots__ = ("_go_on", "_loop", "_places", "_reading", "_sock", "_timer", "_writing")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: TLSSocket,
        go_on: Callable[[socket.socket], object],
        places: dict[object, _Place],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._go_on = go_on
        self._places = places
        self._reading = self._writing = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, patience: float) -> None:
        self._timer = self._loop.call_later(patience, self._late)
        self._step()

    def give_up(self) -> None:
        """Close it."""
        self._leave()
        self._sock.close()

    def _late(self) -> None:
        logger.debug("a caller did not agree on TLS in time")
        self.give_up()

    def _step(self) -> None:
        try:
            has_agreed = self._sock.handshake()
            if not has_agreed:
                self._watch()
        except OSError as exc:  # of the caller, or of the kernel, which cannot watch it
            self._refuse(exc)
        except Exception:
            logger.exception("serving a caller failed")
            self.give_up()
        else:
            if has_agreed:
                self._leave()
                self._go_on(self._sock)

    def _watch(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._sock, self._step)
        if self._sock.is_full and not self._writing:
            self._writing = True
            self._loop.add_writer(self._sock, self._step)
        elif self._writing and not self._sock.is_full:
            self._stop_writing()

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock)

    def _refuse(self, exc: OSError) -> None:
        """Give it the time to read why."""
        self._stop_writing()
        if not _told(self._sock, exc):
            self.give_up()
            return
        assert self._timer is not None
        self._timer.cancel()
        self._timer = self._loop.call_later(REFUSAL_WAIT, self.give_up)
        self._reading = True
        try:
            self._loop.add_reader(self._sock, self._discard)
        except OSError:  # it has what it was told
            self.give_up()
        else:
            self._discard()

    def _discard(self) -> None:
        try:
            goes_on = self._sock.discard()
        except OSError:
            goes_on = False
        if not goes_on:
            self.give_up()

    def _leave(self) -> None:
        """The socket is watched no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock)
        self._stop_writing()
        self._places.pop(self, None)


async def _agree(sock: TLSSocket) -> bool:
    """Whether it did; else it was told why not."""
    try:
        while not sock.handshake():
            wait = anyio.wait_writable if sock.is_full else anyio.wait_readable
            await wait(sock)
        return True
    except OSError as exc:
        if _told(sock, exc):
            with anyio.move_on_after(REFUSAL_WAIT), suppress(OSError):
                while sock.discard():
                    await anyio.wait_readable(sock)
    except Exception:
        logger.exception("serving a caller failed")
    return False


def _told(sock: TLSSocket, exc: OSError) -> bool:
    """Whether a caller that did not agree can be told why; it was, then."""
    logger.debug("a caller did not agree on TLS: %s", reason(exc))
    if not isinstance(exc, ssl.SSLError):
        return False
    try:
        sock.tell_failure(NO_TLS if exc.reason == "HTTP_REQUEST" else b"")
    except OSError:
        return False
    return True


def _leave_out(sock: socket.socket) -> None:
    """There is no room."""
    with suppress(OSError):
        reset_when_closed(sock)
    sock.close()
