"""The protocol of one connection, sans-IO: streams, windows, ends and bounds.

Operations of a wire come in and go out through :class:`.connection.Connection`, which does no IO, has no clock of its
own and starts no task.  Each module knows only those before it in CONTRIBUTING's table.
"""

from __future__ import annotations

__all__ = ()
