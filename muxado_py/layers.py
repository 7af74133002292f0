"""Layers: the streams below a stream, and the one among them that reads more than it is asked for.

What it is.  A byte stream is often a wrapper: TLS, a buffer, two streams stapled together, a user's own.  Two
things must be done to what lies below: how a connection breaks off is decided there, and on asyncio its
reading ahead must be stopped there.

The rule.  A wrapper holds what it wraps in an attribute, as all of anyio's do; nothing else is asked of it.

The trap.  On asyncio and uvloop anyio's ``SocketStream`` reads from the moment it is made, and pauses only
once a ``receive()`` had to wait.  What a fast sender sends until then is kept without bound: a peer whose bytes
never stop is never told to wait.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anyio.abc import AsyncResource, SocketStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import AnyByteStream

__all__ = ("layers_of", "stop_reading_ahead")


def layers_of(stream: AnyByteStream) -> Iterator[AsyncResource]:
    """``stream``, what it wraps, what that wraps, and so on down to a socket; each once."""
    found: dict[int, AsyncResource] = {}
    waiting: list[AsyncResource] = [stream]
    while waiting:
        layer = waiting.pop(0)
        if id(layer) not in found:
            found[id(layer)] = layer
            yield layer
            waiting += [one for one in _attributes(layer) if isinstance(one, AsyncResource)]


def _attributes(layer: object) -> list[Any]:
    values = list(getattr(layer, "__dict__", {}).values())
    for kind in type(layer).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            values.append(getattr(layer, name, None))
    return values


def stop_reading_ahead(stream: AnyByteStream) -> None:
    """Let the kernel hold back who sends to ``stream``, whatever wraps its socket.

    The next ``receive()`` reads again.  Does nothing where nothing is read ahead: on trio, for Unix sockets.
    """
    for layer in layers_of(stream):
        transport = getattr(layer, "_transport", None) if isinstance(layer, SocketStream) else None
        if transport is not None:
            with suppress(Exception):  # it is closed, or about to be
                transport.pause_reading()
