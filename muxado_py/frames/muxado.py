"""The muxado wire: Go muxado v2's frames, and the few more that two muxado_py peers exchange.

Where data comes from and goes to.  :class:`MuxadoDecoder` is fed what the transport received and
calls the core; the functions of :class:`Muxado` give the bytes of what the core wants sent.

The format (ngrok/muxado-go, ``frame/common.go``), big endian::

    0       3        4         8
    +-------+--------+---------+--------------
    | len24 | tp flg | id32    | len24 bytes
    +-------+--------+---------+--------------
    0 RST     body: code32
    1 DATA    flags FIN=1 SYN=2
    2 WNDINC  body: increment31
    3 GOAWAY  id 0, body: last31 code32 debug
    others    skipped with their body, whatever flags they have

A muxado_py peer is recognized by its first frame of a known type: a WNDINC for the id 0x7fffffff, which is never
given out, with the two spare flag bits set.  Go ignores a WNDINC for an id it does not know, the
Rust crate do too; an RST for it would be ignored here.  Not the SYN and FIN bits: the crate
looks at those on every type (ngrok/ngrok-rust, ``muxado/src/frame.rs``).  Only after that frame
are types 4 to 9 sent or understood::

    4 PRIORITY  body: urgency8 (weight-1)8
    5 PING      flag ACK=1, body: 8 bytes, given back
    6 SETTINGS  id 0, once, body: (key16 value32) ...
    7 CREDIT    id 0, body: limit64, the total payload the sender of this frame takes
    8 WINDOW    body: window32, what the window of the stream has grown to
    9 OPEN      body: the stream's metadata; what a SYN is for a stream that has none

The rule.  Lengths and ids are checked on the header.  Only fixed bodies are ever kept, at most
1 KiB of a GOAWAY's debug text and 4 KiB of metadata with them; DATA goes on in pieces, the rest is skipped in
pieces.

The trap.  After each GOAWAY goes one header of an unknown type: Go muxado up to v2.0.1 swallows
eight bytes too many after a GOAWAY, and would lose the next frame's header.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, ClassVar

from ..errors import ErrorCode
from .decoding import BodyDecoder
from .metadata import MAX_METADATA, unpack
from .wire import Traits, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .wire import Input, Receiver

__all__ = ("Muxado", "MuxadoDecoder")

RST, DATA, WNDINC, GOAWAY, PRIORITY, PING, SETTINGS, CREDIT, WINDOW, OPEN = range(0x00, 0xA0, 0x10)
FIN, SYN, ACK, SPARE = 1, 2, 1, 0x0C

MAX_ID = 0x7FFF_FFFD
HELLO_ID = 0x7FFF_FFFF
HELLO_INCREMENT = 0x6D78_7001  # "mxp", version 1
MAX_DEBUG = 1024
MAX_SETTINGS = 16

_HEADER = Struct(">II")
_HEADER_AND_WORD = Struct(">III")
_HEADER_AND_LIMIT = Struct(">IIQ")
_GOAWAY = Struct(">IIII")
_WORD = Struct(">I")
_TWO_WORDS = Struct(">II")
_LIMIT = Struct(">Q")
_SETTING = Struct(">HI")

_PAD = _HEADER.pack(0xF0, 0)
_HELLO = _HEADER_AND_WORD.pack(4 << 8 | WNDINC | SPARE, HELLO_ID, HELLO_INCREMENT)
_TYPE_NAMES = {RST: "RST", WNDINC: "WNDINC", GOAWAY: "GOAWAY", OPEN: "OPEN"}


class MuxadoDecoder(BodyDecoder):
    """Bytes to operations; see :class:`~muxado_py.frames.wire.Decoder`."""

    __slots__ = ("_extended", "_first", "_skip", "_sound")

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver)
        self._skip = 0  # bytes of an uninteresting body that are still to come
        self._first = True
        self._extended = False  # whether the peer is a muxado_py, whose frames we understand
        self._sound = b""  # the latest metadata, which was looked through: most calls say the same

    @property
    def midway(self) -> bool:
        return super().midway or self._skip > 0

    def feed(self, data: Input) -> None:
        if self._partial:
            data = self._partial + data
            self._partial = b""
        receiver = self._receiver
        end = len(data)
        last = end - 8
        pos = self._go_past(0, end) if self._skip else 0
        if self._first and not receiver.paused:
            pos = self._recognize(data, pos, end)
            if self._first:
                self._partial = bytes(data[pos:])
                return
        while not receiver.paused:
            if self._body:
                if pos == end:
                    return
                pos = self._go_on(data, pos, end)
                continue
            if pos > last:
                break
            word, stream_id = _HEADER.unpack_from(data, pos)
            length = word >> 8
            if word & 0xF0 == DATA:
                if stream_id > MAX_ID or not stream_id:
                    receiver.violated(ErrorCode.PROTOCOL_ERROR, f"DATA for stream {stream_id:#x}")
                    return
                pos += 8
                if word & SYN:
                    receiver.opened(stream_id)
                stop = pos + length
                if stop > end:
                    self._begin(stream_id, length, bool(word & FIN), pos == end)
                    continue
                if length:
                    receiver.data(stream_id, data[pos:stop], 0)
                    pos = stop
                if word & FIN:
                    receiver.finished(stream_id)
                elif not (length or word & SYN):
                    receiver.data(stream_id, b"", 0)
                continue
            kind, flags = word & 0xF0, word & 0x0F
            taken = self._control(kind, flags, length, stream_id, data, pos + 8, end)
            if taken < 0:
                break
            pos = self._go_past(taken, end) if self._skip else taken
        self._partial = bytes(data[pos:])

    def _recognize(self, data: Input, pos: int, end: int) -> int:
        """Learn from the peer's first frame what it is, if it is here.

        One of a type that nobody begins with says nothing of its sender: noise has such, and is skipped.

        Returns where the next frame begins, behind those that were skipped and the hello.
        """
        while not (self._skip or self._receiver.paused) and end - pos >= 8:
            word, stream_id = _HEADER.unpack_from(data, pos)
            if word & 0xF0 > GOAWAY:
                self._skip = word >> 8
                self._receiver.noise()
                pos = self._go_past(pos + 8, end)
                continue
            if stream_id == HELLO_ID and end - pos < len(_HELLO):
                break
            self._first = False
            self._extended = data[pos : pos + len(_HELLO)] == _HELLO
            self._receiver.recognized(self._extended)
            return pos + len(_HELLO) if self._extended else pos  # it is no credit for anything
        return pos

    def _go_past(self, pos: int, end: int) -> int:
        """Where the uninteresting body ends, or what is here of it."""
        step = min(self._skip, end - pos)
        self._skip -= step
        return pos + step

    def _control(
        self, kind: int, flags: int, length: int, stream_id: int, data: Input, pos: int, end: int
    ) -> int:
        """One frame that is not DATA, whose body begins at ``pos``.

        Returns where the next frame begins, or -1 if more of this one must arrive first.
        """
        receiver = self._receiver
        if kind in (WNDINC, RST):
            if length != 4:
                return self._bad_length(kind, length, "4")
            if stream_id == 0:
                text = f"{_TYPE_NAMES[kind]} for stream 0"
                return self._violation(ErrorCode.PROTOCOL_ERROR, text)
            if end - pos < 4:
                return -1
            value: int = _WORD.unpack_from(data, pos)[0]
            if kind == RST:
                receiver.was_reset(stream_id, value)
            else:
                receiver.credited(stream_id, value & 0x7FFF_FFFF)
            return pos + 4
        if kind == GOAWAY:
            if length < 8:
                return self._bad_length(kind, length, "at least 8")
            if stream_id:
                text = f"GOAWAY for stream {stream_id:#x}, expected 0"
                return self._violation(ErrorCode.PROTOCOL_ERROR, text)
            kept = min(length, 8 + MAX_DEBUG)
            if end - pos < kept:
                return -1
            last_id, code = _TWO_WORDS.unpack_from(data, pos)
            receiver.going_away(last_id & 0x7FFF_FFFF, code, bytes(data[pos + 8 : pos + kept]))
            self._skip = length - kept
            return pos + kept
        return self._extension(kind, flags, length, stream_id, data, pos, end)

    def _extension(
        self, kind: int, flags: int, length: int, stream_id: int, data: Input, pos: int, end: int
    ) -> int:
        """A frame between muxado_py peers, or one of a type nobody knows: that one is skipped."""
        receiver = self._receiver
        if kind == OPEN and self._extended:
            return self._open(length, stream_id, data, pos, end)
        if not self._extended or length not in _EXTENSION_LENGTHS.get(kind, ()):
            self._skip = length
            receiver.noise()
            return pos
        if end - pos < length:
            return -1
        body = bytes(data[pos : pos + length])
        if kind == PRIORITY:
            receiver.prioritized(stream_id, body[0], body[1] + 1)
        elif kind == CREDIT:
            receiver.session_credited(_LIMIT.unpack(body)[0])
        elif kind == WINDOW:
            receiver.widened(stream_id, _WORD.unpack(body)[0])
        elif kind == SETTINGS:
            receiver.settings(dict(_SETTING.iter_unpack(body)))
        elif flags & ACK:
            receiver.ponged(body)
        else:
            receiver.pinged(body)
        return pos + length

    def _open(self, length: int, stream_id: int, data: Input, pos: int, end: int) -> int:
        """A stream with metadata.  Nothing of it can be skipped: what follows on the stream would be for nobody."""
        if length > MAX_METADATA:
            return self._bad_length(OPEN, length, f"at most {MAX_METADATA}")
        if stream_id > MAX_ID or not stream_id:
            return self._violation(ErrorCode.PROTOCOL_ERROR, f"OPEN for stream {stream_id:#x}")
        if end - pos < length:
            return -1
        metadata = bytes(data[pos : pos + length])
        if metadata != self._sound:
            try:
                unpack(metadata)
            except ValueError as exc:
                return self._violation(ErrorCode.PROTOCOL_ERROR, f"OPEN whose metadata {exc}")
            self._sound = metadata
        self._receiver.opened(stream_id, None, metadata)
        return pos + length

    def _bad_length(self, kind: int, length: int, expected: str) -> int:
        text = f"{_TYPE_NAMES[kind]} of {length} bytes, expected {expected}"
        return self._violation(ErrorCode.FRAME_SIZE_ERROR, text)


_EXTENSION_LENGTHS: dict[int, range] = {
    PRIORITY: range(2, 3),
    PING: range(8, 9),
    SETTINGS: range(0, 6 * MAX_SETTINGS + 1, 6),
    CREDIT: range(8, 9),
    WINDOW: range(4, 5),
}


class Muxado(Wire):
    """Operations to bytes; see :class:`~muxado_py.frames.wire.Wire`."""

    name: ClassVar[str] = "muxado"
    max_id: ClassVar[int] = MAX_ID
    max_payload: ClassVar[int] = 2**24 - 1
    traits: ClassVar[Traits] = Traits(
        most_streams=511,  # the Rust crate's limit is one more, and to reach it is its end
    )

    def __init__(self, *, client: bool) -> None:
        # Go's counters start at 1 and 0 and are raised by two before the first use.
        self.first_id, self.first_peer_id = (3, 2) if client else (2, 3)

    @staticmethod
    def decoder(receiver: Receiver) -> MuxadoDecoder:
        return MuxadoDecoder(receiver)

    @classmethod
    def matches(cls, head: bytes) -> bool:
        if len(head) < 8:
            return True
        word = int.from_bytes(head[:4], "big")
        stream_id = int.from_bytes(head[4:8], "big")
        kind, flags, length = word & 0xF0, word & 0x0F, word >> 8
        if kind == DATA:
            return flags <= (SYN | FIN) and 0 < stream_id <= MAX_ID
        if kind in (RST, WNDINC):
            return length == 4 and stream_id > 0 and (flags == 0 or stream_id == HELLO_ID)
        return kind == GOAWAY and flags == 0 and stream_id == 0 and 8 <= length <= 0xFFFF

    @staticmethod
    def syn(
        stream_id: int, length: int, priority: tuple[int, int] | None, stream_type: int | None
    ) -> bytes:
        return _HEADER.pack(length << 8 | DATA | SYN, stream_id)

    @staticmethod
    def data_header(stream_id: int, length: int, fin: bool) -> bytes:
        return _HEADER.pack(length << 8 | DATA | fin, stream_id)

    @staticmethod
    def fin(stream_id: int) -> bytes:
        return _HEADER.pack(DATA | FIN, stream_id)

    @staticmethod
    def reset(stream_id: int, code: int) -> bytes:
        return _HEADER_AND_WORD.pack(4 << 8 | RST, stream_id, code)

    @staticmethod
    def credit(stream_id: int, nbytes: int, total: int, window: int) -> bytes:
        return _HEADER_AND_WORD.pack(4 << 8 | WNDINC, stream_id, nbytes)

    @staticmethod
    def go_away(last_id: int, code: int, debug: bytes) -> bytes:
        debug = debug[:MAX_DEBUG]
        return _GOAWAY.pack((8 + len(debug)) << 8 | GOAWAY, 0, last_id, code) + debug + _PAD

    @staticmethod
    def probe(stream_id: int) -> bytes:
        return _HEADER.pack(DATA, stream_id)

    @staticmethod
    def hello() -> bytes:
        return _HELLO

    @staticmethod
    def ping(payload: bytes) -> bytes:
        return _HEADER.pack(8 << 8 | PING, 0) + payload

    @staticmethod
    def pong(payload: bytes) -> bytes:
        return _HEADER.pack(8 << 8 | PING | ACK, 0) + payload

    @staticmethod
    def settings(values: Mapping[int, int]) -> bytes:
        body = b"".join(_SETTING.pack(key, value) for key, value in values.items())
        return _HEADER.pack(len(body) << 8 | SETTINGS, 0) + body

    @staticmethod
    def priority(stream_id: int, urgency: int, weight: int) -> bytes:
        return _HEADER.pack(2 << 8 | PRIORITY, stream_id) + bytes((urgency, weight - 1))

    @staticmethod
    def opening(stream_id: int, metadata: bytes) -> bytes:
        return _HEADER.pack(len(metadata) << 8 | OPEN, stream_id) + metadata

    @staticmethod
    def window(stream_id: int, window: int) -> bytes:
        return _HEADER_AND_WORD.pack(4 << 8 | WINDOW, stream_id, window)

    @staticmethod
    def session_credit(limit: int) -> bytes:
        return _HEADER_AND_LIMIT.pack(8 << 8 | CREDIT, 0, limit)
