"""Relay: bytes between one socket and one stream, by the event loop's callbacks.

What it is.  What :mod:`~muxado_py.session.copying` does with two tasks, on asyncio and uvloop, for the pair that matters:
a plain socket, and a stream of ours.  The contract is the same: it copies both ways, says which side failed, and
closes neither.  A connection that carries nothing costs one object, and a message no switch of tasks.

Where data comes from and goes to.  The loop says that the socket can be read: one piece goes into the stream, and if
that has no room for another, the socket is not watched until it has.  The stream says that it can be read: pieces go
to the socket; what the kernel has no room for is kept, and the stream is not asked until it has.  So in each direction
at most one piece (:mod:`~muxado_py.session.copy_budget`) comes on top of what the stream holds, and credit is returned for no
more.

The rules.  The stream's callbacks come from inside the session, and only *schedule* a turn.  Nothing here
raises: whatever either side raises ends this connection, and is told by ``failed``.  When all is over the loop
watches the socket no more, so that who is told may close it at once.

The trap.  The order of ends is that of ``copying``, and whoever changes it there changes it here: tests run over both.
A stream that somebody else closes meanwhile says so by ``on_readable`` too; a socket says nothing, so its owner stops
the relay first.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from anyio import BusyResourceError, EndOfStream, WouldBlock

from ..protocol.stream_state import RecvState
from ..runtime.checkpoints import socket_loop, wake
from ..runtime.plain_sockets import PlainSocket
from .copy_budget import count_both_ways, piece_size
from .socket_end import SocketEnd
from .stream import Stream
from .waking import call_back, unwatch_peer, watch_peer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from anyio.abc import ByteStream

__all__ = ("Relay", "Tap", "relay_between")

logger = logging.getLogger("muxado.bridge")

_OPEN = RecvState.OPEN

PIECES_PER_TURN = 4
"""Pieces that go to a socket before others have their turn."""


class Tap(Protocol):
    """Who listens in, until the stream has said something.  What it raises is the failure of the socket's side."""

    def heard(self, data: bytes) -> None:
        """The socket said ``data``, which goes to the stream if that takes it; nothing: it ended."""

    def answering(self, data: bytes) -> None:
        """The stream says its first bytes; the tap is not called again."""

    def ending(self) -> None:
        """The stream ends and has said nothing."""


class Relay(SocketEnd):
    """Copies both ways between ``connection`` and ``stream``, once.

    :param loop: the running one, which calls back for sockets.
    :param tap: who listens in.
    :param first: what the socket said before.
    :param has_ended: whether it has ended, after that.
    :param ends_with: the side whose end of file is its full close, if either's is.
    """

    __slots__ = (
        "_blocked",
        "_connection",
        "_done",
        "_down_open",
        "_ends_with",
        "_first",
        "_has_ended",
        "_over",
        "_scheduled",
        "_stream",
        "_tap",
        "_up_open",
        "_watching",
        "failed",
        "failure",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: PlainSocket,
        stream: Stream,
        *,
        tap: Tap | None = None,
        first: bytes = b"",
        has_ended: bool = False,
        ends_with: ByteStream | None = None,
    ) -> None:
        super().__init__(loop, connection.raw_socket)
        self._connection = connection
        self._stream = stream
        self._tap = tap
        self._first = first + connection.take_unread()
        self._has_ended = has_ended
        self._ends_with = ends_with
        self._up_open = self._down_open = True
        self._blocked = False  # whether the stream has no room
        self._watching = False  # whether the core asks if the peer has closed the stream
        self._scheduled = False
        self._over = False
        self._done: Callable[[], object] | None = None
        self.failed: ByteStream | None = None
        """The side that broke first; None if none did."""
        self.failure: Exception | None = None
        """What it raised."""

    async def run(self) -> None:
        """Copy until both sides ended, one is closed both ways, or one failed; raises no ``Exception``.

        Cancellation: bytes may be lost between the two.
        """
        over = self._loop.create_future()
        try:
            self.start(partial(wake, over))
        except BusyResourceError as exc:
            self._note(self._stream, exc)
            return
        try:
            await over
        finally:
            self.stop()

    def start(self, done: Callable[[], object]) -> None:
        """Begin; ``done`` is called once, when all is over, in a later turn of the loop.

        :raises ~anyio.BusyResourceError: if a task is receiving from the stream or sending to it.
        """
        # What comes is for the socket, and what that says to it comes another time.
        call_back(self._stream._state, self._schedule, self._unblocked, answers=False)
        count_both_ways(1)
        self._done = done
        self._schedule()  # for what is there; and what a wake-up had to tell before is not told again

    def stop(self) -> None:
        """Copy no more, and call nobody; what is in hands is lost.  Does nothing once all is over."""
        if self._over:
            return
        self._over = True
        count_both_ways(-1)
        self._unwatch()
        with suppress(BusyResourceError):  # somebody else is sending, which is to end nothing here
            self._stream.set_callbacks(None, None)
        if self._watching:
            unwatch_peer(self._stream._driver, self._stream._state)
        self._first = b""
        self._done = self._tap = None

    def close(self) -> None:
        """Close both sides, once all is over and neither has failed."""
        self._stream.close()
        self._connection.close()

    # Turns.

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _unblocked(self) -> None:
        self._blocked = False
        self._schedule()

    def _turn(self) -> None:
        """The stream may have room, bytes, an end, or have failed."""
        self._scheduled = False
        if self._over:
            return
        try:
            if self._watching and self._is_closed():
                self._closed()
                return
            if self._up_open and not (self._reading or self._blocked):
                first, self._first = self._first, b""
                self._send_up(first)
            if self._down_open and not self._rest:
                self._pull()
        except Exception as exc:  # noqa: BLE001 - a mistake, which the loop would forget
            self._fail(self._connection, exc)

    # From the socket to the stream.

    def _heard(self, data: bytes) -> None:
        try:
            if self._tap is not None:
                self._tap.heard(data)
            if self._discards:
                self._discard(data)
            elif data:
                self._send_up(data)
            else:
                self._end_up()
        except Exception as exc:  # noqa: BLE001 - as above
            self._fail(self._connection, exc)

    def _send_up(self, data: bytes) -> None:
        """Nothing: find out whether the stream takes more."""
        try:
            has_room = self._stream.send_whole_nowait(data)
        except Exception as exc:  # noqa: BLE001 - of whatever type
            if self._watching:  # which it was for this
                self._closed()
            else:
                self._refused(exc)
            return
        if not has_room:
            self._blocked = True
            self._stop_reading()
        elif self._has_ended:
            self._end_up()
        elif not self._reading:
            self._watch_reading()

    def _end_up(self) -> None:
        self._has_ended = True
        self._up_open = False
        self._stop_reading()
        try:
            self._stream.send_eof_nowait()
        except NotImplementedError:  # it has no half close, so all is over
            self._finish()
        except Exception as exc:  # noqa: BLE001 - of whatever type
            self._refused(exc)
        else:
            # The stream need not linger: what it was sent arrives although it is closed.
            if not (self._down_open or self._ending) or self._ends_with is self._connection:
                self._finish()

    def _refused(self, exc: Exception) -> None:
        """The stream takes nothing any more, but an answer of it may be on its way to the socket.

        Who blocks in sending does not read an answer, so its bytes are taken, and thrown away.
        """
        self._note(self._stream, exc)
        if not self._has_ended:
            self._throw_away()
        elif self._down_open:
            self._up_open = False
        else:
            self._finish()

    # From the stream to the socket.

    def _pull(self) -> None:
        stream = self._stream
        state = stream._state
        for _ in range(PIECES_PER_TURN):
            # As is_readable, without the calls that each message would pay.
            if not (state.unread or state.recv_state is not _OPEN or state.failure):
                return
            try:
                data = stream.receive_nowait(piece_size())
            except WouldBlock:
                return
            except EndOfStream:
                self._end_down()
                return
            except Exception as exc:  # noqa: BLE001 - of whatever type
                self._fail(stream, exc)
                return
            if self._tap is not None:
                tap, self._tap = self._tap, None
                tap.answering(data)
            if not self._send(data):
                return
        self._schedule()

    def _took_rest(self) -> None:
        self._schedule()

    def _end_down(self) -> None:
        self._down_open = False
        if self._tap is not None:
            tap, self._tap = self._tap, None
            tap.ending()
        if not self._up_open and self._tls is None:
            self._finish()  # the socket has ended too, and is closed now, which says the end as well
        elif self._end():
            self._took_end()

    def _took_end(self) -> None:
        if not self._up_open:
            self._finish()
        elif self._ends_with is self._stream or self._is_closed():
            self._closed()
        else:
            self._watching = True

    # The end.

    def _is_closed(self) -> bool:
        """Whether the stream is closed both ways; if not, it says so by ``on_readable`` when it is."""
        return watch_peer(self._stream._driver, self._stream._state)

    def _closed(self) -> None:
        """The stream is closed both ways: nobody takes the bytes of the socket any more."""
        if not self._up_open:
            self._finish()
        elif self._linger_until is None:
            self._linger()

    def _discarded(self) -> None:
        self._up_open = False
        if self._linger_until is not None:
            self._finish()

    def _broke(self, exc: Exception) -> None:
        self._fail(self._connection, exc)

    def _fail(self, side: ByteStream, exc: Exception) -> None:
        """``side`` is broken: all is over."""
        self._note(side, exc)
        self._finish()

    def _note(self, side: ByteStream, exc: Exception) -> None:
        if self.failed is None:
            self.failed, self.failure = side, exc
        logger.debug(
            "copying between %r and %r: %r failed: %r", self._connection, self._stream, side, exc
        )

    def _finish(self) -> None:
        done = self._done
        if not self._over:
            self.stop()
            if done is not None:
                done()


def relay_between(a: ByteStream, b: ByteStream, *, ends_with_a: bool = False) -> Relay | None:
    """What copies between the two without tasks, if they are a plain socket and a stream, and the loop has callbacks."""
    loop = socket_loop()
    if loop is not None:
        for connection, stream in ((a, b), (b, a)):
            if isinstance(connection, PlainSocket) and isinstance(stream, Stream):
                return Relay(loop, connection, stream, ends_with=a if ends_with_a else None)
    return None
