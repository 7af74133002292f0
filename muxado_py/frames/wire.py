"""The seam for wires: the operations that every byte format carries, and what a format can do.

What it is.  The core speaks one set of operations in both directions; a wire module translates them
to bytes and back.  A :class:`Decoder` is fed what the transport received and calls a
:class:`Receiver`, which is the core; a :class:`Wire` is asked for the bytes of each operation that
the core wants sent, and for the few facts about the format that the core must know.

Why calls and not frame objects.  One object per frame was a third of the cost of a small message;
a call per operation makes none.

The rule.  The core never asks *which* wire it is.  A format that differs from muxado says so in its
:class:`Traits`, and the core acts on those.

The trap.  A decoder checks a header before it waits for, buffers or passes on any of the body, and
hands DATA on in the pieces it arrives in: a frame of 16 MiB never has to be whole in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("UNLIMITED", "Decoder", "Input", "Receiver", "Setting", "Traits", "Wire")

Input: TypeAlias = "bytes | memoryview"
"""What a decoder is fed; of a view it hands on views, and keeps nothing."""

UNLIMITED = 2**62
"""The window of a format that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a format can do and what its peers expect; the defaults are muxado's."""

    # Windows.

    initial_window: int | None = None
    """Bytes each side may send on a new stream; None where ``Config.initial_window`` says it, and
    ``UNLIMITED`` where nothing but the transport holds a sender back: the receiver then stops reading
    the whole session when ``Config.session_window`` is full."""

    largest_window: int = 0
    """How far a receive window may grow by itself towards a peer that is no muxado_py; 0 where credit
    above the initial window can get lost, as with the muxado crate, which takes no more of it than
    fills that window up (``window.rs``): a peer that was promised more would wait for ever."""

    # Streams.

    types_in_syn: bool = False
    """The SYN names the stream's type; else a typed stream begins with four bytes of payload."""
    max_unacknowledged: int | None = None
    """How many streams may wait for the peer's acknowledgement, on a format that has one.  Its peers
    give up on a stream that is never acknowledged, so one that nobody accepts is refused in time."""
    duplicate_syn: bool = False
    """A second SYN is harmless, and ignored; else it ends the session."""
    syn_delay: float = 0.0
    """Seconds after a SYN before which the opener may not know its own stream yet, and drops frames."""

    # Ends.

    fin_with_data: bool = True
    """The last DATA frame carries the FIN; else it follows in a frame of its own."""
    half_close: bool = True
    """Peers keep what they have not read when they get a FIN, so that ``send_eof`` is safe."""
    fin_delay: float = 0.0
    """Seconds that a FIN which answers a FIN keeps behind the last data, for the reader's sake."""
    has_reset: bool = True
    """A stream can be ended abruptly; else ``reset`` gives what comes nearest, a FIN."""
    reset_codes: bool = True
    """The reset says why; else one that comes before an acknowledgement is a refusal."""
    resets_unknown: bool = True
    """DATA for a stream that is over is answered with a reset; else it is dropped in silence."""
    most_streams: int | None = None
    """How many streams, of both sides together, its known peers that are no muxado_py bear: at one more
    they end the session."""
    discards_closed: bool = False
    """A stream that this side closed stays known until the peer has finished too: what still comes is
    thrown away and credited, because a reset would destroy what the peer has not read, or because
    there is none."""

    # The session.

    recognizes: bool = True
    """The first frame tells whether the peer is a muxado_py; else the extensions do not exist."""
    answers_pings: bool = False
    """Every peer answers a ping; else only a muxado_py does."""
    keeps_alive: bool = False
    """Peers send a frame in every interval, unasked and unanswered, and expect the same."""
    early_goaway: bool = True
    """A GOAWAY leaves the streams that are open alone; else it is sent when the last is done."""
    answers_end: bool = True
    """Peers end their side of the transport when we have ended ours."""
    silent_end: bool = False
    """Peers end a session by closing the transport, without a goodbye."""


class Setting:
    """The keys of what one muxado_py peer tells another (all values are unsigned integers)."""

    INITIAL_WINDOW = 1
    """Bytes the receiver of this setting may send on any stream before credit."""
    MAX_STREAMS = 2
    """How many streams it may have open."""
    SESSION_WINDOW = 3
    """Bytes of all streams together that may be unread; 2^32-1 stands for more."""


class Receiver(Protocol):
    """What a decoder calls, in the order of the wire.  No method raises on what a peer sent."""

    @property
    def paused(self) -> bool:
        """While True the decoder keeps what it has and decodes no further frame."""

    def opened(self, stream_id: int, stream_type: int | None = None, metadata: bytes = b"") -> None:
        """The peer opened a stream; the type is given where the SYN has one.

        :param metadata: what a muxado_py says of it, packed as :mod:`~muxado_py.frames.metadata` has it.
        """

    def acknowledged(self, stream_id: int, at_hand_off: bool) -> None:
        """The peer acknowledged our stream; ``at_hand_off`` if its frame can mean nothing else than
        that its application has the stream now."""

    def data(self, stream_id: int, chunk: Input, pending: int) -> None:
        """A piece of a DATA frame; ``pending`` bytes of the same frame are still to come."""

    def finished(self, stream_id: int) -> None:
        """The peer sends no more on this stream."""

    def credited(self, stream_id: int, nbytes: int) -> None:
        """This side may send ``nbytes`` more on the stream."""

    def consumed(self, stream_id: int, total: int, window: int) -> None:
        """The peer's application has read ``total`` bytes (modulo 2^32) of the stream so far, and
        takes ``window`` bytes beyond them."""

    def widened(self, stream_id: int, window: int) -> None:
        """A muxado_py peer's window for the stream has grown to ``window``."""

    def was_reset(self, stream_id: int, code: int) -> None:
        """The peer ended the stream abruptly."""

    def going_away(self, last_id: int, code: int, debug: bytes) -> None:
        """The peer takes no new streams; ``last_id`` is the last of ours that it took."""

    def pinged(self, payload: bytes) -> None:
        """The peer wants the payload back."""

    def ponged(self, payload: bytes) -> None:
        """The peer gave a payload back."""

    def recognized(self, is_muxado_py: bool) -> None:
        """Called once, before anything else: what the first frame says of the peer."""

    def settings(self, values: Mapping[int, int]) -> None:
        """A muxado_py peer's :class:`Setting` values."""

    def prioritized(self, stream_id: int, urgency: int, weight: int) -> None:
        """A muxado_py peer wants this priority for what we send on the stream."""

    def session_credited(self, limit: int) -> None:
        """A muxado_py peer takes payload up to this total since the session began."""

    def noise(self) -> None:
        """A frame that means nothing arrived."""

    def violated(self, code: int, message: str) -> None:
        """The bytes break the format; nothing after them can be trusted."""


class Decoder(Protocol):
    """Bytes to operations, incremental at any split."""

    def feed(self, data: Input) -> None:
        """Decode what is whole, keep a copy of the rest; ``b""`` goes on after a pause."""

    @property
    def midway(self) -> bool:
        """Whether the input so far ends inside a frame."""

    @property
    def undecoded(self) -> int:
        """Bytes that it keeps a copy of: a part of a frame, or what came during a pause."""


class Wire(ABC):
    """Operations to bytes, and what the format can do: the base of every wire.

    One object for each connection, made with the role of this side, so that a format whose frames
    need memory has a place for it.  What a format has no frame for is ``b""``, and stays as it is here.
    """

    name: ClassVar[str]
    traits: ClassVar[Traits] = Traits()
    max_id: ClassVar[int]
    """The highest stream id that may be used."""
    max_payload: ClassVar[int]
    """The longest DATA payload that is ever sent."""
    first_id: int
    """The first id that this side gives; the others follow in steps of two."""
    first_peer_id: int
    """The first id of the other side."""

    @abstractmethod
    def __init__(self, *, client: bool) -> None: ...

    @classmethod
    @abstractmethod
    def matches(cls, head: bytes) -> bool:
        """Whether a session of this format may begin with ``head``, its first bytes, 12 or fewer.

        True as long as they do not tell.
        """

    # What every format has.

    @abstractmethod
    def decoder(self, receiver: Receiver) -> Decoder:
        """A decoder that calls ``receiver``."""

    @abstractmethod
    def syn(
        self, stream_id: int, length: int, priority: tuple[int, int] | None, stream_type: int | None
    ) -> bytes:
        """The SYN of a stream of ours, up to the first ``length`` bytes of its data.

        :param priority: urgency and weight, None for the default.
        """

    @abstractmethod
    def data_header(self, stream_id: int, length: int, fin: bool) -> bytes:
        """What goes before ``length`` bytes of a stream; ``fin`` only if ``traits.fin_with_data``."""

    @abstractmethod
    def fin(self, stream_id: int) -> bytes:
        """The FIN alone."""

    @abstractmethod
    def reset(self, stream_id: int, code: int) -> bytes:
        """The stream is over in both directions; see ``traits.has_reset``."""

    # What a format may have.

    def ack(self, stream_id: int) -> bytes:
        """The application took the peer's stream."""
        return b""

    def credit(self, stream_id: int, nbytes: int, total: int, window: int) -> bytes:
        """The peer may send ``nbytes`` more on the stream.

        :param total: how many bytes of it were read, as far as credit was given for them.
        :param window: how many bytes beyond those the peer may send.
        """
        return b""

    def probe(self, stream_id: int) -> bytes:
        """A frame that a live stream ignores and a closed one answers with a reset."""
        return b""

    def go_away(self, last_id: int, code: int, debug: bytes) -> bytes:
        """This side takes no stream above ``last_id`` any more."""
        return b""

    def keep_alive(self) -> bytes:
        """A frame that says nothing but that this side lives, where ``traits.keeps_alive``."""
        return b""

    def ping(self, payload: bytes) -> bytes:
        """The peer is to give the 8 bytes back, where ``traits.answers_pings`` or to a muxado_py."""
        return b""

    def pong(self, payload: bytes) -> bytes:
        """The 8 bytes of the peer's ping."""
        return b""

    # What only muxado_py peers say to each other.

    def hello(self) -> bytes:
        """The first bytes of a session: they tell a muxado_py peer, and no other, who we are."""
        return b""

    def settings(self, values: Mapping[int, int]) -> bytes:
        """:class:`Setting` values."""
        return b""

    def opening(self, stream_id: int, metadata: bytes) -> bytes:
        """The SYN of a stream of ours that has metadata, without any of its data.

        :param metadata: packed, and not empty.
        """
        return b""

    def priority(self, stream_id: int, urgency: int, weight: int) -> bytes:
        """What the peer is to order its answers on the stream by."""
        return b""

    def window(self, stream_id: int, window: int) -> bytes:
        """The receive window of the stream has grown to ``window``, by credit that follows."""
        return b""

    def session_credit(self, limit: int) -> bytes:
        """The total payload that the peer may send in this session."""
        return b""
