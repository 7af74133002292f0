"""Faults: mistakes that were made once, each put back by a patch, to see that the simulator finds it.

The rule.  A patch changes one function, at the place where the mistake was mended, and nothing that the
simulator looks at.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anyio import move_on_after

from muxado_py.errors import ErrorCode, Failure, Retry, StreamResetError
from muxado_py.links import link, parting
from muxado_py.links.parting import GOODBYE_WAIT
from muxado_py.protocol.connection import Connection
from muxado_py.protocol.endings import CLOSED_BY_PEER, Endings
from muxado_py.runtime.checkpoints import Callback
from muxado_py.session import driver
from muxado_py.session.liveness import Heartbeat, Writing
from muxado_py.session.stream import Stream

from .run import run_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from muxado_py.protocol.state import StreamState

    from .run import Result

__all__ = ("FAULTS", "Fault", "find", "put_back", "put_back_all")

SEEDS = 2_000
"""How many are tried for each."""


@dataclass(frozen=True)
class Fault:
    """One of them.

    :ivar says: what a finding of it begins with or contains.
    :ivar wire: where it shows soonest; None where it is the same on all.
    """

    name: str
    what: str
    says: str
    patches: list[tuple[Any, str, Callable[..., Any]]] = field(repr=False)
    wire: str | None = None


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


async def _hears_nothing(_: object) -> bool:
    return True


def _sees_nothing(_: object) -> bool:
    return False


# What was read as an end, or waited for one.


def _drops_what_was_whole(endings: Endings, stream: StreamState, code: ErrorCode, why: str) -> None:
    assert stream.id is not None
    endings._reply_reset(stream.id, code)
    endings.end_stream(stream, Failure(StreamResetError, why, code, False))
    endings.drop_unread(stream)


_open_heartbeats = Connection.open_heartbeats


def _obeys_goaways(connection: Connection) -> StreamState:
    failure = connection._in.why_no_stream()
    if failure is not None:
        raise failure.error(Retry.NEVER_SENT)
    return _open_heartbeats(connection)


def _counts_heartbeats(endings: Endings) -> None:
    if endings._events.go_away is None or not endings._traits.early_goaway:
        return
    if not endings._table.live and not endings._events.ended:
        endings._out.go_away(endings._table.handed_off_id, ErrorCode.NO_ERROR, b"")
        endings.end(CLOSED_BY_PEER)


def _takes_the_place(stream: Stream, readable: Any, writable: Any) -> None:
    stream._state.reader = None if readable is None else Callback(readable)
    stream._state.writer = None if writable is None else Callback(writable)


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
        [(Heartbeat, "_is_deaf", _hears_nothing), (Heartbeat, "_overslept", _tells_nothing)],
    ),
    Fault(
        "links F7",
        "a transport that takes a part of a flush is stuck",
        "the kernel took bytes",
        [(Writing, "_is_taken", _sees_nothing)],
    ),
    Fault(
        "core F1",
        "bytes are thrown away, and a clean end is read",
        "a clean end before the end",
        [(Endings, "_provoked_reset", _drops_what_was_whole)],
        "yamux",
    ),
    Fault(
        "core F2",
        "after a GOAWAY no heartbeat goes",
        "not found out",
        [(Connection, "open_heartbeats", _obeys_goaways)],
        "muxado1",
    ),
    Fault(
        "core F4",
        "a heartbeat stream keeps a session from ending",
        "went away, all streams ended, and the session lives",
        [(Endings, "close_if_idle", _counts_heartbeats)],
        "muxado1",
    ),
    Fault(
        "core F6",
        "set_callbacks takes the wake-up of a task that waits",
        "with callbacks",
        [(Stream, "set_callbacks", _takes_the_place)],
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
            result = run_seed(seed, fault.wire)
            shown = [finding for finding in result.findings if fault.says in finding]
            if shown:
                break
        else:
            return None
    honest = run_seed(seed, fault.wire)
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
