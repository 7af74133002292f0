"""A stream as an ``asyncio.Transport``: how asyncio protocols run over it without a socket.

What it is.  :class:`MuxTransport` gives ``asyncio.Protocol`` and ``BufferedProtocol`` classes what
they expect of a TCP transport.  It needs no task: the stream's wake-ups drive it, its nowait calls
move the bytes.  :func:`open_connection` puts asyncio's own ``StreamReader`` and ``StreamWriter``
on top.

Where data comes from and goes to.  ``on_readable`` schedules a turn that hands one piece, or the end of
file, to the protocol, and schedules the next while there is more; ``write`` offers bytes to the stream at once and
keeps the rest until ``on_writable``.  Back-pressure is the stream's window below and asyncio's
write buffer limits above.

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
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.abc import SocketAttribute

from ..errors import ErrorCode
from ..session.copy_budget import piece_size
from .addresses import socket_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("MuxTransport", "NowaitStream", "open_connection")

_STREAM_ERRORS = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class NowaitStream(Protocol):
    """What a transport needs of a stream; :class:`muxado_py.Stream` has it."""

    def receive_nowait(self, max_bytes: int = ..., /) -> bytes: ...
    def send_nowait(self, data: bytes | bytearray | memoryview, /) -> int: ...
    def send_eof_nowait(self) -> None: ...
    def close(self) -> None: ...
    def reset(self, code: int = ..., /) -> None: ...
    def set_callbacks(
        self,
        on_readable: Callable[[], None] | None,
        on_writable: Callable[[], None] | None,
        /,
    ) -> None: ...
    @property
    def can_half_close(self) -> bool: ...
    @property
    def is_readable(self) -> bool: ...
    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]: ...


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
        attributes = stream.extra_attributes
        addresses = {
            "peername": socket_name(attributes, SocketAttribute.remote_address),
            "sockname": socket_name(attributes, SocketAttribute.local_address),
        }
        super().__init__({**addresses, **(extra or {})}, asyncio.get_running_loop())
        self._stream = stream
        self._context = contextvars.copy_context()
        self._unsent: deque[memoryview] = deque()
        self._unsent_size = 0
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
            self._on_readable()

    def _on_readable(self) -> None:
        if not self._read_scheduled and not self._lost_scheduled:
            self._read_scheduled = True
            self._soon(self._read_ready)

    def _read_ready(self) -> None:
        self._read_scheduled = False
        if not (self.is_reading() and self._stream.is_readable):
            return
        got_some = self._fill_buffer() if self._buffered else self._hand_over()
        if got_some and self.is_reading() and self._stream.is_readable:
            self._on_readable()

    def _hand_over(self) -> bool:
        # asyncio's transport asks recv() for 256 KiB; a protocol that then pauses holds all of it, outside of
        # the session's bound.
        data = self._receive(piece_size())
        if data is not None:
            self._call("data_received", data)
        return data is not None

    def _fill_buffer(self) -> bool:
        buffer = self._call("get_buffer", -1)
        if buffer is not None and not len(buffer):
            self._force_close(RuntimeError("get_buffer() returned an empty buffer"))
        data = self._receive(len(buffer)) if self.is_reading() else None
        if data is not None:
            buffer[: len(data)] = data
            self._call("buffer_updated", len(data))
        return data is not None

    def _receive(self, max_bytes: int) -> bytes | None:
        """Some bytes, or None if there are none now: not yet, or never again."""
        try:
            return self._stream.receive_nowait(max_bytes)
        except anyio.WouldBlock:
            pass
        except anyio.EndOfStream:
            if not self._eof_received:
                self._eof_received = True
                if not self._call("eof_received"):
                    self.close()
        except _STREAM_ERRORS as exc:
            self._force_close(_as_os_error(exc))
        return None

    # -- writing ------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._closing:
            return
        if not isinstance(data, bytes):
            data = bytes(data)  # the caller may change its own after this call
        taken = 0
        if not self._unsent:
            try:
                taken = self._stream.send_nowait(data)
            except _STREAM_ERRORS as exc:
                self._force_close(_as_os_error(exc))
                return
        if taken < len(data):
            self._unsent.append(memoryview(data)[taken:])
            self._unsent_size += len(data) - taken
            self._maybe_pause_protocol()

    def _on_writable(self) -> None:
        if not self._write_scheduled and not self._lost_scheduled:
            self._write_scheduled = True
            self._soon(self._write_ready)

    def _write_ready(self) -> None:
        self._write_scheduled = False
        if self._lost_scheduled:
            return
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
        except _STREAM_ERRORS as exc:
            self._force_close(_as_os_error(exc))
            return
        self._maybe_resume_protocol()  # may write again
        if not self._unsent:
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
        if not self._unsent:
            self._finish_writing()

    def _finish_writing(self) -> None:
        try:
            self._stream.send_eof_nowait()
        except _STREAM_ERRORS as exc:
            self._force_close(_as_os_error(exc))

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self._unsent:
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
        self._unsent_size = 0
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
        except Exception as exc:  # noqa: BLE001 - a protocol may fail in any way, as in asyncio
            self._loop.call_exception_handler(
                {
                    "message": f"Fatal error: protocol.{method}() call failed.",
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
            self._force_close(exc)


def _as_os_error(error: Exception) -> OSError:
    """Protocols know ``OSError``; of anyio's types they know nothing."""
    if isinstance(error, OSError):
        return error
    reset = ConnectionResetError(str(error))
    reset.__cause__ = error
    return reset


async def open_connection(
    stream: NowaitStream, *, limit: int = 2**16
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """asyncio's reader and writer over ``stream``, as ``asyncio.open_connection`` returns them.

    :param limit: of the reader's buffer, in bytes.

    Cancellation: none; it does not wait.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = MuxTransport(stream, protocol)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
