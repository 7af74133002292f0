"""Limits: what a caller of the HTTP door may take of the gateway, in seconds and bytes.

What it is.  The times of one conversation, the size of a body, and how many requests there may be in a while.  What a head may be is said where heads are read.

The rule.  A time is for one thing, and who is late is told which.  What the gateway itself waits for, because an agent takes
no more, is not counted against the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .rates import Rate

__all__ = ("Limits",)


class Limits(NamedTuple):
    """Of one door."""

    idle: float = 75.0
    """Seconds without a request, before it or between two (nginx: keepalive_timeout)."""
    head: float = 60.0
    """Seconds from the first byte of a head to its last."""
    body: float = 20.0
    """Seconds in which a body may keep the gateway waiting, and more for what has come (Apache: RequestReadTimeout)."""
    body_rate: float = 500.0
    """Bytes of a body that give it a second more."""
    answer: float = 60.0
    """Seconds from the last byte of a request to the head of its answer (nginx: proxy_read_timeout, frp: vhostHTTPTimeout)."""
    write: float = 60.0
    """Seconds in which a caller takes a piece of its answer (nginx: send_timeout)."""
    max_body: int | None = None
    """Bytes of a body; None: as many as come."""
    caller_rate: Rate | None = None
    """Requests of one caller; None: as many as come."""
    name_rate: Rate | None = None
    """The same of all requests for one name."""
