"""Peers: who is at the other end of a session, for the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.abc import SocketAttribute

from ..errors import escaped

if TYPE_CHECKING:
    from .session import Session

__all__ = ("peer_name",)


def peer_name(session: Session) -> str:
    """Its address, as in a URL; in brackets what it has in its place, for it stands behind "agent" and behind a name and @."""
    address = session.extra_attributes.get(SocketAttribute.remote_address)
    if address is None:
        return "(unnamed)"
    host, port = address()
    if not port:
        return "(local)"
    return escaped(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
