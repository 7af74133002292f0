"""Layers: the streams below a stream, and the one among them that reads more than it is asked for.

A byte stream is often a wrapper: TLS, a buffer, two streams stapled together, a user's own.  Two things must be done
to the stream at the bottom: there it is decided how a connection breaks off, and there, on asyncio, reading ahead
must be stopped.

The rule.  A wrapper has what it wraps in an attribute, as all of anyio's do; nothing else is assumed of it.

The trap.  On asyncio and uvloop anyio's ``SocketStream`` reads from the moment it is made, and pauses only
once a ``receive()`` had to wait.  What a fast sender sends until then is kept without bound: a peer whose bytes
never stop is never told to wait.  A connection that was just accepted has been read for a turn or two already;
where that matters, it is accepted by :mod:`~muxado_py.runtime.plain_sockets`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anyio.abc import AsyncResource, SocketStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import AnyByteStream

__all__ = ("layers_of", "pause_reading", "stop_reading_ahead")


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


def pause_reading(stream: AnyByteStream) -> None:
    """Let the kernel hold back the sender to ``stream`` until the next ``receive()``, whatever wraps its socket.

    Does nothing where nothing is read ahead: on trio, for Unix sockets.
    """
    for transport in _transports(stream):
        with suppress(Exception):  # it is closed, or about to be
            transport.pause_reading()


def stop_reading_ahead(stream: AnyByteStream) -> None:
    """The same, and from here on no ``receive()`` reads more than the loop does at once (256 KiB)."""
    pause_reading(stream)
    for transport in _transports(stream):
        with suppress(Exception):
            protocol = transport.get_protocol()
            if not isinstance(protocol, _OneRead):
                transport.set_protocol(_OneRead(protocol, transport))


def _transports(stream: AnyByteStream) -> list[Any]:
    sockets = [layer for layer in layers_of(stream) if isinstance(layer, SocketStream)]
    found = [getattr(layer, "_transport", None) for layer in sockets]
    return [transport for transport in found if transport is not None]


class _OneRead:
    """The protocol of a transport, which pauses it after each read; libuv reads up to 32 times in a turn."""

    def __init__(self, protocol: Any, transport: Any) -> None:
        self._protocol = protocol
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._protocol.data_received(data)
        self._transport.pause_reading()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)
