"""Upgrade: what two sides say before there is a websocket, and what a session tells of it afterwards.

It stands apart from :mod:`~muxado_py.links.websocket_handshakes`, which needs an optional library.
"""

from __future__ import annotations

from typing import NamedTuple

from anyio import TypedAttributeSet, typed_attribute

from ..errors import escaped

__all__ = ("UpgradeRefusedError", "WebSocketAttribute", "WebSocketRequest")


class WebSocketRequest(NamedTuple):
    """What the dialer of a websocket asked for.

    Its ``repr`` has the path alone: headers have tokens, and so may a query.
    """

    path: str
    """With its query, as it was sent."""

    headers: tuple[tuple[str, str], ...]
    """In the order in which they came; a name may come more than once."""

    def header(self, name: str) -> str | None:
        """The value of the only header of this name; None if there is none, or more than one."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return found[0] if len(found) == 1 else None

    def __repr__(self) -> str:
        return f"<WebSocketRequest {self.shown_path}>"

    @property
    def shown_path(self) -> str:
        """The path for a log, in quotes: without its query, and not longer than a line."""
        return f"'{escaped(self.path.partition('?')[0][:200])}'"

    @property
    def is_of_a_page(self) -> bool:
        """Whether a page in a browser asks: a browser says where it is from (RFC 6454, section 7)."""
        return any(name.lower() == "origin" for name, _ in self.headers)

    @property
    def bearer_token(self) -> str | None:
        """The token in ``Authorization: Bearer`` (RFC 6750, section 2.1); None if there is none."""
        scheme, _, token = (self.header("Authorization") or "").partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None


class WebSocketAttribute(TypedAttributeSet):
    """What a session over a websocket tells of it, by ``session.extra()``."""

    request: WebSocketRequest = typed_attribute()
    """What the dialer asked for; known to who was dialed."""

    subprotocol: str | None = typed_attribute()
    """What both sides have agreed on, if on anything."""


class UpgradeRefusedError(OSError):
    """The server answered, and not with a websocket.

    :ivar status: of its answer, as 401 or 404.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
