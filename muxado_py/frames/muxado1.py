"""The muxado1 wire: the frames of Go muxado as it was in 2014, with priorities and types in the SYN.

Where data comes from and goes to.  :class:`Muxado1Decoder` is fed what the transport received and
calls the core; the functions of :class:`Muxado1` give the bytes of what the core wants sent.

The format (inconshreveable/muxado at f693c7e, ``proto/frame``), big endian::

    0        2        3        4         8
    +--------+--------+--------+---------+--------------
    | len14  | flags8 | type5  | id31    | len14 bytes
    +--------+--------+--------+---------+--------------
    1 SYN     flags FIN=1 PRIORITY=2 TYPE=4, body: priority31 and type32, each if its flag is set
    2 RST     body: code32, 0 to 7
    3 DATA    flag FIN=1
    4 WNDINC  body: increment31
    6 GOAWAY  id 0, body: last31 code32
    others    end the session

The bits that are left over at the top of each field are masked away, as Go does.

Priorities.  Go carries the number and makes nothing of it; higher is more urgent, and none is the
default.  Ours are ``(7 - urgency) << 28 | (weight - 1) << 20 | 1``, and are read back the same way.

The rule.  Lengths, flags and ids are checked on the header.  Only bodies of 4 or 8 bytes are ever kept;
DATA goes on in pieces.

The traps.  Go sends GOAWAYs whose length counts a text that it never writes (``WGoAway.Set`` drops
it): after 8 bytes the next frame begins, whatever the length says, and ours never say more.  And a
heartbeat of 2014 runs on a stream of type 0xfffffeff: it becomes the core's heartbeat here, because
a Go session whose heartbeats nobody answers ends itself after 13 s (``proto/ext/heartbeat.go``).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, ClassVar

from ..errors import ErrorCode
from .decoding import BodyDecoder
from .wire import Traits, Wire

if TYPE_CHECKING:
    from .wire import Input, Receiver

__all__ = ("Muxado1", "Muxado1Decoder")

SYN, RST, DATA, WNDINC, GOAWAY = 1, 2, 3, 4, 6
FIN, PRIORITY, TYPE = 0x0100, 0x0200, 0x0400
"""Flags, in their place in a header's first word."""

MAX_ID = 0x7FFF_FFFF
MAX_PAYLOAD = 0x3FFF

_HEADER = Struct(">II")
_HEADER_AND_WORD = Struct(">III")
_GOAWAY = Struct(">IIII")
_WORD = Struct(">I")
_TWO_WORDS = Struct(">II")

_NAMES = {SYN: "SYN", RST: "RST", WNDINC: "WNDINC", GOAWAY: "GOAWAY"}

_FROM_WIRE: tuple[ErrorCode, ...] = (
    ErrorCode.NO_ERROR,
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.INTERNAL_ERROR,
    ErrorCode.FLOW_CONTROL_ERROR,
    ErrorCode.STREAM_CLOSED,
    ErrorCode.FRAME_SIZE_ERROR,
    ErrorCode.STREAM_REFUSED,
    ErrorCode.STREAM_CANCELLED,
)
"""Our codes by those of 2014 (``proto/frame/error.go``)."""

_INTERNAL_ERROR = 2
_TO_WIRE: dict[int, int] = {code: number for number, code in enumerate(_FROM_WIRE)}
_TO_WIRE[ErrorCode.ACCEPT_QUEUE_FULL] = _TO_WIRE[ErrorCode.STREAM_REFUSED]

_HEARTBEAT = 0xFFFF_FEFF  # here (proto/ext/const.go)
_CORE_HEARTBEAT = 0xFFFF_FFFF
_SWAPPED = {_HEARTBEAT: _CORE_HEARTBEAT, _CORE_HEARTBEAT: _HEARTBEAT}
"""The two types change places, so that no other type of an application means a heartbeat."""


class Muxado1Decoder(BodyDecoder):
    """Bytes to operations; see :class:`~muxado_py.frames.wire.Decoder`."""

    __slots__ = ()

    def feed(self, data: Input) -> None:
        if self._partial:
            data = self._partial + data
            self._partial = b""
        receiver = self._receiver
        pos = 0
        end = len(data)
        while not receiver.paused:
            if self._body:
                if pos == end:
                    return
                pos = self._go_on(data, pos, end)
                continue
            if end - pos < 8:
                break
            word, stream_id = _HEADER.unpack_from(data, pos)
            kind = word & 0x1F
            length = word >> 16 & MAX_PAYLOAD
            stream_id &= MAX_ID
            if not stream_id and kind != GOAWAY:
                receiver.violated(ErrorCode.PROTOCOL_ERROR, f"a frame of type {kind} for stream 0")
                return
            if kind != DATA:
                taken = self._control(kind, word, length, stream_id, data, pos + 8, end)
                if taken < 0:
                    break
                pos = taken
                continue
            pos += 8
            stop = pos + length
            if stop > end:
                self._begin(stream_id, length, bool(word & FIN), pos == end)
                continue
            if length:
                receiver.data(stream_id, data[pos:stop], 0)
                pos = stop
            elif not word & FIN:
                receiver.data(stream_id, b"", 0)
            if word & FIN:
                receiver.finished(stream_id)
        self._partial = bytes(data[pos:])

    def _control(
        self, kind: int, word: int, length: int, stream_id: int, data: Input, pos: int, end: int
    ) -> int:
        """One frame that is not DATA, whose body begins at ``pos``.

        Returns where the next frame begins, or -1 if more of this one must arrive first.
        """
        receiver = self._receiver
        if kind not in _NAMES:
            receiver.violated(ErrorCode.PROTOCOL_ERROR, f"a muxado1 frame of type {kind}")
            return -1
        expected = _body_length(kind, word)
        if length != expected and not (kind == GOAWAY and length > expected):
            receiver.violated(
                ErrorCode.FRAME_SIZE_ERROR,
                f"{_NAMES[kind]} of {length} bytes, expected {expected}",
            )
            return -1
        if end - pos < expected:
            return -1
        if kind == SYN:
            self._open(word, stream_id, data, pos)
        elif kind == GOAWAY:
            last_id, code = _TWO_WORDS.unpack_from(data, pos)
            receiver.going_away(last_id & MAX_ID, _our_code(code), b"")
        else:
            value: int = _WORD.unpack_from(data, pos)[0]
            if kind == RST:
                receiver.was_reset(stream_id, _our_code(value))
            else:
                receiver.credited(stream_id, value & 0x7FFF_FFFF)
        return pos + expected

    def _open(self, word: int, stream_id: int, data: Input, pos: int) -> None:
        """A SYN that is here with its body."""
        receiver = self._receiver
        priority = 0
        if word & PRIORITY:
            priority = _WORD.unpack_from(data, pos)[0] & 0x7FFF_FFFF
            pos += 4
        stream_type = None
        if word & TYPE:
            stream_type = _WORD.unpack_from(data, pos)[0]
            stream_type = _SWAPPED.get(stream_type, stream_type)
        receiver.opened(stream_id, stream_type)
        if priority:
            receiver.prioritized(stream_id, 7 - (priority >> 28), (priority >> 20 & 0xFF) + 1)
        if word & FIN:
            receiver.finished(stream_id)


def _body_length(kind: int, word: int) -> int:
    """How long the body of a frame that is not DATA must be."""
    if kind == SYN:
        return 4 * bool(word & PRIORITY) + 4 * bool(word & TYPE)
    return 8 if kind == GOAWAY else 4


def _our_code(code: int) -> int:
    """A code that 2014 did not have must not pass for the refusal that its number means to us."""
    return _FROM_WIRE[code] if code < len(_FROM_WIRE) else ErrorCode.INTERNAL_ERROR


class Muxado1(Wire):
    """Operations to bytes; see :class:`~muxado_py.frames.wire.Wire`."""

    name: ClassVar[str] = "muxado1"
    traits: ClassVar[Traits] = Traits(initial_window=64 * 1024, types_in_syn=True, recognizes=False)
    max_id: ClassVar[int] = MAX_ID
    max_payload: ClassVar[int] = MAX_PAYLOAD

    def __init__(self, *, client: bool) -> None:
        # Go's counters start at 1 and 0 and are raised by two before the first use.
        self.first_id, self.first_peer_id = (3, 2) if client else (2, 3)

    @staticmethod
    def decoder(receiver: Receiver) -> Muxado1Decoder:
        return Muxado1Decoder(receiver)

    @classmethod
    def matches(cls, head: bytes) -> bool:
        """Go begins with the SYN of its heartbeat, or with that of a first stream; a server may
        answer before it opens.  SYNs leave in the order of their ids."""
        if len(head) < 8:
            return True
        word = int.from_bytes(head[:4], "big")
        stream_id = int.from_bytes(head[4:8], "big")
        kind, flags, length = word & 0xFF, word & 0xFF00, word >> 16
        if kind == SYN:
            fits = flags <= FIN | PRIORITY | TYPE and length == _body_length(kind, word)
            return fits and stream_id in (2, 3)
        if kind == DATA:
            fits = flags == FIN or (flags == 0 and length > 0)
            return fits and length <= MAX_PAYLOAD and 0 < stream_id <= MAX_ID
        if kind in (RST, WNDINC):
            return flags == 0 and length == 4 and 0 < stream_id <= MAX_ID
        return kind == GOAWAY and flags == 0 and stream_id == 0 and 8 <= length <= MAX_PAYLOAD

    @staticmethod
    def syn(
        stream_id: int, length: int, priority: tuple[int, int] | None, stream_type: int | None
    ) -> bytes:
        word = SYN
        body = b""
        if priority is not None:
            urgency, weight = priority
            word += PRIORITY + (4 << 16)
            body = _WORD.pack((7 - urgency) << 28 | (weight - 1) << 20 | 1)
        if stream_type is not None:
            word += TYPE + (4 << 16)
            body += _WORD.pack(_SWAPPED.get(stream_type, stream_type))
        syn = _HEADER.pack(word, stream_id) + body
        return syn + _HEADER.pack(length << 16 | DATA, stream_id) if length else syn

    @staticmethod
    def data_header(stream_id: int, length: int, fin: bool) -> bytes:
        return _HEADER.pack(length << 16 | fin << 8 | DATA, stream_id)

    @staticmethod
    def fin(stream_id: int) -> bytes:
        return _HEADER.pack(FIN | DATA, stream_id)

    @staticmethod
    def reset(stream_id: int, code: int) -> bytes:
        code = _TO_WIRE.get(code, _INTERNAL_ERROR)
        return _HEADER_AND_WORD.pack(4 << 16 | RST, stream_id, code)

    @staticmethod
    def credit(stream_id: int, nbytes: int, total: int, window: int) -> bytes:
        return _HEADER_AND_WORD.pack(4 << 16 | WNDINC, stream_id, nbytes)

    @staticmethod
    def probe(stream_id: int) -> bytes:
        return _HEADER.pack(DATA, stream_id)

    @staticmethod
    def go_away(last_id: int, code: int, debug: bytes) -> bytes:
        return _GOAWAY.pack(8 << 16 | GOAWAY, 0, last_id, _TO_WIRE.get(code, _INTERNAL_ERROR))
