"""Latest: the callers that are there and the last requests, for the page at the admin address.

What it is.  A set of the callers, and a ring of :data:`KEPT` requests.  At a door of bytes a caller is one request, the
first, which is told when it has left, for nobody reads the others; at the HTTP door each is told when it is answered.

Where data comes from.  The callers themselves have what is shown of them, and are asked when somebody looks.

The rules.  Of a request only its method and the path of its target are kept: what stands behind a question mark and in fields
is the caller's secret (a token, a cookie) and is in neither.  There is a bound to all of it.

The trap.  Strangers said it.  So nothing here is markup, and what would turn other text around is escaped.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ...errors import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("MAX_LINE", "Asked", "Latest", "Seen", "read_line")

KEPT = 100
"""Requests."""

MAX_LINE = 1024
"""Bytes that are looked at of a request's first line."""

MAX_PATH = 200
"""Characters that are shown of a path."""


class Seen(Protocol):
    """A caller, as far as it is shown."""

    @property
    def client(self) -> str | None:
        """Its address; None on a Unix socket."""

    @property
    def name(self) -> str | None:
        """What it wants."""

    @property
    def agent(self) -> str | None:
        """Who had it last."""

    @property
    def line(self) -> bytes:
        """The first line of its request, or the beginning of that; nothing if there is none."""

    @property
    def status(self) -> int | None:
        """What it was answered, in HTTP/1."""


class Asked(NamedTuple):
    """One request that is over."""

    number: int
    """How many there were, with this one."""
    time: float
    """When it was over, in seconds since 1970."""
    client: str | None
    name: str | None
    agent: str | None
    line: bytes
    status: int | None
    end: str
    """How it ended, see :class:`.ledger.End`."""
    seconds: float
    """What it took."""


class Latest:
    """What there is to be seen.

    :param now: the time, in seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.callers: dict[Seen, float] = {}
        """Those that are there, the oldest first, and since when."""
        self.requests: deque[Asked] = deque(maxlen=KEPT)
        """The last, the oldest first."""
        self._number = 0

    def came(self, caller: Seen) -> None:
        """``caller`` is there."""
        self.callers[caller] = self.now()

    def left(self, caller: Seen) -> None:
        """It is not there any more."""
        self.callers.pop(caller, None)

    def asked(self, caller: Seen, end: str, seconds: float) -> None:
        """A request of ``caller`` is over."""
        self._number += 1
        self.requests.append(
            Asked(
                self._number,
                self.now(),
                caller.client,
                caller.name,
                caller.agent,
                caller.line,
                caller.status,
                end,
                seconds,
            )
        )


def read_line(line: bytes) -> tuple[str, str]:
    """Method and path of a request, from its first line or the beginning of that; nothing of what is none."""
    method, _, rest = line[:MAX_LINE].partition(b" ")
    if not rest:
        return "", ""
    path = _path(rest.partition(b" ")[0].decode(errors="replace"))
    if len(path) > MAX_PATH:
        path = path[:MAX_PATH] + "…"
    return escaped(method.decode("latin-1")), escaped(path)


def _path(target: str) -> str:
    path = target.partition("?")[0].partition("#")[0]
    if path.startswith("/"):
        return path
    _, is_absolute, rest = path.partition("://")  # before the host may stand a password
    return "/" + rest.partition("/")[2] if is_absolute else path.rpartition("@")[2]
