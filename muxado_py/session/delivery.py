"""Delivery: what a close has to say of the bytes that did not arrive.

Where data comes from and goes to.  The core knows what was in no frame, the link what its transport did not
take and what the kernel could not get rid of; whoever closes the session raises what comes of it.

The rules are in :mod:`~muxado_py.links.parting`.

The trap.  After an end that was not ours nobody knows of what the transport took: it may have been read, or
not, by a peer that is no more.  What it did not take is lost for certain.  The same doubt is left by our own
end where no kernel can be asked and a peer that owes its end did not give it: an answered ping bounds what
may be lost, and nothing else does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UndeliveredError
from ..protocol.connection import CLOSED_HERE

if TYPE_CHECKING:
    from ..links.link import Link
    from ..protocol.connection import Connection

__all__ = ("undelivered",)


def undelivered(connection: Connection, link: Link, arrived: int) -> UndeliveredError | None:
    """What did not arrive of a session that is over and whose transport is closed, if anything.

    :param arrived: how much of ``connection.said`` is known to have arrived, whatever the link knows.
    """
    ended = connection.events.failure
    ours = ended is CLOSED_HERE
    lost = connection.lost(unsaid=not ours)
    nbytes = sum(size for _, size in lost)
    unnamed = sum(stream_id is None for stream_id, _ in lost)
    named = {stream_id for stream_id, _ in lost if stream_id is not None}
    left = (
        connection.payload_of(*link.unwritten, unsaid=not ours)
        if link.unwritten is not None
        else {}
    )
    nbytes += sum(left.values())
    named.update(left)
    missing = link.undelivered if ours else 0
    if missing is None:
        missing = max(0, connection.said - arrived - sum(left.values()))
        reason = "may not have arrived: the peer did not end, and nobody else can tell"
    else:
        reason = "were not acknowledged by the peer's kernel"
    if not (nbytes or missing):
        return None
    unsent = f"{nbytes:,} bytes of {len(named) + unnamed:,} streams were not taken"
    words = [unsent] * bool(nbytes) + [f"{missing:,} bytes {reason}"] * bool(missing)
    why = "" if ours or ended is None else f": {ended.message}"
    return UndeliveredError(
        f"the session was closed before everything had arrived: {' and '.join(words)}{why}",
        nbytes=nbytes,
        streams=len(named) + unnamed,
        unacknowledged=missing,
        remote=True,
    )
