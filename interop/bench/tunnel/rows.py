"""The rows of the table: what callers do, and which figure comes of it.

Where data comes from and goes to.  A :class:`Row` says what ``interop/go/load`` does, or that callers do nothing; what one
run of it gave is a :class:`Run`.

The rule.  For a rate more is better, for memory less is: ratios are taken so that above 1 is in our favour
(:attr:`Row.more_is_better`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("IDLE", "ROWS", "Row", "Run")


@dataclass(frozen=True, slots=True)
class Run:
    """One run without an error."""

    figure: float
    """In the row's unit."""
    p50: float = 0.0
    """Seconds of an exchange; 0 for idle callers, as what follows."""
    p99: float = 0.0
    cpu: float = 0.0
    """Seconds of all programs of the set-up, application included, for one of what the figure counts."""
    load_cpu: float = 0.0
    """The same of the load generator."""


@dataclass(frozen=True, slots=True)
class Row:
    """What callers do for a while."""

    name: str
    title: str
    unit: str
    exchange: str = ""
    """For ``interop/go/load``; nothing if callers are idle."""
    connections: int = 1
    """At a time."""
    in_bytes: bool = False
    """The figure is megabytes a second instead of exchanges a second."""
    more_is_better: bool = True

    @property
    def one(self) -> str:
        """Of what the figure counts."""
        return self.unit.removesuffix("/s").removesuffix("s")


IDLE = Row("idle", "memory of an idle caller at the gateway", "KiB", more_is_better=False)

ROWS = (
    Row("get-1", "GET, 1 connection", "requests/s", "get"),
    Row("get-64", "GET, 64 kept alive", "requests/s", "get", 64),
    Row("each-64", "GET, a connection each, 64 at a time", "requests/s", "each", 64),
    Row("download", "download, 4 at a time", "MB/s", "download", 4, in_bytes=True),
    Row("upload", "upload, 4 at a time", "MB/s", "upload", 4, in_bytes=True),
    Row("websocket", "websocket echo of 64 bytes, 64 at a time", "messages/s", "websocket", 64),
    IDLE,
)
