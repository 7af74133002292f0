"""What the event loop is asked for, on asyncio, uvloop and trio: checkpoints, waits, and sockets that are not ours.

Optional libraries are found here too.  Nothing in here knows a frame, a stream or a session.
"""

from __future__ import annotations

__all__ = ()
