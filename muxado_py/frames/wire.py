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
    """Operations to bytes, and what the format can do."""

    name: ClassVar[str]
    max_id: ClassVar[int]
    """The highest stream id that may be used."""
    max_payload: ClassVar[int]
    """The longest DATA payload the format can express."""

    @staticmethod
    def first_id(client: bool) -> int:
        """The first id that this role gives; the others follow in steps of two."""

    @staticmethod
    def decoder(receiver: Receiver) -> Decoder:
        """A decoder that calls ``receiver``."""

    @staticmethod
    def data_header(stream_id: int, length: int, syn: bool, fin: bool) -> bytes:
        """What goes before ``length`` bytes of a stream; ``syn`` opens it, ``fin`` finishes it."""

    @staticmethod
    def reset(stream_id: int, code: int) -> bytes: ...

    @staticmethod
    def credit(stream_id: int, nbytes: int) -> bytes: ...

    @staticmethod
    def go_away(last_id: int, code: int, debug: bytes) -> bytes: ...

    @staticmethod
    def probe(stream_id: int) -> bytes:
        """A frame that a live stream ignores and a closed one answers with a reset."""

    @staticmethod
    def hello() -> bytes:
        """The first frame of a session: tells a muxado_py peer, and no other, who we are."""

    @staticmethod
    def ping(payload: bytes) -> bytes: ...

    @staticmethod
    def pong(payload: bytes) -> bytes: ...

    @staticmethod
    def settings(values: Mapping[int, int]) -> bytes: ...

    @staticmethod
    def priority(stream_id: int, urgency: int, weight: int) -> bytes: ...

    @staticmethod
    def session_credit(limit: int) -> bytes: ...
