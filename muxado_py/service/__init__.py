"""What stands between a session and a service: rules for calls that may go to one of several sessions.

Nothing in here knows a session, a socket or a clock; whoever calls has these.
"""

from __future__ import annotations

__all__ = ()
