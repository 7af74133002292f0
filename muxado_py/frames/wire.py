"""The seam for wires: the operations that every byte format carries, and what a format can do.

What it is.  The core speaks one set of operations in both directions; a wire module translates them
to bytes and back.  A :class:`Decoder` is fed what the transport received and calls a
:class:`Receiver`, which is the core; a :class:`Wire` is asked for the bytes of each operation that
the core wants sent, and for the few facts about the format that the core must know.

Why calls and not frame objects.  One object per frame was a third of the cost of a small message;
a call per operation makes none.

The rule.  The core never asks *which* wire it is.  A format that differs says so in an attribute of
:class:`Wire`, and the core acts on the attribute.

The trap.  A decoder checks a header before it waits for, buffers or passes on any of the body, and
hands DATA on in the pieces it arrives in: a frame of 16 MiB never has to be whole in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Decoder", "Receiver", "Setting", "Wire")


class Setting:
    """The keys of what one muxado_py peer tells another (all values are unsigned integers)."""

    INITIAL_WINDOW = 1
    """Bytes the receiver of this setting may send on any stream before credit."""
    MAX_STREAMS = 2
    """How many streams it may have open."""


class Receiver(Protocol):
    """What a decoder calls, in the order of the wire.  No method raises on what a peer sent."""

    paused: bool
    """While True the decoder keeps what it has and decodes no further frame."""

    def opened(self, stream_id: int) -> None:
        """The peer opened a stream."""

    def accepted(self, stream_id: int) -> None:
        """The peer's application took our stream."""

    def data(self, stream_id: int, chunk: bytes, pending: int) -> None:
        """A piece of a DATA frame; ``pending`` bytes of the same frame are still to come."""

    def finished(self, stream_id: int) -> None:
        """The peer sends no more on this stream."""

    def credited(self, stream_id: int, nbytes: int) -> None:
        """This side may send ``nbytes`` more on the stream."""

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

    def feed(self, data: bytes) -> None:
        """Decode what is whole, keep the rest; ``b""`` goes on after a pause."""

    @property
    def midway(self) -> bool:
        """Whether the input so far ends inside a frame."""


class Wire(Protocol):
    """Operations to bytes, and what the format can do.

    One object for each connection, made with the role of this side, so that a format whose frames
    need memory (running totals, say) has a place for it.
    """

    name: ClassVar[str]
    max_id: ClassVar[int]
    """The highest stream id that may be used."""
    max_payload: ClassVar[int]
    """The longest DATA payload the format can express."""
    first_id: int
    """The first id that this side gives; the others follow in steps of two."""
    first_peer_id: int
    """The first id of the other side."""

    def __init__(self, *, client: bool) -> None: ...

    def decoder(self, receiver: Receiver) -> Decoder:
        """A decoder that calls ``receiver``."""

    def hello(self) -> bytes:
        """The first bytes of a session: they tell a muxado_py peer, and no other, who we are."""

    def data_header(self, stream_id: int, length: int, syn: bool, fin: bool) -> bytes:
        """What goes before ``length`` bytes of a stream; ``syn`` opens it, ``fin`` finishes it."""

    def accepted(self, stream_id: int) -> bytes:
        """The application took the peer's stream; ``b""`` where the format does not say so."""

    def reset(self, stream_id: int, code: int) -> bytes:
        """The stream is over in both directions."""

    def credit(self, stream_id: int, nbytes: int) -> bytes:
        """The peer may send ``nbytes`` more on the stream."""

    def probe(self, stream_id: int) -> bytes:
        """A frame that a live stream ignores and a closed one answers with a reset."""

    def go_away(self, last_id: int, code: int, debug: bytes) -> bytes:
        """This side takes no stream above ``last_id`` any more."""

    def ping(self, payload: bytes) -> bytes:
        """The peer is to give the 8 bytes back."""

    def pong(self, payload: bytes) -> bytes:
        """The 8 bytes of the peer's ping."""

    def settings(self, values: Mapping[int, int]) -> bytes:
        """:class:`Setting` values, for a muxado_py peer."""

    def priority(self, stream_id: int, urgency: int, weight: int) -> bytes:
        """What a muxado_py peer is to order its answers on the stream by."""

    def session_credit(self, limit: int) -> bytes:
        """The total payload that a muxado_py peer may send in this session."""
