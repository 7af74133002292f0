"""CodecTransport: TLS, or a websocket, between an asyncio transport and the link, on asyncio and uvloop.

Why not the loops' own TLS.  Theirs stop the application when it pauses, but read on: what lies between is dropped
when the peer ends meanwhile.  They lose the alert of a handshake that failed, have no half close, and once they
are over they know nothing of what they were.

Where data comes from and goes to.  It is the protocol of the transport below and the transport of the protocol
above: records come in here, pass the codec, and are decrypted into the memory of the protocol above; what that writes
leaves below in the same call.

The rules.  It keeps next to nothing.  To pause it is to pause the transport below, so that the kernel holds the peer
back; what remains here is of one read.  Nothing that is written waits here: the transport below says when it has
taken it.  What the codec says by itself, to a peer that takes nothing, is bounded: then that peer is not read any more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from anyio import move_on_after

from ..runtime.checkpoints import wake
from .codec import REFUSAL_WAIT

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator

    from .codec import Codec

__all__ = ("CodecTransport", "salvaged")

BUFFER_SIZE = 256 * 1024
"""Bytes that are read at once, as much as a flush brings.  They are copied into the codec at
once, so all connections of a loop share the memory."""

SALVAGE_SIZE = 64 * 1024
"""Bytes to ask for at a time, behind a failed write."""

MAX_REPLIES = 1024 * 1024
"""Bytes below, with those of a flush that the peer does not take, at which it is not read any more."""


_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


class CodecTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """``codec`` over the transport ``below``; it does not read until it is told to.

    :param above: the protocol that receives what the peer sends.
    """

    def __init__(self, below: asyncio.Transport, above: asyncio.BaseProtocol, codec: Codec) -> None:
        super().__init__()
        self._below = below
        self._above: Any = above
        self._codec = codec
        loop = asyncio.get_running_loop()
        self._buffer = _buffers.get(loop) or _buffers.setdefault(
            loop, memoryview(bytearray(BUFFER_SIZE))
        )
        self._call_soon = loop.call_soon
        # One more copy of a flush is memory that the allocator returns each time, and the kernel zeroes. But
        # asyncio's own writelines joins them, or (3.12, 3.13.0) forgets to pause the writer (python/cpython#127655).
        takes_pieces = isinstance(below, CodecTransport) or not isinstance(
            loop, asyncio.BaseEventLoop
        )
        self._output_pieces = codec.output_pieces if takes_pieces else None
        self._reading = False  # whether the protocol above wants more
        self._reading_below = False
        self._choked = False  # whether the peer leaves what the codec says lying
        self._end_sent = False
        self._end_reported = False  # whether the protocol above knows of the peer's end
        self._loss_reported = False
        self._closing = False
        self._handshaking: asyncio.Future[None] | None = None  # until the handshake is over
        self._refused: asyncio.Future[None] | None = None  # until the peer has read why
        self._lost = False
        self.given = 0
        """Bytes that the kernel was given of what was written here."""

    # The handshake.

    async def handshake(self, early: Iterable[bytes], *, ended: bool) -> None:
        """Agree with the peer.

        :param early: what was received already.
        :param ended: whether the peer's end, too.
        :raises OSError: what went wrong; ``ConnectionResetError`` if the peer ended it.

        Cancellation: the transport is as it was; abort it.
        """
        handshaking = self._handshaking = asyncio.get_running_loop().create_future()
        self._below.set_protocol(self)
        for data in early:
            self._codec.feed(data)
        self._go_on_with_handshake()
        if ended:
            self.eof_received()
        elif self._handshaking is not None:
            self._read_below()
        await handshaking

    def _go_on_with_handshake(self) -> None:
        """Go on with the handshake."""
        try:
            done = self._codec.handshake()
        except Exception as exc:  # noqa: BLE001 - a callback of the application's context may have a mistake
            self._end_handshake(exc)
        else:
            if done:
                self._end_handshake(None)
        self._flush()

    def _end_handshake(self, exc: Exception | None) -> None:
        self._pause_below()
        handshaking, self._handshaking = self._handshaking, None
        assert handshaking is not None
        if handshaking.done():  # nobody waits for it any more
            return
        if exc is None:
            handshaking.set_result(None)
        else:
            handshaking.set_exception(exc)

    def _ended_early(self) -> ConnectionResetError:
        return ConnectionResetError(f"it ended during the {self._codec.name} handshake")

    async def refuse(self) -> None:
        """After a handshake that failed: give the peer the time to read why.

        Cancellation: it has had its time.
        """
        if self._lost:
            return
        self._refused = asyncio.get_running_loop().create_future()
        with suppress(OSError, RuntimeError):  # uvloop's answer, if it has ended meanwhile
            self._below.write_eof()
        self._read_below()
        with move_on_after(REFUSAL_WAIT):
            await self._refused

    # The transport below.

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._refused is not None:
            return
        self._codec.feed(self._buffer[:nbytes])
        if self._handshaking is None:
            self._pump()
        else:
            self._go_on_with_handshake()

    def eof_received(self) -> bool:
        self._codec.feed_end()
        if self._refused is not None:
            wake(self._refused)
        elif self._handshaking is not None:
            self._go_on_with_handshake()
            if self._handshaking is not None:
                self._end_handshake(self._ended_early())
        else:
            self._pump()
        return True  # else asyncio would end our direction, which is for the link to end

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._closing = True
        if self._refused is not None:
            wake(self._refused)
        elif self._handshaking is not None:
            self._end_handshake(self._ended_early())
        else:
            if exc is not None:
                self._rescue()  # for the peer's alert, which says more than the error does
            self._report_loss(self._codec.fault or exc)

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._choked:
            self._choked = False
            self._go_on()
        self._above.resume_writing()

    def _rescue(self) -> None:
        """After a failed write: what the peer has said before."""
        if not isinstance(self._below, CodecTransport):  # which has done so
            for data in salvaged(self._below.get_extra_info("socket")):
                self._codec.feed(data)
                while self._deliver():
                    pass
        while self._deliver():
            pass

    def _report_loss(self, exc: Exception | None) -> None:
        if not self._loss_reported:
            self._loss_reported = True
            self._above.connection_lost(exc)

    # Reading.

    def _pump(self) -> None:
        """Give the protocol above what has come, as long as it wants it."""
        while self._reading and self._deliver():
            pass
        codec = self._codec
        if codec.pending_output:
            self._reply()
        # Not before all that was whole is delivered, which it is not while the protocol above pauses.
        if self._reading and not self._closing:
            if codec.fault is not None:
                self._fail(codec.fault)
            elif codec.ended and not self._end_reported:
                self._end_reported = True
                self._pause_below()
                self._above.eof_received()

    def _deliver(self) -> bool:
        """Whether there may be more."""
        above = self._above
        room = above.get_buffer(-1)
        count = self._codec.receive_into(room)
        if count:
            above.buffer_updated(count)
        return count == len(room)

    def _reply(self) -> None:
        """What the codec says by itself."""
        self._flush()
        if self._below.get_write_buffer_size() > MAX_REPLIES:
            self._choked = True
            self._pause_below()

    def _fail(self, exc: Exception) -> None:
        self._closing = True
        self._reading = False
        self._flush()  # the alert
        self._below.close()
        self._call_soon(self._report_loss, exc)

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False
        self._pause_below()

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            # As with every transport, not now: the caller may be in the middle of something.
            self._call_soon(self._go_on)

    def _go_on(self) -> None:
        """With what was left here, and then with what lies below."""
        if self._reading:
            self._pump()
        if self._reading and not self._choked and not self._end_reported:
            self._read_below()

    def _read_below(self) -> None:
        if not self._reading_below and not self._below.is_closing():
            self._reading_below = True
            self._below.resume_reading()

    def _pause_below(self) -> None:
        if self._reading_below and not self._below.is_closing():
            self._reading_below = False
            self._below.pause_reading()

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and self._take(data):
            self._hand_over()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Each of them by itself: TLS makes a record of what is short."""
        if all(self._take(data) for data in list_of_data):
            self._hand_over()

    def _take(self, data: bytes | bytearray | memoryview) -> bool:
        """Whether the codec has it, to be handed over."""
        if self._closing:
            return False
        if self._end_sent:
            raise RuntimeError("write() after write_eof()")
        try:
            self._codec.send(data)
        except BrokenPipeError:
            return False  # a kernel, too, drops what is written to a peer that has closed; its end is still to be received
        except OSError as exc:
            self._fail(exc)
            return False
        return True

    def _hand_over(self) -> None:
        below, output_pieces = self._below, self._output_pieces
        if output_pieces is None:
            output = self._codec.output()
            below.write(output)
            size = len(output)
        else:
            pieces = output_pieces()
            if len(pieces) == 1:
                [output] = pieces
                below.write(output)
                size = len(output)
            else:
                below.writelines(pieces)
                size = sum(map(len, pieces))
        # What the kernel is given is what counts, and the transport below may add to it, too.
        self.given = below.given if isinstance(below, CodecTransport) else self.given + size

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """End this direction; what the peer sends still comes."""
        if not (self._closing or self._end_sent):
            self._send_end()

    def _send_end(self) -> None:
        self._end_sent = True
        self._codec.end()
        self._flush()

    def _flush(self) -> None:
        data = self._codec.output()
        if data and not self._below.is_closing():
            self._below.write(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._below.get_write_buffer_limits()

    # The transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "codec":
            return self._codec
        if name in self._codec.info:
            return self._codec.info[name]
        return self._below.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._above = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._above
        return protocol

    def is_closing(self) -> bool:
        return self._closing or self._below.is_closing()

    def close(self) -> None:
        """Say that this is the end, unless that was said, and close when it has gone out."""
        if not self._closing:
            self._closing = True
            self._reading = False
            if not self._end_sent:
                self._send_end()
            self._below.close()

    def abort(self) -> None:
        self._closing = True
        self._reading = False
        self._below.abort()


def salvaged(raw: socket.socket) -> Iterator[bytes]:
    """What a socket has received and nobody has read; its transport reads no more."""
    with suppress(OSError), raw.dup() as same:
        same.setblocking(False)
        while data := same.recv(SALVAGE_SIZE):
            yield data
