"""Config: every number that bounds or tunes a session, with its unit, its default and the reason.

What it is.  One frozen value, given to a session when it is made and never changed after.  Whatever a
peer or an application can make grow is held to one of these fields.

The rule.  A new queue or buffer that they can fill needs a field here with one line of reasoning.  A bound that
is small, and that nobody has a reason to change, is a constant beside what it bounds instead.  These are:
``recv_buffers.MAX_LENT`` (4 MiB of buffers that a connection lends to its readers), ``handlers.MAX_IDLE_TASKS`` (tasks that wait
for the next stream), ``stream_table.MAX_ID_GAPS`` (ranges of ids that a peer skipped), ``heartbeats.MAX_HEARTBEAT_STREAMS``,
``timeouts.PROBES_PER_SECOND`` (a rate, a quarter of ``control_rate``) and ``fast_path.MAX_LANE_KEYS`` (streams in the scheduler's
fast path).

The trap.  The muxado wire does not negotiate ``initial_window`` with a foreign peer: a Go or Rust
program configured otherwise must be matched here, or one side overruns the other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from .frames import AUTO, UNLIMITED, WIRES
from .scheduler import make_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from .scheduler import Scheduler

__all__ = ("AUTO", "WIRE_NAMES", "Config", "config_or_default")

WIRE_NAMES = (*WIRES, AUTO)
"""What ``Config.wire`` may be."""

KIB = 1024
MIB = 1024 * KIB
MAX_WINDOW = 2**31 - 1


class _Path(Protocol):
    """What ``pathlib`` has, and others."""

    def __fspath__(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one session; give both ends of a foreign pair the same ``initial_window``.

    :raises ValueError: if a field is out of its range, naming the field, the value and the range.
    """

    wire: str = "muxado"
    """The byte format, the same on both sides: ``muxado`` (Go muxado v2 and the Rust crate),
    ``yamux``, ``smux1``, ``smux2``, ``muxado1`` (Go muxado of 2014); or ``auto`` for a side that
    listens, which then takes the dialer's."""

    scheduler: str | Callable[[], Scheduler] = "priority"
    """Who writes next: ``priority``, ``round-robin``, ``fifo``, or a factory of your own."""

    typed_streams: bool = False
    """Whether every stream begins with a four-byte type (Go's ``TypedStreamSession``).  Both ends
    must agree; it is what makes heartbeats possible towards a Go or Rust peer, which must answer them
    (``NewHeartbeat`` in Go): one that does not counts as dead when it has nothing else to send."""

    initial_window: int = 256 * KIB
    """Bytes each side may send on a new stream before any credit, on the muxado wire.  256 KiB is
    what its peers assume; it is not negotiated with them.  The other wires fix it."""

    stream_window: int = 256 * KIB
    """Bytes of a stream the peer may have sent that the application has not read.  One stream moves
    at most this much in a round trip, until the window has grown."""

    max_stream_window: int = 16 * MIB
    """How far ``stream_window`` may grow by itself for a stream that is read as fast as it comes, and
    that it alone holds back; 1 Gbit/s over 40 ms takes 8 MiB.  All streams together grow by at most
    half of ``session_window``.  Not more than ``stream_window``: none grows.  Towards yamux at most
    4 MiB, towards Go and Rust muxado not at all, because their wires promise less."""

    session_window: int = 64 * MIB
    """Unread bytes of all streams together.  A half of it is kept for streams that come later or are
    read: each of those that may be open (``max_streams``, and what the peer takes) has an equal part of that
    half, 16 KiB with the defaults of both sides and 4 KiB at least, whatever the others hold.  The rest is
    for who comes first, 128 full windows of 256 KiB; when half of it is used, windows shrink; with
    many streams sooner, for each counts with 32 KiB of memory.  A muxado_py peer is told, and waits, from the
    second round trip on.  With others the windows shrink as they are read, and the stream that holds most is
    reset when the sum goes over; the same with a muxado_py before that.
    On ``smux1``, which has no windows, nothing is read until the application has read, or until a stream
    that it does not read is ended (``full_timeout``)."""

    send_buffer: int = 128 * KIB
    """Bytes per stream that ``send`` takes before it waits.  What waits here can still be overtaken and taken
    back.  With less, a lone sender of blocks of 64 KiB has to be woken for nearly each, which is slower."""

    session_send_buffer: int = 32 * MIB
    """Bytes of all streams together that wait unsent.  ``send_buffer`` is what a stream may have while a
    quarter of this is in use; beyond that it shrinks, to an equal part of a half of this for each stream that
    may be open, 8 KiB with the defaults of both sides and 4 KiB at least.  So 1,000 streams whose peers do
    not read hold 32 MiB instead of 128, and another can still send.  Of what ``send`` waits with,
    at most one item for each stream comes on top."""

    max_frame: int = 64 * KIB
    """The largest DATA frame sent.  Beside other streams it is 16 KiB or, on a fast transport, a quarter
    of what is handed over at once, which is at most 64 KiB."""

    max_streams: int = 1_024
    """Streams the peer may have open, each counted until this side's handler is done with it, so
    that opening and resetting wins nothing (CVE-2023-44487)."""

    max_open_streams: int | None = None
    """Streams that this side has open at once; at one more ``open_stream`` raises ``StreamLimitError``.
    None: what the wire's known peers bear without ending the session, those of the peer counted too:
    512 on yamux and 511 towards a muxado that is no muxado_py (both for Rust's, Go's take more).  A muxado_py
    on the muxado wire says its own limit (``max_streams``), which holds as well."""

    accept_backlog: int = 1_024
    """Streams that wait for ``accept_stream``.  As many as may be open: a burst arrives in one read,
    before any handler has had a turn, and what waits is bounded by ``max_streams`` anyway."""

    accept_timeout: float = 60.0
    """Seconds that a stream may wait for ``accept_stream`` on a wire that acknowledges streams (yamux),
    before it is refused.  hashicorp's yamux ends its session after 75."""

    trust_caller: bool | None = None
    """Whether a stream's ``SocketAttribute.remote_address``, and with it what servers of applications take for their
    client's address, is what the peer says of its caller in the metadata ``caller``.  None: on sessions that
    this side dialed, since it chose whom; not on those that others dialed, who could say what they like."""

    half_close: bool = False
    """Whether ``send_eof`` may half close a stream on a wire whose peers can lose what they have not
    read yet by it (smux: Go's since v1.5.54 after its own ``CloseWrite``; older ones stop writing)."""

    discard_limit: int = MIB
    """Bytes that may still come on a stream that this side has closed, on wires that throw them away
    (yamux, smux2).  Four windows: a peer that has not noticed by then gets no more credit, and is reset,
    where that can be, once what was written here before has gone out."""

    discard_timeout: float = 300.0
    """Seconds in which the peer of such a stream should finish it too.  hashicorp/yamux's time."""

    stall_timeout: float = 60.0
    """Seconds that bytes may wait for a window after the peer has finished sending, on wires where
    nobody can ask whether it still reads (yamux, smux2); then the stream ends.  Counted from the first look
    at it, and there is one in each ``probe_interval``."""

    full_timeout: float = 10.0
    """Seconds that a stream may go unread on a session without windows (``smux1``) before it pays for a
    full ``session_window``: it is ended, so that the others, which wait meanwhile, go on.  Long enough for a
    reader that is only slow.  A stream that is the only one may take longer."""

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
    Go's tolerance.  Time in which this side was busy, or stopped, does not count."""

    write_timeout: float = 60.0
    """Seconds in which the transport must take something of what it was given, however little; where only
    the return of ``send`` shows it (no TCP socket of Linux's below), 16 KiB.  A peer's kernel whose receive
    buffer is full takes nothing until a good part of it is free, for some seconds where the peer reads slowly: so a
    few seconds may end a peer that reads all the time."""

    probe_interval: float = 2.0
    """Seconds between zero-window probes of a blocked stream whose peer has finished sending; the
    only way to learn that a Go peer closed it.  Longer where there are many: 64 a second are sent.  On
    ``smux1``, where a FIN is a full close unless ``half_close`` says otherwise, and nothing holds a sender
    back, one that goes on sending for two to three of these after the peer's FIN is told so."""

    close_timeout: float = 5.0
    """Seconds that closing may take to flush what was written, to say goodbye and to await the peer's end;
    what did not arrive by then is an :exc:`~muxado_py.UndeliveredError`.  See :mod:`muxado_py.links.parting`."""

    linger_timeout: float = 30.0
    """Seconds that a closed stream may take to flush; after that it is reset.  With 0 it may send what its
    window and the transport take at once."""

    connect_timeout: float = 30.0
    """Seconds that ``connect`` (name, TCP and TLS together) and a TLS accept may take."""

    recognize_timeout: float = 35.0
    """Seconds in which a dialer must show its wire to a side with ``wire="auto"``.  hashicorp's
    yamux that has nothing to say sends its first ping after 30; other yamux programs ping at once."""

    max_mute_connections: int = 256
    """Connections of one listener that have never said a byte; when one more comes, the oldest goes.  A quarter
    of the 1,024 descriptors that a process usually may have; more, if more Go agents wait to be called."""

    notsent_lowat: int | None = 16 * KIB
    """Bytes the kernel may hold unsent (TCP_NOTSENT_LOWAT) before the transport counts as not
    writable.  What has left for the kernel can no longer be prioritized.  None: leave it alone, and the
    congestion control of what is dialed too (:mod:`muxado_py.runtime.congestion`).  It need not follow the
    rate, since what is handed over at once does (:class:`muxado_py.links.flush_size.FlushSize`).  Under
    BBR, which needs more to measure the path, it is at least 256 KiB, but not on loopback
    (:mod:`muxado_py.links.tcp_info`), of which ``cap_in_flight`` soon leaves little in use."""

    cap_in_flight: bool = True
    """Whether bulk is held to about 1.2 times what the path carries in a round trip, under BBR to 1.05 times where
    that is long, so that no queue of its own stands before what is urgent.  Only where the kernel tells (TCP
    on Linux, with asyncio or uvloop), and where a queue shows; costs a little throughput.  See
    :mod:`muxado_py.links.inflight_cap`."""

    stay_awake: float = 0.00025
    """Seconds, at most, that a session keeps the event loop from sleeping after something was sent or received,
    if things have been coming that soon; 0 for never.  Only where the process may use two processors, with
    asyncio or uvloop.  A quarter of a millisecond is for peers on the same machine or in the same rack, where
    a message there and back is much quicker by it, also where it takes long to wake a process.  See
    :mod:`muxado_py.links.busy_poll`."""

    frame_log: str | _Path | TextIO | Callable[[dict[str, Any]], object] | None = None
    """Where to write down each frame that is sent and received, for debugging, as lines of JSON: a path, to
    which they are appended; a text file; or a function, which is called with a dict for each and must neither
    wait nor use the session.  Sizes are written, never payload.  None: where the environment
    variable ``MUXADO_FRAME_LOG`` has a path, there, else nowhere.  See :mod:`muxado_py.session.frame_log`."""

    def __post_init__(self) -> None:
        if self.wire not in WIRE_NAMES:
            raise ValueError(f"wire must be one of {', '.join(WIRE_NAMES)}, got {self.wire!r}")
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        make_scheduler(self.scheduler)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in _MAY_BE_NONE:
                continue
            whole = isinstance(low, int)
            fits = isinstance(value, int) or (isinstance(value, float) and not whole)
            if isinstance(value, bool) or not fits or not low <= value <= high:
                what = "an int" if whole else "a number"
                raise ValueError(f"{name} must be {what} from {low} to {high}, got {value!r}")
        self._check_windows()
        self._check_frame_log()
        if self.trust_caller is not None and not isinstance(self.trust_caller, bool):
            raise ValueError(f"trust_caller must be True, False or None, got {self.trust_caller!r}")

    def with_wire(self, wire: str) -> Config:
        """These settings for another wire, whose initial window they take if it has one."""
        fixed = WIRES[wire].traits.initial_window is not None
        return replace(
            self, wire=wire, initial_window=_DEFAULT_WINDOW if fixed else self.initial_window
        )

    def _check_windows(self) -> None:
        fixed = None if self.wire == AUTO else WIRES[self.wire].traits.initial_window
        if fixed is not None and self.initial_window != _DEFAULT_WINDOW:
            raise ValueError(
                f"the {self.wire} wire fixes the initial window at {fixed}; leave initial_window "
                f"alone, got {self.initial_window}"
            )
        initial = fixed or self.initial_window
        if self.wire == AUTO:
            all_fixed = (wire.traits.initial_window or 0 for wire in WIRES.values())
            initial = max(initial, *(one for one in all_fixed if one != UNLIMITED))
        if self.stream_window < initial != UNLIMITED:
            raise ValueError(
                f"stream_window must be at least the initial window ({initial}), because the peer "
                f"may send that much unasked; got {self.stream_window}"
            )
        if self.typed_streams and initial < _TYPE_SIZE:
            raise ValueError(
                f"initial_window must be at least {_TYPE_SIZE} with typed_streams, for the type of a "
                f"stream to arrive; got {self.initial_window}"
            )

    def _check_frame_log(self) -> None:
        log = self.frame_log
        is_path = hasattr(log, "__fspath__") or (isinstance(log, str) and log)
        is_text = hasattr(log, "write") and hasattr(log, "encoding")  # which no binary file has
        if not (log is None or is_path or is_text or callable(log)):
            raise ValueError(
                "frame_log must be a path, a file open for writing text or a function that takes a "
                f"dict, got {log!r}"
            )


_DEFAULT_WINDOW = 256 * KIB
_TYPE_SIZE = 4

_RANGES: dict[str, tuple[float, float]] = {
    "initial_window": (1, MAX_WINDOW),
    "stream_window": (1, MAX_WINDOW),
    "max_stream_window": (0, MAX_WINDOW),
    "session_window": (64 * KIB, 2**62),
    "send_buffer": (1, MAX_WINDOW),
    "session_send_buffer": (KIB, 2**62),
    "max_frame": (KIB, 2**24 - 1),
    "max_streams": (0, 2**30),
    "max_open_streams": (0, 2**30),
    "accept_backlog": (1, 2**30),
    "accept_timeout": (0.001, 86_400.0),
    "discard_limit": (0, 2**62),
    "discard_timeout": (0.001, 86_400.0),
    "stall_timeout": (0.001, 86_400.0),
    "full_timeout": (0.001, 86_400.0),
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
    "max_mute_connections": (1, 2**30),
    "recognize_timeout": (0.001, 86_400.0),
    "notsent_lowat": (1, MAX_WINDOW),
    "stay_awake": (0.0, 0.1),
}
_MAY_BE_NONE = ("max_open_streams", "heartbeat_interval", "notsent_lowat")
_FLAGS = tuple(field.name for field in fields(Config) if isinstance(field.default, bool))
assert set(_RANGES) < {field.name for field in fields(Config)}


def config_or_default(config: Config | None) -> Config:
    """What a session is made with, given what the application gave.

    :raises TypeError: if that is no :class:`Config`.
    """
    if config is None:
        return Config()
    if not isinstance(config, Config):
        raise TypeError(f"config must be a muxado_py.Config, got {config!r}")
    return config
