"""WebSocketCodec: the bytes of a session inside the binary messages of a websocket, without IO.

What it is.  A :class:`~muxado_py.links.codec.Codec` on the protocol classes of the library ``websockets``: what is sent in one
call is one message, or several if it is long, and of what is received nobody asks how it was cut.  How either side comes
to be open is the matter of :mod:`~muxado_py.links.websocket_handshakes`.  The library judges
handshakes, masks, and keeps the rules of frames; only whole binary messages pass it by, which are all that moves as a rule
(:mod:`~muxado_py.links.websocket_frames`).  The other one that is kept well, ``wsproto``, takes three times as long for a
short message, and fourteen times for one of 64 KiB.

The rules.  A peer's close is its end, and a fault if its code says that something was wrong; so is what no session
sends: text.  A connection that ends without a close just ends, as with TLS: muxado says goodbye by itself.  No extension is
agreed on: with compression nobody knows how much a short message may become.

The bounds.  A head may have :data:`MAX_HEAD` bytes.  Frames that cost their sender nothing, as pings do, have a budget.  Only
the last ping is answered, if the answers to those before it have not left yet (RFC 6455, section 5.5.3).

The trap.  There is no half close.  A side that is told the end must say its own at once and may send
nothing behind it (section 5.5.1): who ends a session reads on, but what the peer had not sent by then never comes.  A
session loses nothing by that: a side that has said goodbye throws away what still comes.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

from websockets.frames import Opcode
from websockets.protocol import State

from ..errors import escaped
from ..protocol.budgets import Budget
from .upgrade import WebSocketAttribute
from .websocket_frames import MAX_HEADER, FrameSieve, plain_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from websockets.frames import Frame
    from websockets.protocol import Protocol

__all__ = ("MAX_HEAD", "QUIET", "WebSocketCodec")

MAX_HEAD = 16 * 1024
"""Bytes of the head of a request or of an answer."""

MAX_MESSAGE = 32 * 1024 - MAX_HEADER
"""Bytes of a message that is sent: about as many as coder/websocket takes if nobody told it to take more, the fewest of
all libraries that have a bound; a frame with its header fills two records of TLS."""

SLICE = 64 * 1024
"""Bytes that are given to the library at once: it makes an object of each frame, and a frame may have one byte."""

FREE_FRAMES = 1024
FREE_FRAMES_PER_SECOND = 256
"""Frames without bytes for the session that a peer may send at once, and for ever; as with those of a session."""

HEAD_END = b"\r\n\r\n"

ORDERLY = (1000, 1001, 1005)
"""Close codes of an end that is none of a failure: normal, going away, none given (RFC 6455, section 7.4.1)."""

QUIET = logging.getLogger("muxado.websocket")
"""The library's logger: what it tells below a warning has tokens in it, and bytes of sessions."""

QUIET.setLevel(logging.WARNING)

UNSUPPORTED_DATA, POLICY_VIOLATION, PROTOCOL_ERROR = 1003, 1008, 1002


class WebSocketCodec(ABC):
    """What both sides have in common; see :class:`~muxado_py.links.codec.Codec`."""

    name = "websocket"
    server_side: bool

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self.info: dict[str, Any] = {}
        self.ended = False
        self.fault: OSError | None = None
        self._head = bytearray()  # what came of the peer's head
        self._head_is_whole = False
        self._behind_head = b""  # what came in the same bytes
        self._is_open = False
        self._sieve = FrameSieve(masked=self.server_side)
        self._budget = Budget(FREE_FRAMES, FREE_FRAMES_PER_SECOND, time.monotonic)
        self._had_bytes = False  # whether the last frame had any for the session
        self._received: deque[bytes | bytearray | memoryview] = deque()  # and not asked for
        self._is_over = False  # whether nothing comes behind that
        self._why: OSError | None = None  # what was wrong then, if anything was
        self._end_said = False
        self._output: list[bytes] = []
        self._pong_at: int | None = None  # where in it is the answer to the last ping

    # The handshake.

    @abstractmethod
    def handshake(self) -> bool: ...

    def _feed_handshake(self, data: bytes | memoryview) -> None:
        if self._head_is_whole:  # the body of an answer that refuses
            self._protocol.receive_data(bytes(data))
            return
        searched_to = max(0, len(self._head) - len(HEAD_END))
        self._head += data
        end = self._head.find(HEAD_END, searched_to) + len(HEAD_END)
        if end >= len(HEAD_END):
            self._head_is_whole = True
            self._protocol.receive_data(bytes(self._head[:end]))
            self._behind_head = bytes(self._head[end:])
            if self._protocol.state is State.CONNECTING and not self.server_side:
                self._protocol.receive_data(self._behind_head)
            del self._head[end:]

    @property
    def _head_is_too_long(self) -> bool:
        return len(self._head) > MAX_HEAD

    def _opened(self) -> None:
        """From here on there are frames."""
        self._is_open = True
        self._head.clear()
        if self._behind_head:
            self.feed(self._behind_head)
            self._behind_head = b""

    # Receiving.

    def feed(self, data: bytes | memoryview) -> None:
        if self._is_over:
            return
        if not self._is_open:
            self._feed_handshake(data)
            return
        try:
            for is_payload, piece in self._sieve.sift(data):
                if self._is_over:
                    return
                if is_payload:
                    self._take_payload(piece)
                else:
                    self._feed_library(memoryview(piece))
        except ValueError as exc:
            self._fail(PROTOCOL_ERROR, str(exc))

    def _take_payload(self, data: bytes | bytearray | memoryview) -> None:
        if data:
            self._received.append(data)
        elif not self._had_bytes:  # some end each message with a frame that has none
            self._spend()
        self._had_bytes = len(data) > 0

    def _feed_library(self, frames: memoryview) -> None:
        for start in range(0, len(frames), SLICE):
            if not self._is_over:
                self._feed_frames(frames[start : start + SLICE])

    def _feed_frames(self, frames: memoryview) -> None:
        protocol = self._protocol
        protocol.receive_data(frames)  # type: ignore[arg-type]  # which adds it to a bytearray
        for frame in protocol.events_received():
            if not self._is_over:
                self._take(frame)  # type: ignore[arg-type]  # there is no head any more
        self._keep_output()
        close = protocol.close_sent
        if close is not None and not self._end_said and not self._is_over:
            self._stop(f"it broke the rules of websockets: {close.reason} ({close.code})")

    def _take(self, frame: Frame) -> None:
        """A frame that is not plain."""
        kind = frame.opcode
        if kind is Opcode.BINARY or kind is Opcode.CONT:
            self._take_payload(frame.data)
        elif kind is Opcode.TEXT:
            self._fail(UNSUPPORTED_DATA, "binary messages only")
        elif kind is Opcode.CLOSE:
            close = self._protocol.close_rcvd
            assert close is not None
            reason = f": {escaped(close.reason)}" if close.reason else ""
            self._stop(
                ""
                if close.code in ORDERLY
                else f"it closed the websocket with code {close.code}{reason}"
            )
        else:
            self._spend()

    def _spend(self) -> None:
        if not self._budget.spend():
            self._fail(POLICY_VIOLATION, "too many frames without data")

    def _fail(self, code: int, reason: str) -> None:
        self._protocol.fail(code, reason)
        self._keep_output()
        self._stop(f"it broke the rules of websockets: {reason} ({code})")

    def _stop(self, why: str) -> None:
        """Nothing is received any more; ``why`` if something is wrong."""
        self._is_over = True
        self._why = ConnectionResetError(why) if why else None

    def feed_end(self) -> None:
        if self._is_open:
            if not self._is_over:
                self._stop("")
        elif self._head_is_whole:
            self._protocol.receive_eof()

    def receive_into(self, room: memoryview) -> int:
        received, size, filled = self._received, len(room), 0
        while received and filled < size:
            piece = received[0]
            count = len(piece)
            if count <= size - filled:
                room[filled : filled + count] = piece
                received.popleft()
            else:
                count = size - filled
                rest = memoryview(piece)
                room[filled:] = rest[:count]
                received[0] = rest[count:]
            filled += count
        if self._is_over and not received:
            self.fault = self._why
            self.ended = self._why is None
        return filled

    # Sending.

    def send(self, data: bytes | bytearray | memoryview) -> None:
        if self._protocol.state is not State.OPEN:
            raise BrokenPipeError("the websocket is closed")
        masked = not self.server_side
        if len(data) <= MAX_MESSAGE:
            self._output.append(plain_frame(data, masked=masked))
        else:
            view = memoryview(data)
            for start in range(0, len(view), MAX_MESSAGE):
                piece = view[start : start + MAX_MESSAGE]
                self._output.append(plain_frame(piece, masked=masked))

    def end(self) -> None:
        """The close frame is the last of our output."""
        if self._is_open and self._protocol.state is State.OPEN:
            self._end_said = True
            self._protocol.send_close(1000)
            self._keep_output()

    def _keep_output(self) -> None:
        """What the library has to say by itself; it ends no direction of the connection, that is the driver's."""
        for one in self._protocol.data_to_send():
            is_pong = self._is_open and one[:1] and one[0] & 0x0F == Opcode.PONG
            if is_pong and self._pong_at is not None:
                # In its place: what answers the handshake stays the first, and a close frame the last.
                self._output[self._pong_at] = one
                continue
            if is_pong:
                self._pong_at = len(self._output)
            self._output.append(one)

    @property
    def pending_output(self) -> int:
        return sum(map(len, self._output))

    def output(self) -> bytes:
        output = self.output_pieces()
        return output[0] if len(output) == 1 else b"".join(output)

    def output_pieces(self) -> list[bytes]:
        output, self._output, self._pong_at = self._output, [], None
        return output

    def attributes(self) -> Mapping[Any, Callable[[], Any]]:
        subprotocol = self._protocol.subprotocol
        return {WebSocketAttribute.subprotocol: lambda: subprotocol}
