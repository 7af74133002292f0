"""Crowd: how many callers of a door come from one address, so that the others find room beside them.

What it is.  A door has room for so many callers.  Whoever has one address and much patience could take all of it, with
requests and answers as slow as is just allowed; who waits makes room for others, and who is served does not.

The rule.  No address has more than three times what is free: alone it has three quarters of the room, and the next one three
quarters of the rest (Choudhury and Hahne's dynamic threshold, which switches share their buffers by).  So an address is
bounded where there is want alone, and whoever comes from another one is let in.

What an address is.  Of IPv6 the network of 64 bits, which one host may have whole (RFC 4291, 2.5.4).  Not this machine, nor
a Unix socket, where a proxy may stand for everybody; and not a caller that came by a stream (:mod:`..agents.holdings`).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ("Crowd", "is_here", "network_of")

TIMES_FREE = 3
"""As many callers may one address have for each place that is free."""


class Crowd:
    """The callers of one kind of door, by address."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, int] = {}
        self._from: dict[object, Hashable] = {}

    def has_room(self, host: str | None, free: int) -> bool:
        """Whether one more caller may be let in.

        :param host: its address, if it has one.
        :param free: places for callers, with that which it may get.
        """
        count = self._counts.get(_origin(host), 0) if self._counts else 0
        return count < TIMES_FREE * max(1, free)

    def add(self, caller: object, host: str | None) -> None:
        """``caller`` is let in."""
        origin = _origin(host)
        if origin is not None:
            self._from[caller] = origin
            self._counts[origin] = self._counts.get(origin, 0) + 1

    def remove(self, caller: object) -> None:
        """``caller`` has left, if it was let in."""
        origin = self._from.pop(caller, None)
        if origin is None:
            return
        self._counts[origin] -= 1
        if not self._counts[origin]:
            del self._counts[origin]


def _origin(host: str | None) -> Hashable:
    """What counts as one address; None: it does not count."""
    return None if host is None or is_here(host) else network_of(host)


def network_of(host: str | None) -> Hashable:
    """What is one address; None: who has none."""
    if host is None:
        return None
    if ":" not in host or host.startswith("::ffff:"):
        return host.removeprefix("::ffff:")
    try:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8]
    except OSError:
        return host


def is_here(host: str) -> bool:
    """Whether it is an address of this machine's loopback, as the kernel writes these."""
    return host.removeprefix("::ffff:").startswith("127.") or host == "::1"
