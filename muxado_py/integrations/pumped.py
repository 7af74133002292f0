"""The nowait calls of a stream, over any anyio byte stream.

What it is.  :class:`~.asyncio_transport.MuxTransport` needs ``receive_nowait``, ``send_nowait`` and
wake-ups.  Our own streams have them; a ``TLSStream`` over one of ours, or a socket, has only calls
that wait.  :class:`PumpedStream` runs those calls in two tasks and keeps a small buffer between.
This is how ``https`` inside a stream reaches uvicorn, and how uvloop, whose ``start_tls`` takes no
foreign transport, gets TLS at all.

Where data comes from and goes to.  ``run()`` is both tasks: one fills ``_inbox`` until it holds
``_LIMIT`` bytes, the other empties ``_outbox``, to which ``send_nowait`` adds up to as many, and ``send_whole_nowait``
one piece more.

The rule.  ``run()`` owns the byte stream: however it ends, the stream is closed (after ``close()``)
or aborted (after ``reset()``, an error, a cancellation).

The trap.  A stream without half close (TLS, and ours on smux) cannot pass on ``send_eof_nowait``; the
peer then sees the end only when the stream is closed, so ``can_half_close`` says it beforehand.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.tls import TLSStream

from ..errors import ErrorCode
from ..links.attributes import attributes_of
from ..links.layers import stop_reading_ahead
from ..session.bridge import abort
from ..session.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import ByteStream

__all__ = ("PumpedStream",)

_LIMIT = 64 * 1024  # bytes buffered in each direction
_CLOSE_TIME = 5.0  # seconds: TLS waits for the peer's part of its goodbye


class PumpedStream:
    """A :class:`~.nowait.NowaitStream` over ``stream``, as long as :meth:`run` runs."""

    def __init__(self, stream: ByteStream) -> None:
        stop_reading_ahead(stream)
        self._stream = stream
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._eof_received = False
        self._eof_wanted = False
        self._close_wanted = False
        self._failure: Exception | None = None
        self._scope = anyio.CancelScope()
        self._inbox_has_room = anyio.Event()
        self._outbox_changed = anyio.Event()
        self._on_readable: Callable[[], object] | None = None
        self._on_writable: Callable[[], object] | None = None

    async def run(self) -> None:
        """Move the bytes until the stream is closed, reset or broken; failures are not raised.

        Cancellation: the stream is aborted.
        """
        closed = False
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._fill)
                    await self._drain()
                    tasks.cancel_scope.cancel()
                with anyio.move_on_after(_CLOSE_TIME), suppress(Exception):
                    await self._stream.aclose()
                    closed = True
        finally:
            if not closed:
                await abort(self._stream)

    async def _fill(self) -> None:
        try:
            while True:
                while len(self._inbox) >= _LIMIT:
                    self._inbox_has_room = anyio.Event()
                    await self._inbox_has_room.wait()
                self._inbox += await self._stream.receive(_LIMIT)
                self._tell(self._on_readable)
        except anyio.EndOfStream:
            self._eof_received = True
            self._tell(self._on_readable)
        except Exception as exc:  # noqa: BLE001 - whatever a stream raises is the end of this one
            self._fail(exc)

    async def _drain(self) -> None:
        eof_sent = False
        try:
            while not self._close_wanted or self._outbox:
                if self._outbox:
                    data = bytes(self._outbox)
                    await self._stream.send(data)
                    del self._outbox[: len(data)]
                    self._tell(self._on_writable)
                elif self._eof_wanted and not eof_sent:
                    eof_sent = True
                    with suppress(NotImplementedError):
                        await self._stream.send_eof()
                else:
                    self._outbox_changed = anyio.Event()
                    await self._outbox_changed.wait()
        except Exception as exc:  # noqa: BLE001 - whatever a stream raises is the end of this one
            self._fail(exc)

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._scope.cancel()
        self._tell(self._on_readable)
        self._tell(self._on_writable)

    @staticmethod
    def _tell(callback: Callable[[], object] | None) -> None:
        if callback is not None:
            callback()

    # -- the nowait calls ---------------------------------------------------------------------

    @property
    def can_half_close(self) -> bool:
        if isinstance(self._stream, TLSStream):
            return False
        return not isinstance(self._stream, Stream) or self._stream.can_half_close

    @property
    def is_readable(self) -> bool:
        return bool(self._inbox or self._eof_received or self._failure)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return attributes_of(self._stream)

    def set_callbacks(
        self, on_readable: Callable[[], object] | None, on_writable: Callable[[], object] | None
    ) -> None:
        self._on_readable = on_readable
        self._on_writable = on_writable

    def receive_nowait(self, max_bytes: int = 65536) -> bytes:
        if self._inbox:
            data = bytes(self._inbox[:max_bytes])
            del self._inbox[:max_bytes]
            self._inbox_has_room.set()
            return data
        if self._failure is not None:
            raise self._failure
        if self._eof_received:
            raise anyio.EndOfStream
        raise anyio.WouldBlock

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        self._check_sendable()
        taken = min(len(data), max(0, _LIMIT - len(self._outbox)))
        self._outbox += data[:taken]
        self._outbox_changed.set()
        return taken

    def send_whole_nowait(self, data: bytes) -> bool:
        """As that of a stream of ours: all of it is taken; whether there is room for more."""
        self._check_sendable()
        self._outbox += data
        self._outbox_changed.set()
        return len(self._outbox) <= _LIMIT

    def _check_sendable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._close_wanted or self._eof_wanted:
            raise anyio.ClosedResourceError

    def send_eof_nowait(self) -> None:
        self._eof_wanted = True
        self._outbox_changed.set()

    def close(self) -> None:
        self._close_wanted = True
        self._outbox_changed.set()

    def reset(self, code: int = ErrorCode.STREAM_CANCELLED) -> None:
        self._fail(anyio.ClosedResourceError())
