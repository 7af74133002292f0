"""Faults: mistakes that were made once, or are easily made, each put there by a patch, to see that the simulator finds it.

The rule.  A patch changes one function, at the place where the mistake was mended, and nothing that the
simulator looks at.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from anyio import EndOfStream, move_on_after

from muxado_py.dialing import through_proxy
from muxado_py.dialing.pending import AnyioPending
from muxado_py.errors import ErrorCode, Failure, GoneAwayError, Retry
from muxado_py.links import link, parting
from muxado_py.links.early_protocol import EarlyProtocol
from muxado_py.links.parting import GOODBYE_WAIT
from muxado_py.protocol import recv_half
from muxado_py.protocol.end_table import Event
from muxado_py.protocol.heartbeat_streams import Heartbeats
from muxado_py.protocol.stream_ends import StreamEnds
from muxado_py.protocol.stream_state import RecvState
from muxado_py.protocol.stream_table import StreamTable
from muxado_py.runtime.checkpoints import Callback
from muxado_py.session import driver, timekeeper
from muxado_py.session import stream as stream_module
from muxado_py.session.keepalive import Inactivity, Writing

from .run import run_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from muxado_py import Config
    from muxado_py.links.link import Link
    from muxado_py.protocol.connection import Connection
    from muxado_py.protocol.stream_state import StreamState

    from .run import Result

__all__ = ("FAULTS", "Fault", "find", "put_back", "put_back_all")

SEEDS = 2_000
"""How many are tried for each."""


@dataclass(frozen=True)
class Fault:
    """One of them.

    :ivar says: what a finding of it begins with or contains.
    :ivar wire: where it shows soonest; None where it is the same on all.
    :ivar transport: the same.
    """

    name: str
    what: str
    says: str
    patches: list[tuple[Any, str, object]] = field(repr=False)
    wire: str | None = None
    transport: str | None = None


# What closing lost.


async def _closes_under_the_kernel(one: parting.Leaving, *, ended_here: bool, **_: bool) -> None:
    await one.flushed()
    if ended_here:
        with move_on_after(GOODBYE_WAIT):
            await one.input_over.wait()


async def _gives_a_second(one: parting.Leaving, **facts: bool) -> None:
    with move_on_after(4 * GOODBYE_WAIT) as scope:
        await one.flushed()
    if not scope.cancelled_caught:
        await _part(one, **facts)


_part = parting.part


def _tells_nothing(*_: object) -> None:
    pass


# Who was called dead.


class _Unseen:
    """A link that does not show what it lets go of."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def progress(self) -> int:
        return 0


def _sees_nothing(config: Config, connection: Connection, link: Any) -> Writing:
    return Writing(config, connection, cast("Link", _Unseen(link)))


# What was read as an end, or waited for one.


_end = StreamEnds.end


def _drops_what_was_whole(
    stream_ends: StreamEnds, stream: StreamState, event: Event, failure: Failure, **how: Any
) -> None:
    _end(stream_ends, stream, event, failure, **how)
    if event is Event.FAULT:
        if failure.code == ErrorCode.STREAM_CLOSED:  # it went on after its end
            stream.recv_state = RecvState.FIN_RECEIVED
        recv_half.discard_unread(stream)


_open_heartbeats = Heartbeats.open


def _obeys_goaways(heartbeats: Heartbeats) -> StreamState:
    if heartbeats._events.go_away is not None:
        failure = Failure(GoneAwayError, "going away", ErrorCode.REMOTE_GONE_AWAY, True)
        raise failure.error(Retry.NEVER_SENT)
    return _open_heartbeats(heartbeats)


def _counts_heartbeats(table: StreamTable) -> bool:
    return not table.live


def _takes_the_place(state: StreamState, readable: Any, writable: Any) -> None:
    state.read_waiter = None if readable is None else Callback(readable)
    state.write_waiter = None if writable is None else Callback(writable)


# What comes through a proxy.


_MUCH = 1 << 30

_discard, _discard_early = AnyioPending.discard, EarlyProtocol.discard


def _takes_what_follows(pending: AnyioPending, _: int) -> None:
    _discard(pending, _MUCH)


def _takes_what_follows_early(early: EarlyProtocol, _: int) -> None:
    _discard_early(early, _MUCH)


FAULTS = (
    Fault(
        "links F2",
        "a session is closed over bytes that lie in the kernel",
        "promised and lost",
        [(link, "part", _closes_under_the_kernel), (driver, "undelivered", _tells_nothing)],
    ),
    Fault(
        "links F4",
        "the last flush gets a second, whatever close_timeout says",
        "promised and lost",
        [(link, "part", _gives_a_second), (driver, "undelivered", _tells_nothing)],
    ),
    Fault(
        "links F5",
        "silence is judged before the socket is read",
        "lay unread in the socket",
        [(timekeeper, "LOOP_TURNS", 0), (Inactivity, "overslept", _tells_nothing)],
    ),
    Fault(
        "links F7",
        "a transport that takes a part of a flush is stuck",
        "the kernel took bytes",
        [(timekeeper, "Writing", _sees_nothing)],
    ),
    Fault(
        "core F1",
        "bytes are thrown away, and a clean end is read",
        "a clean end before the end",
        [(StreamEnds, "end", _drops_what_was_whole)],
        "yamux",
    ),
    Fault(
        "core F2",
        "after a GOAWAY no heartbeat goes",
        "not found out",
        [(Heartbeats, "open", _obeys_goaways)],
        "muxado1",
    ),
    Fault(
        "core F4",
        "a heartbeat stream keeps a session from ending",
        "went away, all streams ended, and the session lives",
        [(StreamTable, "is_idle", property(_counts_heartbeats))],
        "muxado1",
    ),
    Fault(
        "core F6",
        "set_callbacks takes the wake-up of a task that waits",
        "with callbacks",
        [(stream_module, "call_back", _takes_the_place)],
    ),
    Fault(
        "proxies F1",
        "a reset while a proxy is asked is no OSError",
        "dialing raised",
        [(through_proxy, "BrokenResourceError", EndOfStream)],
        transport="connect",
    ),
    Fault(
        "proxies: what follows",
        "bytes of the session behind the answer of a proxy are thrown away",
        "and all was well",
        [
            (AnyioPending, "discard", _takes_what_follows),
            (EarlyProtocol, "discard", _takes_what_follows_early),
        ],
        transport="connect",
    ),
)


@contextmanager
def put_back(fault: Fault) -> Iterator[None]:
    """The mistake is made again."""
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in fault.patches]
    for owner, name, mistaken in fault.patches:
        setattr(owner, name, mistaken)
    try:
        yield
    finally:
        for owner, name, right in before:
            setattr(owner, name, right)


def find(fault: Fault, seeds: int = SEEDS) -> tuple[Result, str] | None:
    """The first run that shows it, and what it says."""
    with put_back(fault):
        for seed in range(seeds):
            result = run_seed(seed, fault.wire, transport=fault.transport)
            shown = [finding for finding in result.findings if fault.says in finding]
            if shown:
                break
        else:
            return None
    honest = run_seed(seed, fault.wire, transport=fault.transport)
    assert not honest.findings, f"seed {seed} is at fault anyway: {honest.findings}"
    return result, shown[0]


def put_back_all() -> int:
    """Show that each is found; 1 if one is not."""
    missed = 0
    for fault in FAULTS:
        found = find(fault)
        if found is None:
            missed = 1
            print(f"{fault.name}, {fault.what}: not found in {SEEDS} seeds", flush=True)
        else:
            plan = found[0].plan
            where = f"seed {plan.seed}, {plan.wire}, {plan.loop}"
            print(f"{fault.name}, {fault.what}: {where}: {found[1][:120]}", flush=True)
    return missed
