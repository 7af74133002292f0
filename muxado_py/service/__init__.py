"""What stands between a session and a service: sessions that are kept up, and rules for calls that may go to one of several."""

from __future__ import annotations

__all__ = ()
