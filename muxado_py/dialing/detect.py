"""Detection: the wire of a dialer, by its first bytes.

A side that listens with ``Config(wire="auto")`` lets a new connection wait here until its dialer has sent enough to
tell its wire, :data:`~muxado_py.frames.HEAD` bytes at most; the session's link then begins with the same bytes.

The rule.  Bytes that fit two wires are not guessed at, and an error names what fits none: a session that misreads its
peer loses data, an error loses a connection.

The trap.  A dialer need not say anything.  Go's muxado sends nothing until it opens a stream, so one that dials in to
be called (through NAT, say) is never detected; a Go smux says something after 10 seconds, a Go yamux after 30.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import EndOfStream, move_on_after

from ..errors import ErrorCode, PeerTimeoutError, ProtocolError, SessionError, TransportError
from ..frames import HEAD, candidates, stranger

if TYPE_CHECKING:
    from ..config import Config
    from .pending import PendingConnection

__all__ = ("detect_wire",)

SHORTEST_HEADER = 8
"""Bytes of the shortest header; fewer may still fit another wire."""


async def detect_wire(pending: PendingConnection, config: Config) -> Config:
    """``config`` with the wire that the dialer of ``pending`` speaks.

    :raises ProtocolError: if the first bytes fit no wire, or more than one.
    :raises PeerTimeoutError: if they do not come within ``Config.recognize_timeout``.
    :raises TransportError: if the transport ends before.  It is closed after each of these.

    Cancellation: the transport is closed.
    """
    try:
        head = b""
        with move_on_after(config.recognize_timeout):
            while True:
                head += await pending.peek()
                name = _wire_of(head)
                if name is not None:
                    return config.with_wire(name)
        raise PeerTimeoutError(
            f"nothing that tells a wire came in {config.recognize_timeout:g} s; a dialer that waits "
            "to be asked cannot be recognized: name its wire with Config(wire=...)",
            code=ErrorCode.PROTOCOL_ERROR,
            remote=True,
        )
    except EndOfStream:
        await pending.abort()
        raise TransportError(
            "the transport ended before its wire was known", code=ErrorCode.PEER_EOF, remote=True
        ) from None
    except BaseException as exc:
        await pending.abort()
        if isinstance(exc, SessionError) or not isinstance(exc, Exception):
            raise
        raise TransportError(
            f"the transport failed before its wire was known: {exc}",
            code=ErrorCode.PEER_EOF,
            remote=True,
        ) from exc


def _wire_of(head: bytes) -> str | None:
    """The wire that begins with ``head``; None if more bytes are needed.

    :raises ProtocolError: if no wire does, or more than one and more bytes will not tell.
    """
    names = candidates(head)
    if len(names) == 1 and len(head) >= SHORTEST_HEADER:
        return names[0]
    if names and len(head) < HEAD:
        return None
    if names:
        what = f"the first bytes fit {' and '.join(names)}: name the wire with Config(wire=...)"
    else:
        what = stranger(head) or f"no wire begins with {head[:HEAD].hex(' ')}"
    raise ProtocolError(what, code=ErrorCode.PROTOCOL_ERROR)
