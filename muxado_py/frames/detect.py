"""Detection: which wire, or what else, the first bytes of a peer belong to.

Where it is used.  A session looks at the first twelve bytes it receives, so that a peer of another
wire, or no multiplexer at all, is named at once instead of being read as nonsense; a side that listens
with ``Config(wire="auto")`` chooses the wire by them.

The rule.  Each wire says for itself what a session of it may begin with (``Wire.matches``).  A session
doubts a peer only if its own wire does not match and something else does: what nobody knows is left
to the decoder, which knows its format best.

The trap.  Some beginnings fit two wires: a yamux session may begin with a Data frame that has the SYN
flag, which is also a SYN of the muxado of 2014.  ``auto`` must say so, and not guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .muxado import Muxado
from .muxado1 import Muxado1
from .smux import Smux1, Smux2
from .yamux import Yamux

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .wire import Wire

__all__ = ("AUTO", "HEAD", "WIRES", "candidates", "mistaken", "stranger")

WIRES: Mapping[str, type[Wire]] = {
    wire.name: wire for wire in (Muxado, Yamux, Smux1, Smux2, Muxado1)
}
"""The wires by name."""

AUTO = "auto"
"""In place of a wire's name: the one that the dialer speaks."""

HEAD = 12
"""Bytes that tell all that the first bytes can tell."""

_HTTP_STARTS = (
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"OPTIONS ",
    b"CONNECT ",
    b"DELETE ",
    b"PRI * ",
)
_TLS_START = b"\x16\x03"


def candidates(head: bytes) -> list[str]:
    """The wires that a session which begins with ``head`` may be of."""
    if stranger(head) is not None:
        return []
    return [name for name, wire in WIRES.items() if wire.matches(head[:HEAD])]


def mistaken(head: bytes, wire: type[Wire]) -> str | None:
    """What the peer is, in words with advice, if ``head`` shows that it is not of ``wire``."""
    what = stranger(head)
    if what is not None:
        return what
    if wire.matches(head):
        return None
    others = [other for other in candidates(head) if other != wire.name]
    if not others or len(head) < 8:
        return None
    return (
        f"this looks like {' or '.join(others)}, and this side speaks {wire.name}: set "
        f'Config(wire="{others[0]}") here, or {wire.name} on the other side'
    )


def stranger(head: bytes) -> str | None:
    """What speaks no multiplexer's wire."""
    if head.startswith(_TLS_START) and len(head) > 4 and head[2] <= 4:
        return "this looks like TLS: use a tls:// URL, or take TLS off the other side"
    if head.startswith(b"HTTP/"):
        return "this looks like an HTTP response: the other side is an HTTP server"
    if head.startswith(_HTTP_STARTS):
        return "this looks like an HTTP request: the other side is an HTTP client"
    if head.startswith(b"SSH-"):
        return "this looks like SSH"
    return None
