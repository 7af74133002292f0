"""PoolState: what an application can see of a pool.

The rule.  Plain values, taken at one moment: who keeps one holds nothing open.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ("PoolState", "TargetState")


class TargetState(NamedTuple):
    """How it stands with one target, or with one address that is listened on."""

    url: str
    """Where it is."""
    status: Literal["connected", "connecting", "waiting"]
    """Whether there is a session whose peer has spoken, and that takes streams; if not, whether there is another one or one
    is being dialed, or none for a while."""
    sessions: int
    """Sessions that are there, those that are going away too."""
    open_streams: int
    """Streams that were opened here and that these sessions still have."""
    failure: str | None
    """Why the last attempt failed or the last session was lost; None if a peer has spoken since."""
    is_untrusted: bool
    """Whether the failure is that one side does not trust the other's certificate, which waiting does not mend."""
    next_attempt: float | None
    """Seconds until it is dialed again; None if it is not waited for that."""

    def __str__(self) -> str:
        return f"{self.url}: {self.failure or self.status}"


class PoolState(NamedTuple):
    """How it stands with a pool."""

    targets: tuple[TargetState, ...]
    """Each, in the order in which they were given."""
    waiting: int
    """Calls of ``open_stream`` that wait for a session or a slot."""
    is_closing: bool
    """Whether it is being drained or closed, or is closed."""

    @property
    def sessions(self) -> int:
        """Sessions that are there, of all targets."""
        return sum(one.sessions for one in self.targets)

    @property
    def open_streams(self) -> int:
        """Streams that were opened here, on all of them."""
        return sum(one.open_streams for one in self.targets)

    @property
    def is_connected(self) -> bool:
        """Whether there is a session that streams are opened on."""
        return any(one.status == "connected" for one in self.targets)
