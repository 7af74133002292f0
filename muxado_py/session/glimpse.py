"""Glimpse: a stream that an application has, for whoever looks at a whole session.

What it is.  An application's :class:`~muxado_py.Stream` is known to nobody but the application; that is how one
notices that it was dropped.  Whoever asks a session for its streams is given others of the same streams.

Why so.  To remember each of the application's own, even weakly, would cost each stream memory and its opening several
calls, for a question that is asked of few sessions.

The rule.  A glimpse holds nothing open, and its own end means nothing.  In all else it is the stream: who sends or
receives on one keeps others from doing so on the other, because what says that somebody does lies in the core's
stream.

The trap.  The application's own may be dropped while there is a glimpse.  The stream is then reset as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .stream import Stream

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ("Glimpse", "streams_of")


class Glimpse(Stream):
    """A :class:`~muxado_py.Stream` that equals the application's own."""

    __slots__ = ()

    def __del__(self) -> None:
        """Whoever looks has nothing to drop."""


def streams_of(driver: Driver) -> tuple[Stream, ...]:
    """See :meth:`.Session.streams`."""
    return tuple(Glimpse(driver, state) for state in driver.connection.application_streams())
