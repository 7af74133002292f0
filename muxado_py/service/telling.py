"""Telling: what a call says of itself with its stream, where the peer understands that.

What it is.  How much of its time is left, and which attempt it is, go in the metadata of the stream.  The application has not
asked for them, so nothing depends on whether they can be told.

The rules.  To be told is no reason to wait: only a muxado_py understands metadata, and a peer of another program may say
nothing before it is asked.  One that has just been connected has a moment for its first word, which a muxado_py says at once.
And what is left is what is left when the stream is there: whoever waited for a session, or for a slot, has less by then.

The trap.  What is told is put into a SYN that was made without it and has not gone: nothing may be awaited in between.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import PeerTimeoutError, SessionError
from ..session.session import Session
from ..session.stream_opener import tell
from .call_frames import call_metadata

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..session.stream import Stream

__all__ = ("open_told",)

WORD_WAIT = 1.0
"""Seconds, and half of what a call has left, that a peer has for its first word."""


async def open_told(
    open_stream: Callable[[], Awaitable[Stream]],
    opener: object,
    metadata: Mapping[str, bytes] | None,
    left: Callable[[], float | None],
    attempt: int,
) -> Stream:
    """Open a stream for one attempt of a call, and say with it what the call says of itself.

    :param open_stream: opens it, with ``metadata``.
    :param opener: on what; a session is given a moment to say its first word, and a pool has done that.
    :param metadata: what the application says.
    :param left: the seconds that are left now; None for no deadline.
    :param attempt: 1 for the first.
    :raises: what ``open_stream`` raises.

    Cancellation: no stream is opened.
    """
    seconds = left()
    if seconds is not None and isinstance(opener, Session) and opener.is_muxado_py is None:
        # Where that is the end of the session, whoever opens the stream is told.
        with suppress(PeerTimeoutError, SessionError):
            await opener.wait_for_peer(max(0.0, min(WORD_WAIT, seconds / 2)))
    stream = await open_stream()
    said = call_metadata(metadata, left(), attempt)
    if said is not None and said is not metadata:
        tell(stream, said)
    return stream
