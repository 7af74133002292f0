"""Codec: a protocol between the bytes of a link and those of its transport, without IO.

What it is.  What :mod:`~muxado_py.links.tls` and :mod:`~muxado_py.links.websocket` have in common, and all that is known of either by what drives them:
:mod:`~muxado_py.links.codec_transport` by the callbacks of asyncio, :mod:`~muxado_py.links.codec_stream` over any anyio byte
stream.  So each is the same on every backend, and one may lie on the other.

Where data comes from and goes to.  What the transport received is given to ``feed`` and comes out of
``receive_into``; what is to be sent is given to ``send`` and comes out of ``output``, with whatever the protocol itself
has to say: the driver empties ``output`` after each call, also after one that raised, because there
lies what tells the peer why.

The rules.  What was whole before a fault is received before the fault is told.  A codec keeps of what it was fed no more
than it cannot understand yet; what the application does not ask for is the driver's to hold back.  What the protocol says by
itself, to a peer that takes nothing, is bounded there too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("REFUSAL_WAIT", "Codec")

REFUSAL_WAIT = 1.0
"""Seconds that a peer whose handshake was refused may take to read why, and to close.  Until then what it
sends is read and thrown away: a socket that is closed with unread bytes takes the answer with it."""


class Codec(Protocol):
    """One connection's protocol; :meth:`handshake` comes first."""

    name: str
    """What errors call it."""

    server_side: bool

    ended: bool
    """Whether the peer's bytes have come to their end, and all were received."""

    fault: OSError | None
    """What is wrong with what the peer sent, behind all that was received."""

    info: dict[str, Any]
    """What a transport of asyncio's tells by ``get_extra_info``, if it is this."""

    @property
    def feed(self) -> Callable[[bytes | memoryview], object]:
        """The transport received this."""

    @property
    def feed_end(self) -> Callable[[], object]:
        """It will receive no more."""

    @property
    def output(self) -> Callable[[], bytes]:
        """What is to be sent."""

    @property
    def output_pieces(self) -> Callable[[], list[bytes]] | None:
        """The same in pieces, or None where it is one piece as a rule."""

    @property
    def pending_output(self) -> int:
        """Bytes that ``output`` would give."""

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is done.

        :raises OSError: if it failed; ``ConnectionResetError`` if the peer ended it.
        """

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send this.

        :raises OSError: if it cannot be sent any more; ``BrokenPipeError`` if the peer has said that it reads no more.
        """

    def receive_into(self, room: memoryview) -> int:
        """Fill ``room`` with what has come, as far as it goes; how many bytes.

        If that is less than the room, there is no more: for now, or for good, see ``ended`` and ``fault``.
        """

    def end(self) -> None:
        """Send no more: our end is the last of our output."""

    def attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """What anyio's streams of this kind tell of themselves."""
