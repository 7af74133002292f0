"""A stream as an ``asyncio.Transport``: how asyncio protocols run over it without a socket.

What it is.  :class:`MuxTransport` gives ``asyncio.Protocol`` and ``BufferedProtocol`` classes what
they expect of a TCP transport.  It needs no task: the stream's wake-ups drive it, its nowait calls
move the bytes.  :func:`open_connection` puts asyncio's own ``StreamReader`` and ``StreamWriter``
on top.

Where data comes from and goes to.  ``on_readable`` schedules a turn that hands one piece, or the end of
file, to the protocol, and schedules the next while there is more; ``write`` gives bytes to the stream at once.  What is
as short as a piece is given whole, and the one that found no room counts as the transport's until ``on_writable``;
of longer ones the stream takes what it has room for, and the rest waits here.  Back-pressure is the stream's window
below and asyncio's write buffer limits above.

The rule.  The stream's callbacks only *schedule*; a protocol is never called from inside the
session's tasks, and always in the context that was current when the transport was made.  Otherwise
the context variables of whoever woke the stream leak into the application.  A turn that was
scheduled may find the transport paused, closed or lost: it looks again before it acts.  And a turn
calls the protocol once, as asyncio's own transport does: tasks that the data started take their first
step before the end of file, which uvicorn takes for a client that went away.

The trap.  ``get_extra_info("socket")`` must stay None: libraries call ``setsockopt`` or
``getpeername`` on whatever it is.  And ``_sendfile_compatible`` is no decoration: without it
``loop.sendfile`` drops the body.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import constants, transports
from collections import deque
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute

from ..arguments import check_able
from ..errors import ErrorCode
from ..session.copy_budget import MAX_PIECE, piece_size
from .addresses import socket_name
from .nowait import STREAM_ERRORS, as_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .nowait import NowaitStream

__all__ = ("MuxTransport", "open_connection")


class MuxTransport(transports._FlowControlMixin):
    """An ``asyncio.Transport`` over one stream, for one protocol at a time.

    ``connection_made`` is called in the loop's next turn, as asyncio does.  ``close()`` flushes
    and closes both directions, ``abort()`` resets the stream, and either ends in exactly one
    ``connection_lost``; its argument is None, or an ``OSError`` (the stream's own error, or a
    ``ConnectionResetError`` whose ``__cause__`` is that).

    :param stream: owned by the transport from here on; nobody else may use it.
    :param protocol: as of ``loop.create_connection``.
    :param extra: more answers for ``get_extra_info``, for a stream that knows of TLS.
    """

    if TYPE_CHECKING:  # private to asyncio, unchanged since 3.4
        _loop: asyncio.AbstractEventLoop

        def _maybe_pause_protocol(self) -> None: ...
        def _maybe_resume_protocol(self) -> None: ...

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    def __init__(
        self,
        stream: NowaitStream,
        protocol: asyncio.BaseProtocol,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        check_able("stream", stream, "a Stream", "receive_nowait", "send_nowait")
        attributes = stream.extra_attributes
        addresses = {
            "peername": socket_name(attributes, SocketAttribute.remote_address),
            "sockname": socket_name(attributes, SocketAttribute.local_address),
        }
        super().__init__({**addresses, **(extra or {})}, asyncio.get_running_loop())
        self._stream = stream
        self._context = contextvars.copy_context()
        self._unsent: deque[memoryview] = deque()
        self._overshoot = (
            0  # bytes of the last write, if the stream took it and had no room for all of it
        )
        self._unsent_size = 0  # of both
        self._paused = False
        self._closing = False
        self._eof_received = False
        self._eof_written = False
        self._lost_scheduled = False
        self._lost = asyncio.Event()
        self._read_scheduled = True
        self._write_scheduled = False
        # The stream has a buffer, of which ``Config`` is the bound; what waits here comes on top.
        self.set_write_buffer_limits(high=0)
        self.set_protocol(protocol)
        stream.set_callbacks(self._on_readable, self._on_writable)
        self._soon(self._protocol.connection_made, self)
        self._soon(self._read_ready)

    def __repr__(self) -> str:
        state = "lost" if self._lost_scheduled else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} over {self._stream!r}>"

    # -- what protocols ask -------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol: Any = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        return self._closing

    async def wait_lost(self) -> None:
        """Return once ``connection_lost`` has been called.

        Cancellation: safe, the transport goes on.
        """
        await self._lost.wait()

    # -- reading ------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return not (self._paused or self._closing)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if self._stream.is_readable:
                self._on_readable()

    def _on_readable(self) -> None:
        if not self._read_scheduled and not self._lost_scheduled:
            self._read_scheduled = True
            self._soon(self._read_ready)

    def _read_ready(self) -> None:
        self._read_scheduled = False
        if self._paused or self._closing:
            return
        try:
            if self._buffered:
                self._fill_buffer()
            else:
                # asyncio's transport asks recv() for 256 KiB; a protocol that then pauses holds all of it, outside
                # of the session's bound.
                data = self._stream.receive_nowait(piece_size())
                # Not by _call: this is what happens to each piece of a body.
                try:
                    self._protocol.data_received(data)
                except Exception as exc:  # noqa: BLE001 - a protocol may fail in any way, as in asyncio
                    self._protocol_failed("data_received", exc)
        except anyio.WouldBlock:
            return
        except anyio.EndOfStream:
            if not self._eof_received:
                self._eof_received = True
                if not self._call("eof_received"):
                    self.close()
            return
        except STREAM_ERRORS as exc:
            self._force_close(as_os_error(exc))
            return
        if self._stream.is_readable and self.is_reading():
            self._on_readable()

    def _fill_buffer(self) -> None:
        if not self._stream.is_readable:
            return
        buffer = self._call("get_buffer", -1)
        if buffer is not None and not len(buffer):
            self._force_close(RuntimeError("get_buffer() returned an empty buffer"))
        if self.is_reading():
            data = self._stream.receive_nowait(len(buffer))
            buffer[: len(data)] = data
            self._call("buffer_updated", len(data))

    # -- writing ------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"data must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)  # the caller may change its own after this call
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._closing:
            return
        try:
            if self._unsent_size or len(data) > MAX_PIECE:
                self._send_long(data)
            elif self._stream.send_whole_nowait(data):
                return
            else:
                self._overshoot = len(data)
                self._unsent_size += len(data)
        except STREAM_ERRORS as exc:
            self._force_close(as_os_error(exc))
        else:
            self._maybe_pause_protocol()

    def _send_long(self, data: bytes) -> None:
        """Whatever a session has unsent is shared out among its streams, so none of them is given much at once."""
        taken = 0 if self._unsent_size else self._stream.send_nowait(data)
        if taken < len(data):
            self._unsent.append(memoryview(data)[taken:])
            self._unsent_size += len(data) - taken

    def _on_writable(self) -> None:
        if not self._write_scheduled and not self._lost_scheduled:
            self._write_scheduled = True
            self._soon(self._write_ready)

    def _write_ready(self) -> None:
        self._write_scheduled = False
        if self._lost_scheduled:
            return
        self._unsent_size -= self._overshoot
        self._overshoot = 0
        try:
            if not (self._unsent or self._eof_written):
                self._stream.send_nowait(b"")  # raises if the wake-up means that the stream failed
            while self._unsent:
                view = self._unsent[0]
                taken = self._stream.send_nowait(view)
                self._unsent_size -= taken
                if taken < len(view):
                    self._unsent[0] = view[taken:]
                    break
                self._unsent.popleft()
        except STREAM_ERRORS as exc:
            self._force_close(as_os_error(exc))
            return
        self._maybe_resume_protocol()  # may write again
        if not self._unsent_size:
            if self._closing:
                self._flushed()
            elif self._eof_written:
                self._finish_writing()

    def get_write_buffer_size(self) -> int:
        return self._unsent_size

    def can_write_eof(self) -> bool:
        return self._stream.can_half_close

    def write_eof(self) -> None:
        if self._closing or self._eof_written:
            return
        if not self.can_write_eof():
            raise NotImplementedError("this connection cannot be half closed; close() ends it")
        self._eof_written = True
        if not self._unsent_size:
            self._finish_writing()

    def _finish_writing(self) -> None:
        try:
            self._stream.send_eof_nowait()
        except STREAM_ERRORS as exc:
            self._force_close(as_os_error(exc))

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self._unsent_size:
            self._flushed()

    def abort(self) -> None:
        self._force_close(None)

    def _flushed(self) -> None:
        self._lose(None)  # first, or the stream would call back once more
        self._stream.close()

    def _force_close(self, error: Exception | None) -> None:
        if self._lost_scheduled:
            return
        self._closing = True
        self._unsent.clear()
        self._unsent_size = self._overshoot = 0
        self._lose(error)
        self._stream.reset(ErrorCode.STREAM_CANCELLED)

    def _lose(self, error: Exception | None) -> None:
        self._lost_scheduled = True
        self._stream.set_callbacks(None, None)
        self._soon(self._connection_lost, error)

    def _connection_lost(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._protocol = None  # the two refer to each other
            self._lost.set()

    # -- calling the protocol -----------------------------------------------------------------

    def _soon(self, callback: Callable[..., object], *args: object) -> None:
        self._loop.call_soon(callback, *args, context=self._context)

    def _call(self, method: str, *args: object) -> Any:
        """Call the protocol; if that raises, report it, end the connection and return None."""
        try:
            return getattr(self._protocol, method)(*args)
        except Exception as exc:  # noqa: BLE001 - as above
            self._protocol_failed(method, exc)

    def _protocol_failed(self, method: str, exc: Exception) -> None:
        self._loop.call_exception_handler(
            {
                "message": f"Fatal error: protocol.{method}() call failed.",
                "exception": exc,
                "transport": self,
                "protocol": self._protocol,
            }
        )
        self._force_close(exc)


async def open_connection(
    stream: NowaitStream, *, limit: int = 2**16
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """asyncio's reader and writer over ``stream``, as ``asyncio.open_connection`` returns them.

    :param limit: of the reader's buffer, in bytes.
    :raises TypeError: if ``stream`` is none.

    Cancellation: none; it does not wait.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = MuxTransport(stream, protocol)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
