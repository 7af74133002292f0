"""Bytes from one stream to another: how a stream meets what wants a real socket.

What it is.  :func:`bridge` copies both ways between any two anyio byte streams.  Two others use it:
``Session.dial_socket`` gives synchronous code a kernel socket that ends in a new stream, and
:func:`forward` turns each connection of a listener into a stream.

Where data comes from and goes to.  Each direction is one loop of ``receive`` and ``send``, so
back-pressure passes through: what a slow side does not take is not read from the other.

The rule.  What happened on one side happens on the other.  End of file becomes a half close; an
error, or the cancellation of the bridge, becomes a reset.  A stream cut short must never look like
one that ended: on TCP that takes ``SO_LINGER`` 0, because an ordinary close sends FIN.

The trap.  Two kinds of ends cannot say all that.  A TLS stream has no half close, nor has one of ours
on smux, so end of file towards it closes the whole bridge, and an answer that was still to come is
lost; a Unix socket (also the pair behind ``dial_socket``) has no reset, so its user sees end of file
after an error too.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio import TypedAttributeLookupError
from anyio.abc import SocketAttribute, SocketStream, UNIXSocketStream
from anyio.streams.tls import TLSStream

from .stream import Stream

if TYPE_CHECKING:
    from anyio.abc import AnyByteStream, ByteStream, Listener

    from .scheduler import Priority

__all__ = ("IO_ERRORS", "Dialer", "abort", "bridge", "forward", "socket_pair")

logger = logging.getLogger("muxado.bridge")

IO_ERRORS = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
"""How the streams of anyio, and ours, say that a stream is over (end of file is none of these)."""

LINGER = 1.0
"""Seconds in which a socket that was answered before it had sent everything may read the answer and
close; what it still sends is thrown away.  Closing with unread bytes would destroy the answer (nginx calls
it a lingering close)."""

_LINGER_ZERO = struct.pack("ii" if os.name == "posix" else "hh", 1, 0)


async def bridge(a: ByteStream, b: ByteStream, *, ends_with_a: bool = False) -> None:
    """Copy both ways between ``a`` and ``b`` until both directions ended; then both are closed.

    A half close is passed on; to a side that has none (TLS, and smux without
    ``Config(half_close=True)``) as a full close.  An error on either side resets the other; it is
    logged, not raised, since each side has been told in its own way.

    :param ends_with_a: take the end of file of ``a`` for its full close; for a server that never
        closes half, since a socket does not tell the two apart.

    Cancellation: both streams are aborted, because bytes may have been lost between them.
    """
    cut_short = False
    answered = anyio.Event()  # one direction has ended, and its sink was told

    async def pump(source: ByteStream, sink: ByteStream) -> None:
        nonlocal cut_short
        try:
            async for chunk in source:
                try:
                    await sink.send(chunk)
                except IO_ERRORS:
                    # Of two sides that take nothing, the second has no answer to await.
                    first, cut_short = not cut_short, True
                    if first and not isinstance(source, Stream):
                        await let_answer(source)
                    raise
            if ends_with_a and source is a:
                tasks.cancel_scope.cancel()
            else:
                await sink.send_eof()
                answered.set()
        except IO_ERRORS as exc:
            logger.debug("bridge from %r to %r cut short: %r", source, sink, exc)
            cut_short = True
            tasks.cancel_scope.cancel()
        except NotImplementedError:  # the sink has no half close
            tasks.cancel_scope.cancel()

    async def let_answer(source: ByteStream) -> None:
        """Nobody takes the bytes of this socket any more, but an answer may be on its way to it.

        They are read all the same: who blocks in sending does not read an answer.
        """
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(throw_away, source)
            await answered.wait()
            waiting.cancel_scope.deadline = anyio.current_time() + LINGER

    async def throw_away(source: ByteStream) -> None:
        with suppress(*IO_ERRORS):
            async for _ in source:
                pass

    _stop_reading_ahead(a)
    _stop_reading_ahead(b)
    finished = False
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pump, a, b)
            tasks.start_soon(pump, b, a)
        finished = not cut_short
        if finished:
            for stream in (a, b):
                with suppress(*IO_ERRORS):  # both directions have ended; there is nothing to lose
                    await stream.aclose()
    finally:
        if not finished:
            await abort(a)
            await abort(b)


def _stop_reading_ahead(stream: ByteStream) -> None:
    """Restore the back-pressure of a TCP connection that has sent something already.

    On asyncio, anyio's ``SocketStream`` reads from the moment it is made, and pauses only once a
    ``receive()`` had to wait; until then it buffers without bound what a fast sender sends.
    """
    if isinstance(stream, SocketStream):
        transport = getattr(stream, "_transport", None)
        if transport is not None and not transport.is_closing():
            transport.pause_reading()


async def abort(stream: AnyByteStream) -> None:
    """Close ``stream`` in the way that tells its peer: this did not end, it broke off.

    Cancellation: none; it does not wait for the peer.
    """
    if isinstance(stream, TLSStream):
        await abort(stream.transport_stream)
        return
    if isinstance(stream, Stream):
        stream.reset()
        return
    # A socket that is disconnected already has no attributes: OSError, or AttributeError on uvloop.
    with suppress(TypedAttributeLookupError, AttributeError, OSError):
        raw = stream.extra(SocketAttribute.raw_socket)
        if raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    with anyio.CancelScope(shield=True), suppress(*IO_ERRORS):
        await anyio.aclose_forcefully(stream)


async def socket_pair() -> tuple[ByteStream, socket.socket]:
    """Two ends of a connection inside this process: a stream to bridge, and a blocking socket.

    Cancellation: nothing is left open.
    """
    ours, theirs = socket.socketpair()
    try:
        kind = UNIXSocketStream if ours.family == socket.AF_UNIX else SocketStream
        return await kind.from_socket(ours), theirs
    except BaseException:
        ours.close()
        theirs.close()
        raise


class Dialer(Protocol):
    """What opens streams: a :class:`~muxado_py.Session`."""

    async def net_dial(
        self,
        *address: object,
        priority: Priority | None = None,
        stream_type: int | None = None,
    ) -> Stream: ...


async def forward(
    session: Dialer,
    listener: Listener[ByteStream],
    *,
    priority: Priority | None = None,
    stream_type: int | None = None,
) -> None:
    """Turn each connection that ``listener`` accepts into a stream of ``session``, until cancelled.

    A connection whose stream cannot be opened is aborted; the listener stays open for the next.

    :raises OSError: whatever ends ``listener.serve``.

    Cancellation: connections and their streams are aborted; the listener is the caller's.
    """

    async def connect(connection: ByteStream) -> None:
        try:
            stream = await session.net_dial(priority=priority, stream_type=stream_type)
        except BaseException as exc:
            await abort(connection)
            if not isinstance(exc, IO_ERRORS):
                raise
            logger.warning("no stream for a connection: %s", exc)
        else:
            await bridge(connection, stream)

    await listener.serve(connect)
