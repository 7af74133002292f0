"""Delivery: what a close has to say of the bytes that did not arrive.

Where data comes from and goes to.  The core knows what was in no frame, the link what its transport did not
take and what the kernel could not get rid of; whoever closes the session raises what comes of it.

The rules are in :mod:`~muxado_py.parting`.

The trap.  After an end that was not ours nobody knows of what the transport took: it may have been read, or
not, by a peer that is no more.  What it did not take is lost for certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .connection import CLOSED_HERE
from .errors import UndeliveredError

if TYPE_CHECKING:
    from .connection import Connection
    from .link import Link

__all__ = ("undelivered",)


def undelivered(connection: Connection, link: Link) -> UndeliveredError | None:
    """What did not arrive of a session that is over and whose transport is closed, if anything."""
    ended = connection.events.ended
    ours = ended is CLOSED_HERE
    lost = connection.lost(unsaid=not ours)
    nbytes = sum(size for _, size in lost)
    unnamed = sum(stream_id is None for stream_id, _ in lost)
    named = {stream_id for stream_id, _ in lost if stream_id is not None}
    missing = link.missing if ours else 0
    if link.left is not None:
        left = connection.payload_of(*link.left, unsaid=not ours)
        nbytes += sum(left.values())
        named.update(left)
    if not (nbytes or missing):
        return None
    why = "" if ours or ended is None else f": {ended.message}"
    return UndeliveredError(
        f"the session was closed before everything had arrived: {_words(nbytes, len(named) + unnamed, missing)}{why}",
        nbytes=nbytes,
        streams=len(named) + unnamed,
        unacknowledged=missing,
        remote=True,
    )


def _words(nbytes: int, streams: int, missing: int) -> str:
    unsent = f"{nbytes:,} bytes of {streams:,} streams were not taken" if nbytes else ""
    waiting = f"{missing:,} bytes were not acknowledged by the peer's kernel" if missing else ""
    return " and ".join(filter(None, (unsent, waiting)))
