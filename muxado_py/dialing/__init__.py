"""How a session comes about: from an address or a transport to a session, on either side."""

from __future__ import annotations

__all__ = ()
