"""SocketEnd: one end of a copying that is a socket, by the event loop's callbacks.

What it is.  What :class:`~muxado_py.session.relay.Relay` does with its socket, and knows nothing of streams: a piece is
read whenever the loop says so, a piece is written until the kernel has taken it, and at the end what still comes is
thrown away for a moment.

Where that socket speaks TLS (:mod:`~muxado_py.links.tls_socket`), it may hold what the loop does not see, and it takes its
time to say that it ends.

The rule.  The socket is watched for what is wanted now, and for nothing else: so back-pressure is the kernel's.  When
:meth:`_unwatch` was called, nobody is called any more, and the socket may be closed.

The trap.  Of a socket that was reset behind bytes that wait, libuv tells once, with the bytes, and then nothing more.
What comes behind them is looked for a second later, or such a connection would stay for ever.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from anyio import BrokenResourceError

from ..links.tls_socket import TLSSocket
from .copy_budget import piece_size
from .copying import LINGER_TIME, MAX_LINGER_TIME

if TYPE_CHECKING:
    import asyncio

__all__ = ("SocketEnd",)

LOOK_AGAIN = 1.0
"""Seconds after which a socket that was read is read once more unasked."""

_NOTHING = memoryview(b"")


class SocketEnd:
    """A connected, non-blocking socket; who copies derives from it."""

    __slots__ = (
        "_discards",
        "_ending",
        "_linger_until",
        "_loop",
        "_quiet_since",
        "_reading",
        "_rest",
        "_socket",
        "_timer",
        "_tls",
        "_writing",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._socket = sock
        self._tls = sock if isinstance(sock, TLSSocket) else None
        self._reading = self._writing = False  # what the loop watches it for
        self._rest = _NOTHING  # what the kernel had no room for
        self._ending = False  # whether the kernel had no room for the end either
        self._discards = False  # whether what it says is thrown away
        self._linger_until: float | None = None
        self._quiet_since = 0.0
        self._timer: asyncio.TimerHandle | None = None  # to look again, or to linger no longer

    # For who copies to define.

    def _heard(self, data: bytes) -> None:
        """It said ``data``; nothing: it ended.  What is thrown away goes to :meth:`_discard`."""
        raise NotImplementedError

    def _took_rest(self) -> None:
        """The kernel has taken what it had no room for."""
        raise NotImplementedError

    def _took_end(self) -> None:
        """The kernel has taken the end."""
        raise NotImplementedError

    def _broke(self, exc: Exception) -> None:
        """Nothing can be read of it or written to it any more."""
        raise NotImplementedError

    def _discarded(self) -> None:
        """It has ended while what it says is thrown away, or it has lingered for long enough."""
        raise NotImplementedError

    # Reading.

    def _watch_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._socket, self._readable)
            if self._tls is not None and self._tls.has_more:
                self._loop.call_soon(self._read_held)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(piece_size())
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._failed(exc)
            return
        self._heard(data)
        if self._tls is not None and self._tls.has_more and self._reading:
            self._loop.call_soon(self._read_held)
        if self._timer is None and self._reading:
            self._timer = self._loop.call_later(LOOK_AGAIN, self._look_again)

    def _read_held(self) -> None:
        """What TLS has and the kernel has not."""
        if self._reading:
            self._readable()

    def _look_again(self) -> None:
        self._timer = None
        if self._reading:
            self._readable()

    # Writing.

    def _send(self, data: bytes | memoryview) -> bool:
        """Whether the kernel took all of it; else :meth:`_took_rest` says when it has, unless it broke."""
        try:
            taken = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            taken = 0
        except OSError as exc:
            self._failed(exc)
            return False
        if taken < len(data):
            self._rest = memoryview(data)[taken:]
            self._watch_writing()
            return False
        self._rest = _NOTHING
        return True

    def _end(self) -> bool:
        """End its direction; whether that is done, else :meth:`_took_end` says when, unless it broke."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            self._ending = True
            self._watch_writing()
            return False
        except OSError as exc:
            self._failed(exc)
            return False
        self._ending = False
        return True

    def _writable(self) -> None:
        if self._ending:
            if self._end():
                self._stop_writing()
                self._took_end()
        elif self._send(self._rest):
            self._stop_writing()
            self._took_rest()

    def _watch_writing(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._socket, self._writable)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket)

    # The end.

    def _throw_away(self) -> None:
        """From here on nobody takes what it says."""
        self._discards = True
        self._watch_reading()

    def _linger(self) -> None:
        """Let it read what it was sent: throw away what it says until it ends, is quiet or takes long.

        If what it says was thrown away before, it had its time, and is given one more moment.
        """
        now = self._loop.time()
        self._quiet_since = now
        self._linger_until = now + (0.0 if self._discards else MAX_LINGER_TIME - LINGER_TIME)
        self._throw_away()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_TIME, self._lingered)

    def _discard(self, data: bytes) -> None:
        if data:
            self._quiet_since = self._loop.time()
        else:
            self._stop_reading()
            self._discarded()

    def _lingered(self) -> None:
        assert self._linger_until is not None
        until = min(self._quiet_since, self._linger_until) + LINGER_TIME
        if self._loop.time() < until:
            self._timer = self._loop.call_at(until, self._lingered)
        else:
            self._discarded()

    def _failed(self, exc: OSError) -> None:
        if self._linger_until is None:
            self._broke(BrokenResourceError(str(exc)))
        else:  # it is over, in one way or another
            self._stop_reading()
            self._discarded()

    def _unwatch(self) -> None:
        """Nobody is called any more."""
        self._stop_reading()
        self._stop_writing()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._rest = _NOTHING
