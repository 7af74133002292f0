"""Caller: one connection to a published address, or a stream of a session that calls, and what it said until it was answered.

What it is.  The caller's side of what the gateway copies, as a stream or as the tap of a
:class:`~muxado_py.session.relay.Relay`.  It remembers the first bytes, because an agent that
did not take them may be replaced by another (:mod:`.kept`), and because an answer of the gateway's own depends
on them.

The rule.  A caller is *settled* once its request's head is whole, its protocol is another, or it was answered.
One that is not is only waiting: it costs a descriptor, and may have to make room.

The trap.  Copying ends both sides; how this one ends depends on more than it knows.  So closing it does
nothing, and the gateway closes the connection afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import EndOfStream
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from ..agents.introductions import introduce
from .heads import MOST_KEPT, Head, head_of
from .ledger import UNWRITTEN, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..agents.agent import Passage
    from ..agents.destinations import Destination
    from .kept import Kept
    from .offers import Offers

__all__ = ("Caller", "UnansweredError")

HEARD_AT_ONCE = 16 * 1024
"""Bytes that are heard at once of a caller that has no stream yet.  A usual request comes whole; a thousand
uploads that wait for an agent hold 16 MiB."""

VERB = 16
"""Bytes that are left of what is forgotten: an answer to HEAD has no body."""


class UnansweredError(Exception):
    """The agent ended where an answer was due; the gateway will give one."""


class Caller(ByteStream):
    """A caller's connection, remembered.

    :param destination: where it wants to go.
    :param settled: called with it once it is settled, and when it is answered.
    :param kept: where it is counted, with others, while a stream has what it said.
    :param entry: where is written down how it fares.
    """

    __slots__ = (
        "_again",
        "_has_stream",
        "_kept",
        "_settled",
        "connection",
        "destination",
        "entry",
        "has_ended",
        "head",
        "is_answered",
        "is_answered_in_http",
        "is_kept",
        "said",
    )

    def __init__(
        self,
        connection: ByteStream,
        destination: Destination,
        settled: Callable[[Caller], None],
        kept: Kept,
        entry: Entry = UNWRITTEN,
    ) -> None:
        self.connection = connection
        self.destination = destination
        self.entry = entry
        self.said = bytearray()
        """The first bytes it said, until it is answered or forgotten."""
        self.is_kept = True
        """Whether ``said`` is all that it said."""
        self.is_answered = False
        self.is_answered_in_http = False
        self.head = Head.NOTHING
        self.has_ended = False
        """Whether it has half closed."""
        self._again = b""  # of ``said``, what a new agent was not sent yet
        self._settled = settled
        self._kept = kept
        self._has_stream = False

    def dial(self) -> Passage:
        """A passage to an agent, which is told who calls; see :meth:`.Destination.dial`."""
        return self.destination.dial((), introduce(self.connection))

    async def reach(self, offers: Offers) -> Passage:
        """The same, to one that has not had it; see :meth:`.Offers.reach`."""
        return await offers.reach(self.destination, introduce(self.connection))

    def rewind(self, sent: int) -> None:
        """A stream has the first ``sent`` bytes of what it said; receive the others once more."""
        self._again = bytes(self.said[sent:])
        self._has_stream = True
        if self.head.is_settled:
            self._keep()

    def hold(self) -> None:
        """No stream has what it said any more: that is no copy until one has, and is not forgotten."""
        self._kept.drop(self)

    def forget(self) -> None:
        """What it said is not needed again, or there is no room to keep it."""
        self.is_kept = False
        self._kept.drop(self)
        del self.said[VERB:]

    def take_again(self) -> bytes:
        """What is to be received once more; the next ``receive`` gives what the caller says next."""
        again, self._again = self._again, b""
        return again

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self._again:
            await checkpoint()
            data, self._again = self._again[:max_bytes], self._again[max_bytes:]
            return data
        return await self.hear(max_bytes)

    async def hear(self, max_bytes: int = HEARD_AT_ONCE) -> bytes:
        """What it says next."""
        if self.has_ended:
            raise EndOfStream
        try:
            data = await self.connection.receive(max_bytes)
        except EndOfStream:
            self.heard(b"")
            raise
        self.heard(data)
        return data

    def heard(self, data: bytes) -> None:
        """It said ``data``; nothing: it half closed."""
        if not data:
            self.has_ended = True
        elif self.is_kept and not self.is_answered:
            self._remember(data)

    def _remember(self, data: bytes) -> None:
        self.said += data
        if not self.head.is_settled:
            self.head = head_of(self.said)
            if self.head.is_settled:
                if self.head.is_http:
                    self.entry.asking(self.said)
                self._settled(self)
        if self._has_stream and self.head.is_settled:
            self._keep()

    def _keep(self) -> None:
        if len(self.said) > MOST_KEPT:
            self.forget()
        elif self.is_kept:
            self._kept.keep(self)

    def answering(self, data: bytes) -> None:
        """It is answered, and ``data`` is the beginning."""
        if not self.is_answered:
            self.is_answered = True
            self.is_answered_in_http = data.startswith(b"HTTP/1.")
            self.entry.answering(data)
            self._kept.drop(self)
            self.said.clear()
            self._settled(self)

    def ending(self) -> None:
        """The agent ends.

        :raises UnansweredError: where an answer is due.
        """
        if self.head.is_http and not self.is_answered:
            raise UnansweredError("the agent ended without an answer")

    async def send(self, item: bytes) -> None:
        self.answering(item)
        await self.connection.send(item)

    async def send_eof(self) -> None:
        self.ending()
        await self.connection.send_eof()

    async def aclose(self) -> None:
        pass

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self.connection.extra_attributes
