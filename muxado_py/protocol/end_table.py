"""End table: in which state what ends a stream, and what becomes of it.  The code acts from this table.

A stream's life, as the wire knows it.  The two directions are independent: each has its states
(:class:`~muxado_py.protocol.stream_state.SendState`, :class:`~muxado_py.protocol.stream_state.RecvState`)::

    ours:    SYN queued -- SYN cut --> OPEN -- finish, close --> FIN_QUEUED -- FIN cut --> FIN_SENT
    peer's:                            OPEN -- FIN arrived --> FIN_RECEIVED
                                       OPEN, FIN_RECEIVED -- bytes thrown away --> TORN

and a third tells who has it (:class:`~muxado_py.protocol.stream_state.Owner`)::

    NOBODY -- its type arrived --> OFFERED -- accept --> APPLICATION -- close, reset --> RELEASED

The wire is through with a stream in ``FIN_SENT`` with ``FIN_RECEIVED``, and when something makes it *forgotten*.
What its application is told then stands in ``StreamState.failure``, once.

How to read a row.  Something happens to a stream whose two directions are in these states, on a wire with these
:class:`~muxado_py.frames.Traits`.  Then this side says something, the stream stays known for some time or not at
all, and the application reads something and then is told how the stream ended.  The verdict of an error is
:meth:`.StreamState.verdict`'s: what the peer said is the evidence, in every row.

The rule.  A clean end means that all came: no row that throws bytes away ends in ``REST_THEN_END``.

The trap.  A stream whose SYN has not gone has no id: its peer knows nothing of it, so whatever a row has to say
of it is not said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from .stream_state import RecvState, SendState

if TYPE_CHECKING:
    from ..frames import Traits

__all__ = ("NEVER", "ROWS", "End", "Event", "Reads", "Row", "Says", "Stays", "ends_on")


class Event(IntEnum):
    """What happens to a stream."""

    FINISH = 0
    """The application half closes."""
    CLOSE = 1
    """The application closes, both ways; or our FIN is cut of a stream that it has closed."""
    RESET = 2
    """The application resets, or what it closed could not be sent within ``Config.linger_timeout``."""
    PEER_FIN = 3
    PEER_RESET = 4
    FAULT = 5
    """The peer broke a rule of this one stream."""
    OVERFLOW = 6
    """The stream pays for a session that holds too much unread."""
    REFUSED = 7
    """No application here took it."""
    GIVEN_UP = 8
    """It was closed here, and the peer did not finish in time, or sent too much."""
    STALLED = 9
    """The peer finished, and takes nothing."""
    GONE_AWAY = 10
    """The peer's GOAWAY says that it never took it."""
    SESSION_END = 11


class Says(Enum):
    """What the peer is told."""

    NOTHING = "nothing"
    FIN = "FIN"
    """As soon as what was written before is sent."""
    RST = "RST"
    """At once; what was written and not sent is dropped."""
    RST_IF_LOST = "RST if bytes of the peer were thrown away"


class Stays(Enum):
    """For how long the wire may still mention the stream."""

    AS_IT_IS = "as it is"
    LINGERS = "until the FIN is sent"
    DISCARDS = "until the peer has finished"
    FORGOTTEN = "not at all"


class Reads(Enum):
    """What the application reads from then on."""

    AS_BEFORE = "what comes"
    REST_THEN_END = "what is here, and the end"
    REST_THEN_ERROR = "what is here, and an error"
    ERROR = "an error; what was here is thrown away"
    NOTHING = "nothing: it has closed the stream, or never had it"


@dataclass(frozen=True, slots=True)
class End:
    """What becomes of a stream."""

    says: Says
    stays: Stays
    reads: Reads


class Row(NamedTuple):
    """Some cells of the table that are alike; a trait that is None may be either."""

    event: Event
    ours: tuple[SendState, ...]
    peers: tuple[RecvState, ...]
    end: End
    has_reset: bool | None = None
    discards_closed: bool | None = None
    resets_unknown: bool | None = None
    silent_end: bool | None = None

    def holds_on(self, traits: Traits) -> bool:
        """Whether the row speaks of wires with such traits."""
        names = ("has_reset", "discards_closed", "resets_unknown", "silent_end")
        return all(getattr(self, name) in (None, getattr(traits, name)) for name in names)


SENDING = (SendState.OPEN,)
NOT_SENT = (SendState.OPEN, SendState.FIN_QUEUED)
SENT = (SendState.FIN_SENT,)
ANY = tuple(SendState)
OPEN = (RecvState.OPEN,)
ENDED = (RecvState.FIN_RECEIVED,)
EITHER = OPEN + ENDED
TORN = (RecvState.TORN,)

_CLOSED = End(Says.FIN, Stays.LINGERS, Reads.NOTHING)
_DISCARDS = End(Says.NOTHING, Stays.DISCARDS, Reads.NOTHING)
_LATE = End(Says.RST_IF_LOST, Stays.FORGOTTEN, Reads.NOTHING)
_GONE = End(Says.NOTHING, Stays.FORGOTTEN, Reads.NOTHING)
_ABORTED = End(Says.RST, Stays.FORGOTTEN, Reads.NOTHING)
_ERROR = End(Says.NOTHING, Stays.FORGOTTEN, Reads.REST_THEN_ERROR)
_WHOLE = End(Says.NOTHING, Stays.FORGOTTEN, Reads.REST_THEN_END)
_HALF = End(Says.NOTHING, Stays.AS_IT_IS, Reads.REST_THEN_END)
_CUT_OFF = End(Says.RST, Stays.FORGOTTEN, Reads.REST_THEN_ERROR)
_STOPPED = End(Says.RST, Stays.FORGOTTEN, Reads.REST_THEN_END)

NEVER = End(Says.NOTHING, Stays.AS_IT_IS, Reads.AS_BEFORE)
"""What stands where no row speaks: it does not come about, or changes nothing."""

ROWS = (
    # The application ends it.
    Row(Event.FINISH, SENDING, OPEN, End(Says.FIN, Stays.AS_IT_IS, Reads.AS_BEFORE)),
    Row(Event.FINISH, SENDING, ENDED, End(Says.FIN, Stays.LINGERS, Reads.AS_BEFORE)),
    Row(Event.CLOSE, NOT_SENT, EITHER, _CLOSED),
    # Late data for an id that is forgotten is answered with a RST of its own ...
    Row(Event.CLOSE, SENT, OPEN, _LATE, has_reset=True, discards_closed=False),
    # ... which would destroy what some peers have not read, or cannot be said.
    Row(Event.CLOSE, SENT, OPEN, _DISCARDS, discards_closed=True),
    Row(Event.CLOSE, SENT, OPEN, _GONE, has_reset=False, discards_closed=False),
    Row(Event.CLOSE, SENT, ENDED, End(Says.NOTHING, Stays.AS_IT_IS, Reads.NOTHING)),
    Row(Event.RESET, NOT_SENT, EITHER, _ABORTED, has_reset=True),
    Row(Event.RESET, SENT, OPEN, _ABORTED, has_reset=True),
    Row(Event.RESET, NOT_SENT, EITHER, _CLOSED, has_reset=False),
    Row(Event.RESET, SENT, OPEN, _GONE, has_reset=False, discards_closed=False),
    Row(Event.RESET, SENT, OPEN, _DISCARDS, has_reset=False, discards_closed=True),
    # The peer does.
    Row(Event.PEER_FIN, NOT_SENT, EITHER, _HALF),  # a second one, which real peers send, too
    Row(Event.PEER_FIN, SENT, OPEN, _WHOLE),
    Row(Event.PEER_RESET, ANY, OPEN, _ERROR),
    Row(Event.PEER_RESET, NOT_SENT, ENDED, _WHOLE),
    # A FIN that came first says nothing of a stream whose peer went on, or whose bytes are thrown away.
    Row(Event.FAULT, ANY, OPEN, _CUT_OFF),
    Row(Event.FAULT, NOT_SENT, ENDED, _CUT_OFF),
    Row(Event.OVERFLOW, ANY, OPEN, replace(_CUT_OFF, reads=Reads.ERROR)),
    Row(Event.OVERFLOW, NOT_SENT, ENDED, replace(_CUT_OFF, reads=Reads.ERROR)),
    # The wire is through with these, and the application has not read them.
    Row(Event.OVERFLOW, SENT, ENDED, replace(_ERROR, reads=Reads.ERROR)),
    Row(Event.OVERFLOW, ANY, TORN, replace(_ERROR, reads=Reads.ERROR)),
    # Nobody does: it was waited for in vain.
    Row(Event.REFUSED, SENDING, EITHER, _ABORTED),
    Row(Event.GIVEN_UP, SENT, OPEN, _ABORTED, discards_closed=True, has_reset=True),
    Row(Event.GIVEN_UP, SENT, OPEN, _GONE, discards_closed=True, has_reset=False),
    Row(Event.STALLED, NOT_SENT, ENDED, _STOPPED, resets_unknown=False),  # else it is asked
    # The session does.
    Row(Event.GONE_AWAY, ANY, OPEN, _ERROR),
    Row(Event.GONE_AWAY, NOT_SENT, ENDED, _WHOLE),
    Row(Event.SESSION_END, SENT, OPEN, _ERROR),
    Row(Event.SESSION_END, NOT_SENT, OPEN, _ERROR, silent_end=False),
    Row(Event.SESSION_END, NOT_SENT, ENDED, _WHOLE, silent_end=False),
    # To peers that end a session without a goodbye the end of the transport ends every stream well.  So one
    # that is cut off says so; not one that is finished, whose peer may still be reading.
    Row(Event.SESSION_END, NOT_SENT, OPEN, _CUT_OFF, silent_end=True, has_reset=True),
    Row(Event.SESSION_END, NOT_SENT, ENDED, _STOPPED, silent_end=True, has_reset=True),
    Row(Event.SESSION_END, NOT_SENT, OPEN, _ERROR, silent_end=True, has_reset=False),
    Row(Event.SESSION_END, NOT_SENT, ENDED, _WHOLE, silent_end=True, has_reset=False),
)
"""The table.  No two rows speak of one cell."""


def ends_on(traits: Traits) -> tuple[tuple[tuple[End, ...], ...], ...]:
    """The table of one wire, to be asked for ``[event][send_state][recv_state]``."""
    cells: dict[tuple[Event, SendState, RecvState], End] = {}
    for row in ROWS:
        if row.holds_on(traits):
            for cell in product((row.event,), row.ours, row.peers):
                assert cell not in cells, f"two rows speak of {cell}"
                cells[cell] = row.end
    return tuple(
        tuple(
            tuple(cells.get((event, ours, peers), NEVER) for peers in RecvState)
            for ours in SendState
        )
        for event in Event
    )
