"""The smux wires: the frames of xtaci/smux, version 1 and version 2.

Where data comes from and goes to.  :class:`SmuxDecoder` is fed what the transport received and calls the
core; the methods of :class:`Smux1` and :class:`Smux2` give the bytes of what the core wants sent.

The format (xtaci/smux v1.5.58, ``frame.go`` and ``recvLoop`` in ``session.go``), little endian::

    0     1     2       4        8
    +-----+-----+-------+--------+-----------
    | ver | cmd | len16 | id32   | len16 bytes
    +-----+-----+-------+--------+-----------
    0 SYN    1 FIN    2 PSH  payload    3 NOP    4 UPD (version 2)  consumed32 window32

Everything that smux lacks is an attribute below: no acknowledgement, no reset, no goodbye, and no answer
to a NOP.  Version 1 has no windows either.  Version 2 has totals: a sender may be ``window``
bytes ahead of ``consumed``, modulo 2^32, and the first UPD may *shrink* the 262144 it began with.

What a muxado_py adds: where it refuses a stream it says so by a NOP that has the stream's id, right before
the FIN.  Everybody else's NOPs have the id 0, and Go looks at none (``recvLoop``); another muxado_py takes it
for what it is, where a FIN alone would read as an empty answer.

The rule.  Nothing is negotiated, and a Go peer that meets the wrong version stops reading without a
word (``notifyProtoError``): each header's version is checked, and the message says what to configure.

The traps.  A length on SYN, FIN or NOP is part of the header to a Go peer before v1.5.56 and the end of
the session to later ones, so it is always 0.  Go peers before v1.5.58 drop what comes for a stream they
are still opening, and, once they have finished a stream, what they have not read of it when our FIN
comes; their version cannot be seen, so both are waited out with everybody.
"""

from __future__ import annotations

from dataclasses import replace
from struct import Struct
from typing import TYPE_CHECKING, ClassVar

from ..errors import ErrorCode
from .decoding import BodyDecoder
from .wire import UNLIMITED, Traits, Wire

if TYPE_CHECKING:
    from .wire import Input, Receiver

__all__ = ("Smux1", "Smux2", "SmuxDecoder")

SYN, FIN, PSH, NOP, UPD = range(5)
_NAMES = ("SYN", "FIN", "PSH", "NOP", "UPD")

MAX_ID = 0xFFFF_FFFF
INITIAL_WINDOW = 262144  # initialPeerWindow, whatever the peer's MaxStreamBuffer is
UPD_SIZE = 8

_HEADER = Struct("<BBHI")
_TOTALS = Struct("<II")
_HEADER_AND_TOTALS = Struct("<BBHIII")


class SmuxDecoder(BodyDecoder):
    """Bytes to operations; see :class:`~muxado_py.frames.wire.Decoder`."""

    __slots__ = ("_version",)

    def __init__(self, receiver: Receiver, version: int) -> None:
        super().__init__(receiver)
        self._version = version

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
            version, command, length, stream_id = _HEADER.unpack_from(data, pos)
            if version != self._version:
                self._wrong_version(version)
                break
            if command == PSH:
                pos += 8
                stop = pos + length
                if stop <= end:
                    receiver.data(stream_id, data[pos:stop], 0)
                    pos = stop
                    continue
                self._begin(stream_id, length, False, pos == end)
                continue
            taken = self._control(command, length, stream_id, data, pos + 8, end)
            if taken < 0:
                break
            pos = taken
        self._partial = bytes(data[pos:])

    def _control(
        self, command: int, length: int, stream_id: int, data: Input, pos: int, end: int
    ) -> int:
        """One frame that is not PSH, whose body begins at ``pos``.

        Returns where the next frame begins, or -1 if more of this one must arrive first.
        """
        receiver = self._receiver
        if command > UPD or (command == UPD and self._version == 1):
            return self._violation(
                ErrorCode.PROTOCOL_ERROR, f"command {command}, unknown to smux {self._version}"
            )
        expected = UPD_SIZE if command == UPD else 0
        if length != expected:
            return self._violation(
                ErrorCode.FRAME_SIZE_ERROR,
                f"{_NAMES[command]} of {length} bytes, expected {expected}",
            )
        if command == UPD:
            if end - pos < UPD_SIZE:
                return -1
            total, window = _TOTALS.unpack_from(data, pos)
            receiver.consumed(stream_id, total, window)
        elif command == NOP:
            if stream_id:
                receiver.was_reset(stream_id, ErrorCode.STREAM_REFUSED)
            else:
                receiver.noise()
        elif command == FIN:
            receiver.finished(stream_id)
        elif stream_id:
            receiver.opened(stream_id)
        else:
            return self._violation(ErrorCode.PROTOCOL_ERROR, "SYN for stream 0")
        return pos + expected

    def _wrong_version(self, seen: int) -> None:
        text = f"a header of version {seen}, and this side speaks smux version {self._version}"
        if seen in (1, 2):
            text += f': set Config(wire="smux{seen}") here, or Version: {self._version} in Go'
        self._violation(ErrorCode.PROTOCOL_ERROR, text)


class _Smux(Wire):
    """What the two versions share; see :class:`~muxado_py.frames.wire.Wire`."""

    version: ClassVar[int]
    max_id: ClassVar[int] = MAX_ID
    max_payload: ClassVar[int] = 32 * 1024 - 8
    """With the header no more than what Go sends by default, and all that the Rust crate smux takes."""

    def __init__(self, *, client: bool) -> None:
        # Go's counters start at 1 and 0 and are raised by two before the first use.  A client that
        # begins with 1 all the same is understood, as Go does.
        self.first_id, self.first_peer_id = (3, 2) if client else (2, 1)

    @classmethod
    def decoder(cls, receiver: Receiver) -> SmuxDecoder:
        return SmuxDecoder(receiver, cls.version)

    @classmethod
    def matches(cls, head: bytes) -> bool:
        if head[:1] not in (b"", bytes((cls.version,))):
            return False
        if len(head) < 8:
            return len(head) < 2 or head[1] <= UPD
        command = head[1]
        length = int.from_bytes(head[2:4], "little")
        stream_id = int.from_bytes(head[4:8], "little")
        if command == NOP:
            return length == 0
        if command > (UPD if cls.version > 1 else PSH) or not stream_id:
            return False
        return length > 0 if command == PSH else length == (UPD_SIZE if command == UPD else 0)

    @classmethod
    def _header(cls, command: int, stream_id: int, length: int = 0) -> bytes:
        return _HEADER.pack(cls.version, command, length, stream_id)

    @classmethod
    def syn(
        cls, stream_id: int, length: int, priority: tuple[int, int] | None, stream_type: int | None
    ) -> bytes:
        syn = cls._header(SYN, stream_id)
        return syn + cls._header(PSH, stream_id, length) if length else syn

    @classmethod
    def data_header(cls, stream_id: int, length: int, fin: bool) -> bytes:
        return _HEADER.pack(cls.version, PSH, length, stream_id)

    @classmethod
    def fin(cls, stream_id: int) -> bytes:
        return cls._header(FIN, stream_id)

    @classmethod
    def reset(cls, stream_id: int, code: int) -> bytes:
        refusal = code in (ErrorCode.STREAM_REFUSED, ErrorCode.ACCEPT_QUEUE_FULL)
        marked = cls._header(NOP, stream_id) if refusal else b""
        return marked + cls._header(FIN, stream_id)

    @classmethod
    def keep_alive(cls) -> bytes:
        return cls._header(NOP, 0)


_STORE_DELAY = 0.002
"""Seconds: twice what a Go program needed on loopback to lose nothing."""


class Smux1(_Smux):
    """Version 1: nothing but the transport holds a sender back."""

    name: ClassVar[str] = "smux1"
    version: ClassVar[int] = 1
    traits: ClassVar[Traits] = Traits(
        initial_window=UNLIMITED,
        duplicate_syn=True,
        syn_delay=_STORE_DELAY,
        fin_with_data=False,
        half_close=False,
        fin_delay=_STORE_DELAY,
        has_reset=False,
        resets_unknown=False,
        recognizes=False,
        keeps_alive=True,
        early_goaway=False,
        silent_end=True,
        answers_end=False,
    )


class Smux2(_Smux):
    """Version 2: a window for each stream, told in totals."""

    name: ClassVar[str] = "smux2"
    version: ClassVar[int] = 2
    traits: ClassVar[Traits] = replace(
        Smux1.traits,
        initial_window=INITIAL_WINDOW,
        largest_window=UNLIMITED,
        discards_closed=True,
    )

    @staticmethod
    def credit(stream_id: int, nbytes: int, total: int, window: int) -> bytes:
        return _HEADER_AND_TOTALS.pack(2, UPD, UPD_SIZE, stream_id, total & 0xFFFF_FFFF, window)
