"""What a transport needs of a stream: calls that never wait, and wake-ups.

What it is.  The contract between :class:`~.asyncio_transport.MuxTransport` and what it stands on.
:class:`muxado_py.Stream` has it by itself, :class:`~.pumped.PumpedStream` makes it of any other byte stream.

The rules.  ``send_nowait`` takes what there is room for; ``send_whole_nowait`` takes all of it, and says whether there
was room.  After less than all, or after no, ``on_writable`` is called when there is room again, and so it is when the
stream has failed.  ``on_readable`` is called when bytes, the end or a failure came.  Both may be called in the middle of
whatever the stream does, so they only schedule.

What it raises.  :data:`STREAM_ERRORS`, ``WouldBlock`` and ``EndOfStream``; protocols know ``OSError``, see
:func:`as_os_error`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("STREAM_ERRORS", "NowaitStream", "as_os_error")

STREAM_ERRORS = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
"""Of a stream that is over, and of those of others."""


class NowaitStream(Protocol):
    """What a transport needs of a stream; :class:`muxado_py.Stream` has it."""

    def receive_nowait(self, max_bytes: int = ..., /) -> bytes: ...
    def send_nowait(self, data: bytes | bytearray | memoryview, /) -> int: ...
    def send_whole_nowait(self, data: bytes, /) -> bool: ...
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


def as_os_error(error: Exception) -> OSError:
    """Protocols know ``OSError``; of anyio's types they know nothing."""
    if isinstance(error, OSError):
        return error
    reset = ConnectionResetError(str(error))
    reset.__cause__ = error
    return reset
