"""Config: every number that bounds or tunes a session, with its unit, its default and the reason.

What it is.  One frozen value, given to a session when it is made and never changed after.  The
bounds here are the only ones: each queue in the package is held to one of these fields.

The rule.  A new queue or buffer anywhere needs a field here with one line of reasoning.

The trap.  The muxado wire does not negotiate ``initial_window`` with a foreign peer: a Go or Rust
program configured otherwise must be matched here, or one side overruns the other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from .frames import WIRES
from .scheduler import make_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from .scheduler import Scheduler

__all__ = ("Config",)

KIB = 1024
MIB = 1024 * KIB
MAX_WINDOW = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one session; give both ends of a foreign pair the same ``initial_window``.

    :raises ValueError: if a field is out of its range, naming the field, the value and the range.
    """

    wire: str = "muxado"
    """The byte format.  ``muxado`` is Go muxado v2's."""

    scheduler: str | Callable[[], Scheduler] = "priority"
    """Who writes next: ``priority``, ``round-robin``, ``fifo``, or a factory of your own."""

    typed_streams: bool = False
    """Whether every stream begins with a four-byte type (Go's ``TypedStreamSession``).  Both ends
    must agree; it is what makes heartbeats possible towards a Go or Rust peer, which must answer them
    (``NewHeartbeat`` in Go): one that does not counts as dead when it has nothing else to send."""

    initial_window: int = 256 * KIB
    """Bytes each side may send on a new stream before any credit.  256 KiB is what the muxado peers
    assume; it is not negotiated with them."""

    stream_window: int = 256 * KIB
    """Bytes of a stream the peer may have sent that the application has not read.  One stream moves
    at most this much in a round trip: raise it for bulk over long paths."""

    session_window: int = 64 * MIB
    """Unread bytes of all streams together.  256 full streams fit.  A muxado_py peer is told and
    waits; with others, the stream that holds most is reset when the sum goes over."""

    send_buffer: int = 64 * KIB
    """Bytes per stream that ``send`` takes before it waits.  Four frames: enough to keep the writer
    busy, little enough that a priority set now still matters."""

    max_frame: int = 64 * KIB
    """The largest DATA frame sent when nothing else waits; beside other streams it is 16 KiB."""

    max_streams: int = 1_000
    """Streams the peer may have open, each counted until this side's handler is done with it, so
    that opening and resetting wins nothing (CVE-2023-44487)."""

    accept_backlog: int = 1_000
    """Streams that wait for ``accept_stream``.  As many as may be open: a burst arrives in one read,
    before any handler has had a turn, and what waits is bounded by ``max_streams`` anyway."""

    max_control_frames: int = 1_024
    """Replies (resets, pongs) queued while the peer does not read; at this many, reading stops."""

    control_budget: int = 1_024
    """How many pings, empty frames, resets before accept and provoked resets may come in a burst,
    each kind counted apart.  The budget fills again by ``control_rate``."""

    control_rate: float = 256.0
    """Per second, how much of each ``control_budget`` comes back."""

    heartbeat_interval: float | None = 10.0
    """Seconds between heartbeats; None for none.  Go's default."""

    heartbeat_timeout: float = 15.0
    """Seconds without a byte from the peer, after an unanswered heartbeat, that end the session.
    Go's tolerance."""

    write_timeout: float = 60.0
    """Seconds in which the transport must take something of what it was given."""

    probe_interval: float = 2.0
    """Seconds between zero-window probes of a blocked stream whose peer has finished sending; the
    only way to learn that a Go peer closed it."""

    close_timeout: float = 5.0
    """Seconds that closing may take to flush what was written and to say goodbye."""

    linger_timeout: float = 30.0
    """Seconds that a closed stream may take to flush; after that it is reset."""

    connect_timeout: float = 30.0
    """Seconds that ``connect`` (name, TCP and TLS together) and a TLS accept may take."""

    notsent_lowat: int | None = 16 * KIB
    """Bytes the kernel may hold unsent (TCP_NOTSENT_LOWAT) before the transport counts as not
    writable.  What has left for the kernel can no longer be prioritized.  None: leave it alone."""

    def __post_init__(self) -> None:
        if self.wire not in WIRES:
            raise ValueError(f"wire must be one of {', '.join(WIRES)}, got {self.wire!r}")
        make_scheduler(self.scheduler)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in ("heartbeat_interval", "notsent_lowat"):
                continue
            whole = isinstance(low, int)
            fits = isinstance(value, int) or (isinstance(value, float) and not whole)
            if not fits or not low <= value <= high:
                what = "an int" if whole else "a number"
                raise ValueError(f"{name} must be {what} from {low} to {high}, got {value!r}")
        if self.stream_window < self.initial_window:
            raise ValueError(
                f"stream_window must be at least initial_window ({self.initial_window}), because "
                f"the peer may send that much unasked; got {self.stream_window}"
            )


_RANGES: dict[str, tuple[float, float]] = {
    "initial_window": (1, MAX_WINDOW),
    "stream_window": (1, MAX_WINDOW),
    "session_window": (64 * KIB, 2**62),
    "send_buffer": (1, MAX_WINDOW),
    "max_frame": (KIB, 2**24 - 1),
    "max_streams": (0, 2**30),
    "accept_backlog": (1, 2**30),
    "max_control_frames": (16, 2**20),
    "control_budget": (16, 2**30),
    "control_rate": (1.0, 1e9),
    "heartbeat_interval": (0.001, 86_400.0),
    "heartbeat_timeout": (0.001, 86_400.0),
    "write_timeout": (0.001, 86_400.0),
    "probe_interval": (0.001, 86_400.0),
    "close_timeout": (0.0, 86_400.0),
    "linger_timeout": (0.0, 86_400.0),
    "connect_timeout": (0.001, 86_400.0),
    "notsent_lowat": (1, MAX_WINDOW),
}
assert set(_RANGES) < {field.name for field in fields(Config)}
