"""LocalConnection: one stream's connection to a local port, by the event loop's callbacks.

What it is.  What :mod:`.local_port` does with a task, for a port whose address is known: a socket is connected, a
:class:`~muxado_py.session.relay.Relay` copies, and both sides are told how it ended.  A port of this machine answers within the call
that connects, so most connections wait for nothing.

The rule.  Until the socket is connected nothing of the stream is read, and whatever comes between refuses it.  Who has
left is told once, and nobody is called any more.

The trap.  It is made inside the session and begins in a turn of its own; by then it may be cancelled.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from ...integrations.serving import turn_away_at_once
from ...runtime.connecting import BACKLOG_WAIT, start_connecting
from ...runtime.plain_sockets import PlainSocket
from ...session.relay import Relay

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import muxado_py as muxado

    from .ports import LocalPort

__all__ = ("CONNECT_TIMEOUT", "LocalConnection", "why_none")

logger = logging.getLogger("muxado.cli")

CONNECT_TIMEOUT = 5.0
"""Seconds that a connection may take; longer than a port of this machine ever does."""


def why_none(port: LocalPort, exc: OSError) -> ConnectionRefusedError:
    """For the log: what kept a stream from its connection."""
    cause = exc.strerror or str(exc) or f"no connection in {CONNECT_TIMEOUT:g} s"
    return ConnectionRefusedError(f"{port}: {cause}")


class LocalConnection:
    """That of ``stream``, which it ends.

    :param where: the family and the address of ``port``.
    :param left: called with this when all is over.
    """

    __slots__ = (
        "_connection",
        "_deadline",
        "_left",
        "_loop",
        "_port",
        "_relay",
        "_stream",
        "_timer",
        "_waiting",
        "_where",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        port: LocalPort,
        where: tuple[int, Any],
        stream: muxado.Stream,
        left: Callable[[LocalConnection], None],
    ) -> None:
        self._loop = loop
        self._port = port
        self._where = where
        self._stream: muxado.Stream | None = stream  # None: it is over
        self._left = left
        self._connection: PlainSocket | None = None
        self._relay: Relay | None = None
        self._deadline = 0.0  # once it has to wait
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = False  # whether the loop says when the socket can be written to

    def begin(self) -> None:
        """Connect, and copy; in a turn of the loop that is not the session's."""
        if self._stream is not None:
            self._step(self._connect)

    def cancel(self) -> None:
        """Cut it off; a stream of which nothing was read is refused."""
        if self._relay is None:
            self._refuse(ConnectionAbortedError("serving ends"))
            return
        self._relay.stop()
        self._break_off()

    # Until it is connected.

    def _step(self, step: Callable[[], None]) -> None:
        """Nobody is above it who could be told what went wrong."""
        try:
            step()
        except OSError as exc:
            self._refuse(exc)
        except Exception:
            logger.exception("a connection to %s failed", self._port)
            self.cancel()

    def _connect(self) -> None:
        sock, error = start_connecting(*self._where)
        self._connection = PlainSocket(sock)
        self._go_on(error)

    def _go_on(self, error: int) -> None:
        """Connecting has said ``error`` so far."""
        if not error:
            self._copy()
        elif error == errno.EAGAIN:
            self._check_time()
            self._timer = self._loop.call_later(BACKLOG_WAIT, self._again)
        elif error in (errno.EINPROGRESS, errno.EALREADY):
            self._check_time()
            self._waiting = True
            self._loop.add_writer(self._raw, self._writable)
            self._timer = self._loop.call_at(self._deadline, self._late)
        else:
            raise OSError(error, os.strerror(error))

    @property
    def _raw(self) -> socket.socket:
        assert self._connection is not None
        return self._connection.raw_socket

    def _check_time(self) -> None:
        now = self._loop.time()
        self._deadline = self._deadline or now + CONNECT_TIMEOUT
        if now >= self._deadline:
            raise TimeoutError

    def _again(self) -> None:
        self._timer = None
        self._step(lambda: self._go_on(self._raw.connect_ex(self._where[1])))

    def _writable(self) -> None:
        self._stop_waiting()
        self._step(lambda: self._go_on(self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))

    def _late(self) -> None:
        self._refuse(TimeoutError())

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._raw)

    def _refuse(self, exc: OSError) -> None:
        self._stop_waiting()
        if self._connection is not None:
            self._connection.close()
        stream, self._stream = self._stream, None
        if stream is not None:
            turn_away_at_once(stream, why_none(self._port, exc))
            self._left(self)

    # From then on.

    def _copy(self) -> None:
        connection, stream = self._connection, self._stream
        assert connection is not None
        assert stream is not None
        if self._where[0] != socket.AF_UNIX:
            connection.raw_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends_with = connection if self._port.ends_whole else None
        self._relay = relay = Relay(self._loop, connection, stream, ends_with=ends_with)
        relay.start(self._relayed)

    def _relayed(self) -> None:
        relay = self._relay
        assert relay is not None
        if relay.failed is None:
            relay.close()
            self._stream = None
            self._left(self)
        else:
            self._break_off()

    def _break_off(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.reset()
            assert self._connection is not None
            self._connection.abort()
            self._left(self)
