"""What an application holds: a session and its streams, with the tasks and timers that keep them alive.

Nothing in here knows how a connection came about, or a byte of a wire.
"""

from __future__ import annotations

__all__ = ()
