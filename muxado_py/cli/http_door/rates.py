"""Rates: how many requests one caller may make in a while, and how many may come for one name.

What it is.  For each caller, and for each name, the time until which its requests are paid for (GCRA, the leaky bucket of
ATM): one that comes moves it by a share of the rate's time, and who is ahead of the clock by all of that waits.  So a rate of
``100/m`` lets a hundred in at once, and then one more each 0.6 s.

The rules.  A request counts when an agent gets it, once, however many do; so nobody can make up names that count.  What is refused does not, and is told
when to come again.  Each gateway counts for itself.

What a caller is.  An address; of IPv6 the network of 64 bits, which one host may have whole.  Who comes by a proxy that is trusted
is who that says (:mod:`.fronts`); all who come by a Unix socket, from whom nobody knows, are one.

The trap.  Whoever has many addresses could make this grow.  Who is not ahead of the clock needs nothing kept, and beyond
:data:`MAX_KEPT` the one that has asked least lately is forgotten: who makes room for himself so is bounded by the rate of the name.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ..callers.crowd import network_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ("MAX_KEPT", "Rate", "Rates", "parse_rate")

MAX_KEPT = 10_000
"""Callers, or names, of which the time is kept."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Rate(NamedTuple):
    """So many in so many seconds."""

    number: int
    seconds: float


def parse_rate(text: str) -> Rate:
    """That of ``10/s``, ``100/m`` or ``1000/h``.

    :raises ValueError: if it is none.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([smh])", text)
    if match is None:
        raise ValueError(f"{text!r} is no rate: write 10/s, 100/m or 1000/h")
    return Rate(int(match[1]), _UNITS[match[2]])


class Rates:
    """Those of one door.

    :param of_caller: of each caller; None: as many as come.
    :param of_name: of each name.
    :param now: the time, in seconds.
    """

    def __init__(
        self, of_caller: Rate | None, of_name: Rate | None, now: Callable[[], float]
    ) -> None:
        self._callers = None if of_caller is None else _Paid(of_caller, now)
        self._names = None if of_name is None else _Paid(of_name, now)

    def wait(self, client: str | None, name: str | None) -> float:
        """Seconds until a request of ``client`` for ``name`` is let in; 0: it is now."""
        waits = 0.0
        if self._callers is not None:
            waits = self._callers.wait(network_of(client))
        if self._names is not None:
            waits = max(waits, self._names.wait(name))
        return waits

    def count(self, client: str | None, name: str | None) -> None:
        """One is let in."""
        if self._callers is not None:
            self._callers.count(network_of(client))
        if self._names is not None:
            self._names.count(name)


class _Paid:
    """Until when the requests of each are paid for."""

    def __init__(self, rate: Rate, now: Callable[[], float]) -> None:
        self._share = rate.seconds / rate.number
        self._ahead = rate.seconds - self._share
        self._now = now
        self._until: dict[Hashable, float] = {}  # who has asked last is last

    def wait(self, key: Hashable) -> float:
        until = self._until.get(key)
        return 0.0 if until is None else max(0.0, until - self._ahead - self._now())

    def count(self, key: Hashable) -> None:
        now = self._now()
        self._until[key] = max(now, self._until.pop(key, now)) + self._share
        for one in list(islice(self._until, 2)):  # one more than came
            if self._until[one] <= now or len(self._until) > MAX_KEPT:
                del self._until[one]
