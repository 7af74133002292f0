"""Bytes from one stream to another: how a stream meets what wants a real socket.

What it is.  :func:`bridge` copies both ways between any two anyio byte streams.  Two others use it:
``Session.dial_socket`` gives synchronous code a kernel socket that ends in a new stream, and
:func:`forward` turns each connection of a listener into a stream.

Where data comes from and goes to.  :mod:`~muxado_py.session.relay` moves the bytes where one side is a plain socket and
the loop calls back for it, :mod:`~muxado_py.session.copying` all others; here both sides are told how it ended.

The rules.  What happened on one side happens on the other.  End of file becomes a half close; an error, or
the cancellation of the bridge, becomes a reset.  A stream cut short must never look like one that ended: on
TCP that takes ``SO_LINGER`` 0, because an ordinary close sends FIN.  And whatever a stream raises ends its own
connection: nothing but a cancellation leaves ``bridge``.

The trap.  Two kinds of ends cannot say all that.  A TLS stream has no half close, nor has one of ours
on smux, so end of file towards it closes the whole bridge, and an answer that was still to come is
lost; a Unix socket (also the pair behind ``dial_socket``) has no reset, so its user sees end of file
after an error too.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSStream

from ..arguments import check_able, check_seconds
from ..links.layers import layers_of, stop_reading_ahead
from ..runtime.accept_loop import serve_listener
from ..runtime.checkpoints import socket_loop
from ..runtime.plain_sockets import PlainSocket, reset_when_closed, taken_over
from ..scheduler import check_priority
from .copying import LINGER_TIME, Copying
from .relay import relay_between
from .stream import Stream

if TYPE_CHECKING:
    from anyio.abc import AnyByteStream, ByteStream, Listener

    from ..scheduler import Priority
    from .relay import Relay

__all__ = ("IO_ERRORS", "Dialer", "abort", "bridge", "close", "forward", "socket_pair")

logger = logging.getLogger("muxado.bridge")

IO_ERRORS = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
"""How the streams of anyio, and ours, say that a stream is over (end of file is none of these)."""


async def bridge(a: ByteStream, b: ByteStream, *, ends_with_a: bool = False) -> None:
    """Copy both ways between ``a`` and ``b`` until both directions ended; then both are closed.

    A half close is passed on; to a side that has none (TLS, and smux without
    ``Config(half_close=True)``) as a full close.  A side that is closed both ways ends the other: that gets
    a second to read what it was sent.  An error on either side, of whatever type, resets the other; it is
    logged (``muxado.bridge``, debug), not raised, since each side has been told in its own way.

    No more is read of a side than the other takes, 64 KiB at a time, whatever wraps its socket.

    :param ends_with_a: take the end of file of ``a`` for its full close; for a server that never
        closes half, since a socket does not tell the two apart.

    :raises TypeError: if ``a`` or ``b`` is no stream.

    Cancellation: both streams are aborted, because bytes may have been lost between them.
    """
    for name, one in (("a", a), ("b", b)):
        check_able(name, one, "a byte stream of anyio's", "receive", "send", "aclose")
    relay = relay_between(a, b, ends_with_a=ends_with_a)
    if relay is not None:
        await _relay(relay, a, b)
        return
    copying = Copying(a, b, ends_with_a=ends_with_a)
    finished = False
    try:
        await copying.run()
        if copying.failed is None:
            await close(a)
            await close(b)
            finished = True
    finally:
        if not finished:
            await abort(a)
            await abort(b)


async def _relay(relay: Relay, a: ByteStream, b: ByteStream) -> None:
    """The same where neither side has to be waited for when it is closed."""
    finished = False
    try:
        await relay.run()
        if relay.failed is None:
            relay.close()
            finished = True
    finally:
        if not finished:
            await abort(a)
            await abort(b)


async def close(stream: AnyByteStream) -> None:
    """Close ``stream``, of which everything was said, in :data:`LINGER_TIME` seconds; raises no ``Exception``.

    The other side of a TLS stream may never say its part of the goodbye.

    Cancellation: it is closed all the same.
    """
    with anyio.move_on_after(LINGER_TIME), suppress(Exception):
        await stream.aclose()


async def abort(stream: AnyByteStream) -> None:
    """Close ``stream`` in the way that tells its peer: this did not end, it broke off.

    That is decided by what it wraps: a stream of ours is reset, and so is TCP.

    Cancellation: none; it does not wait for the peer.
    """
    if isinstance(stream, Stream):
        stream.reset()
        return
    below = stream
    for layer in layers_of(stream):
        if isinstance(layer, Stream):
            layer.reset()
        elif isinstance(layer, TLSStream):  # it would say goodbye
            below = layer.transport_stream
    # A socket that is disconnected already has no attributes, and says so in several ways.
    with suppress(Exception):
        reset_when_closed(below.extra(SocketAttribute.raw_socket))
    with anyio.CancelScope(shield=True), suppress(Exception):
        await anyio.aclose_forcefully(below)


def socket_pair() -> tuple[PlainSocket, socket.socket]:
    """Two ends of a connection inside this process: a stream to bridge, and a blocking socket."""
    ours, theirs = socket.socketpair()
    return PlainSocket(ours), theirs


class Dialer(Protocol):
    """What opens streams: a :class:`~muxado_py.Session`."""

    async def net_dial(
        self,
        *address: object,
        priority: Priority | None = None,
        stream_type: int | None = None,
        timeout: float | None = 0.0,
    ) -> Stream: ...


async def forward(
    session: Dialer,
    listener: Listener[ByteStream],
    *,
    priority: Priority | None = None,
    stream_type: int | None = None,
    timeout: float | None = None,
) -> None:
    """Turn each connection that ``listener`` accepts into a stream of ``session``, until cancelled.

    A connection whose stream cannot be opened is aborted; the listener stays open for the next.  So it does
    when no file descriptor is left: it tries again each second, with a line in the log
    (``muxado.endpoints``).  Returns if the listener is closed, when its last connection is over.

    :param priority: of each stream among those of its session.
    :param stream_type: of each stream, see :meth:`.Session.open_stream`.
    :param timeout: seconds that a connection waits for its stream; None for what ``net_dial`` of ``session`` waits by
        itself: not at all for a session that has no room, as long as it takes for a pool.
    :raises TypeError: at once, if ``priority`` is no :class:`Priority`, ``session`` neither of both, ``listener`` none,
        or ``timeout`` no number.
    :raises ValueError: at once, if ``timeout`` is less than 0, or nan.
    :raises ExceptionGroup: with an :exc:`~anyio.BusyResourceError` in it, however deep, if another task accepts from the same
        listener; or with what the ``serve`` of a listener raises that is not anyio's.  The connections are aborted.

    Cancellation: connections and their streams are aborted; the listener is the caller's.
    """
    if priority is not None:
        check_priority(priority)
    check_able("session", session, "a Session, or a pool of them", "net_dial")
    check_able("listener", listener, "a listener of anyio's", "serve")
    options: dict[str, Any] = {"priority": priority, "stream_type": stream_type}
    if timeout is not None:
        check_seconds("timeout", timeout)
        options["timeout"] = timeout

    async def connect(connection: ByteStream) -> None:
        if socket_loop() is not None:
            connection = taken_over(connection) or connection
        stop_reading_ahead(connection)
        try:
            stream = await session.net_dial(**options)
        except BaseException as exc:
            await abort(connection)
            if not isinstance(exc, Exception):
                raise
            logger.warning("no stream for a connection: %s", exc)
        else:
            await bridge(connection, stream)

    await serve_listener(listener, connect)
