"""AcceptCallbacks: connections that come to a listener, given away by the event loop's callbacks.

What it is.  The accept loop of :mod:`~muxado_py.runtime.accept_loop` without its tasks, for who serves a connection
without one: on asyncio and uvloop.  All that wait are accepted in one turn, up to a bound, so that a burst of callers
costs one wake-up and not one for each.

The rule.  As there: what is wrong with one connection, or for a while, ends nothing.  While no descriptor is left the
socket is not watched, or the loop would do nothing else; and while it cannot be watched, that is tried again.

The trap.  Nobody may close the listening sockets that the loop still watches: :meth:`aclose` does it in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio.abc import AsyncResource, SocketAttribute

from .accept_loop import ACCEPT_DELAY, log_failure
from .congestion import unpaced_here
from .plain_sockets import accept_now, undelayed

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from anyio.abc import Listener, SocketStream

__all__ = ("AcceptCallbacks",)

ACCEPTS_PER_TURN = 64
"""Connections that are accepted before others have their turn."""


class AcceptCallbacks(AsyncResource):
    """Gives each connection of ``bound`` to ``came``, from :meth:`start` on until it is closed.

    :param came: called with the accepted socket; raises nothing.
    """

    def __init__(
        self,
        bound: Listener[SocketStream],
        loop: asyncio.AbstractEventLoop,
        came: Callable[[socket.socket], object],
    ) -> None:
        self._bound = bound
        self._loop = loop
        self._came = came
        self._sockets: list[Any] = [
            one.extra(SocketAttribute.raw_socket) for one in getattr(bound, "listeners", [bound])
        ]
        for listening in self._sockets:
            unpaced_here(listening)
        self._kinds = {listening: undelayed(listening) for listening in self._sockets}
        self._timers: dict[Any, asyncio.TimerHandle] = {}
        self._closed = False

    def start(self) -> None:
        """From here on connections are accepted."""
        for listening in self._sockets:
            self._watch(listening)

    def _watch(self, listening: socket.socket) -> None:
        self._timers.pop(listening, None)
        try:
            self._loop.add_reader(listening, self._accept, listening)
        except OSError as exc:  # the kernel has bounds of its own for what is watched
            log_failure(exc)
            self._watch_later(listening)

    def _watch_later(self, listening: socket.socket) -> None:
        self._timers[listening] = self._loop.call_later(ACCEPT_DELAY, self._watch, listening)

    def _accept(self, listening: socket.socket) -> None:
        kind = self._kinds[listening]
        for _ in range(ACCEPTS_PER_TURN):
            if self._closed:  # by who was given a connection
                return
            try:
                accepted = accept_now(listening, kind)
            except BlockingIOError:
                return
            except OSError as exc:
                if log_failure(exc):
                    self._loop.remove_reader(listening)
                    self._watch_later(listening)
                    return
            else:
                self._came(accepted)

    async def aclose(self) -> None:
        """Accept no more, and close the listener.

        Cancellation: it is closed all the same.
        """
        if not self._closed:
            self._closed = True
            for listening in self._sockets:
                self._loop.remove_reader(listening)
            for timer in self._timers.values():
                timer.cancel()
        await self._bound.aclose()
