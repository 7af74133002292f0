"""The yamux wire: the frames of hashicorp/yamux, and of libp2p's Go, Rust and JavaScript programs.

Where data comes from and goes to.  :class:`YamuxDecoder` is fed what the transport received and
calls the core; the functions of :class:`Yamux` give the bytes of what the core wants sent.

The format (hashicorp/yamux, ``const.go`` and ``spec.md``), big endian::

    0      1      2         4        8        12
    +------+------+---------+--------+--------+--------------
    | ver8 | typ8 | flags16 | id32   | len32  | body
    +------+------+---------+--------+--------+--------------
    version 0; flags SYN=1 ACK=2 FIN=4 RST=8
    0 Data          len bytes follow
    1 WindowUpdate  len: bytes more that may be sent; with RST a code (libp2p/go-yamux)
    2 Ping          id 0, len: a number; SYN asks, ACK gives it back
    3 GoAway        id 0, len: 0 normal, 1 protocol error, 2 internal error

Every flag may stand on a Data frame as well as on a WindowUpdate.  What we send is what no peer
misreads: SYN, ACK and FIN each alone on a WindowUpdate of length 0, because hashicorp acts on a
FIN before it takes the payload beside it (``stream.go``, ``readData``).

The rule.  A frame has one header and only Data has a body, so never more than a header is kept;
Data goes on in pieces.  The core's ping payloads have 8 bytes, of which the last 4 travel.

The trap.  An ACK means different things.  hashicorp and go-yamux send a WindowUpdate with nothing
but the ACK when their application accepts; rust-yamux and js-libp2p-yamux put it on the first frame
they have anyway, perhaps a FIN, and reset streams their application has read without ever sending
one.  Only the first kind shows that a stream without an ACK was never accepted.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, ClassVar

from ..errors import ErrorCode
from .decoding import BodyDecoder
from .wire import Traits, Wire

if TYPE_CHECKING:
    from .wire import Input, Receiver

__all__ = ("Yamux", "YamuxDecoder")

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(0, 4 << 16, 1 << 16)
"""Version and type, as the upper half of a header's first word."""

SYN, ACK, FIN, RST = 1, 2, 4, 8
FLAGS = SYN | ACK | FIN | RST
INITIAL_WINDOW = 256 * 1024
LARGEST_WINDOW = 4 * 1024 * 1024
"""hashicorp's yamux sends what its window allows in one frame, and its pings wait behind that."""

HEADER = 12
MAX_ID = 2**31 - 1
NO_LAST_ID = 2**32 - 1
"""What a GoAway says of the last id, which is nothing."""

_HEADER = Struct(">III")
_HEADER_AND_DATA = Struct(">IIIIII")
_WORD = Struct(">I")

_PEERS_FAULTS = (
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.FLOW_CONTROL_ERROR,
    ErrorCode.STREAM_CLOSED,
    ErrorCode.FRAME_SIZE_ERROR,
    ErrorCode.ENHANCE_YOUR_CALM,
)
_GO_AWAY_CODES: dict[int, int] = {ErrorCode.NO_ERROR: 0, **dict.fromkeys(_PEERS_FAULTS, 1)}
_INTERNAL_ERROR = 2


class YamuxDecoder(BodyDecoder):
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
            if end - pos < HEADER:
                break
            word, stream_id, length = _HEADER.unpack_from(data, pos)
            pos += HEADER
            if word > DATA | 0xFFFF:
                self._control(word, stream_id, length)
                continue
            if not stream_id:
                receiver.violated(ErrorCode.PROTOCOL_ERROR, "a Data frame for stream 0")
                return
            if word & (SYN | ACK | RST):
                self._begin_or_reset(word, stream_id, 0, at_hand_off=False)
            stop = pos + length
            if stop > end:
                self._begin(stream_id, length, bool(word & FIN), pos == end)
                continue
            if length:
                receiver.data(stream_id, data[pos:stop], 0)
                pos = stop
            elif not word & FLAGS:
                receiver.data(stream_id, b"", 0)
            if word & FIN:
                receiver.finished(stream_id)
        self._partial = bytes(data[pos:])

    def _begin_or_reset(self, flags: int, stream_id: int, code: int, *, at_hand_off: bool) -> None:
        """The flags that stand before what else a frame says."""
        receiver = self._receiver
        if flags & SYN:
            receiver.opened(stream_id)
        if flags & ACK:
            receiver.acknowledged(stream_id, at_hand_off)
        if flags & RST:
            receiver.was_reset(stream_id, code)

    def _control(self, word: int, stream_id: int, length: int) -> None:
        """One frame that is not Data."""
        receiver = self._receiver
        flags = word & FLAGS
        kind = word & 0xFFFF_0000
        if kind == WINDOW_UPDATE:
            self._window_update(flags, stream_id, length)
        elif kind == PING:
            payload = _WORD.pack(0) + _WORD.pack(length)
            if flags & SYN:
                receiver.pinged(payload)
            elif flags & ACK:
                receiver.ponged(payload)
            else:
                receiver.noise()
        elif kind == GO_AWAY:
            receiver.going_away(NO_LAST_ID, length, b"")
        else:
            version = word >> 24
            what = f"version {version}" if version else f"type {word >> 16}"
            receiver.violated(ErrorCode.PROTOCOL_ERROR, f"a yamux frame of {what}")

    def _window_update(self, flags: int, stream_id: int, length: int) -> None:
        receiver = self._receiver
        if not stream_id:
            receiver.violated(ErrorCode.PROTOCOL_ERROR, "a WindowUpdate for stream 0")
            return
        self._begin_or_reset(flags, stream_id, length, at_hand_off=flags == ACK and length == 0)
        if flags & RST:
            return
        if length:
            receiver.credited(stream_id, length)
        if flags & FIN:
            receiver.finished(stream_id)
        if not (flags or length):
            receiver.noise()


class Yamux(Wire):
    """Operations to bytes; see :class:`~muxado_py.frames.wire.Wire`."""

    name: ClassVar[str] = "yamux"
    traits: ClassVar[Traits] = Traits(
        initial_window=INITIAL_WINDOW,
        largest_window=LARGEST_WINDOW,
        max_unacknowledged=256,
        most_streams=512,  # rust-yamux's max_num_streams
        fin_with_data=False,
        reset_codes=False,
        resets_unknown=False,
        discards_closed=True,
        recognizes=False,
        answers_pings=True,
        early_goaway=False,
        silent_end=True,
    )
    max_id: ClassVar[int] = MAX_ID
    # rust-yamux takes bodies of up to 1 MiB; a longer frame would only hold up what is behind it.
    max_payload: ClassVar[int] = 64 * 1024

    def __init__(self, *, client: bool) -> None:
        self.first_id, self.first_peer_id = (1, 2) if client else (2, 1)

    @staticmethod
    def decoder(receiver: Receiver) -> YamuxDecoder:
        return YamuxDecoder(receiver)

    @classmethod
    def matches(cls, head: bytes) -> bool:
        """Either side may begin with a ping or a GoAway; else one opens a stream, and the other
        answers or refuses one, or opens its own."""
        if len(head) < 8:
            return True
        word = int.from_bytes(head[:4], "big")
        stream_id = int.from_bytes(head[4:8], "big")
        kind, flags = word & 0xFFFF_0000, word & 0xFFFF
        if kind in (DATA, WINDOW_UPDATE):
            length = int.from_bytes(head[8:12], "big")
            # A longer first frame is a SYN of muxado1 with a DATA frame behind it.
            too_long = kind == DATA and flags & SYN and length > INITIAL_WINDOW
            return flags <= FLAGS and stream_id > 0 and not too_long
        if kind == PING:
            return flags in (SYN, ACK) and stream_id == 0
        return word == GO_AWAY and stream_id == 0

    @staticmethod
    def syn(
        stream_id: int, length: int, priority: tuple[int, int] | None, stream_type: int | None
    ) -> bytes:
        if not length:
            return _HEADER.pack(WINDOW_UPDATE | SYN, stream_id, 0)
        return _HEADER_AND_DATA.pack(WINDOW_UPDATE | SYN, stream_id, 0, DATA, stream_id, length)

    @staticmethod
    def data_header(stream_id: int, length: int, fin: bool) -> bytes:
        return _HEADER.pack(DATA, stream_id, length)

    @staticmethod
    def fin(stream_id: int) -> bytes:
        return _HEADER.pack(WINDOW_UPDATE | FIN, stream_id, 0)

    @staticmethod
    def ack(stream_id: int) -> bytes:
        return _HEADER.pack(WINDOW_UPDATE | ACK, stream_id, 0)

    @staticmethod
    def reset(stream_id: int, code: int) -> bytes:
        # go-yamux reads the code; hashicorp adds it to the window of a stream that is over.
        return _HEADER.pack(WINDOW_UPDATE | RST, stream_id, code)

    @staticmethod
    def credit(stream_id: int, nbytes: int, total: int, window: int) -> bytes:
        return _HEADER.pack(WINDOW_UPDATE, stream_id, nbytes)

    @staticmethod
    def go_away(last_id: int, code: int, debug: bytes) -> bytes:
        return _HEADER.pack(GO_AWAY, 0, _GO_AWAY_CODES.get(code, _INTERNAL_ERROR))

    @staticmethod
    def ping(payload: bytes) -> bytes:
        return _HEADER.pack(PING | SYN, 0, *_WORD.unpack(payload[-4:]))

    @staticmethod
    def pong(payload: bytes) -> bytes:
        return _HEADER.pack(PING | ACK, 0, *_WORD.unpack(payload[-4:]))
