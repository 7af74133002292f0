"""Oracle: compares what the applications were told with what happened.

Each rule is a function that yields what breaks it.  What a rule does not judge, it says; a doubt is the
session's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxado_py import PeerTimeoutError, ProtocolError, SessionClosedError

from .ledger import Half, content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .ledger import Call, Ledger, Side
    from .network import SimSocket
    from .plan import Plan

__all__ = ("judge",)

SLACK = 0.1
"""Seconds that a call may take beyond what it promises: turns of loops, not more."""

POLITE = ("leave", "aclose", "drain", "wait", "go away")


def judge(
    plan: Plan, ledger: Ledger, sockets: tuple[SimSocket, SimSocket], left: list[str]
) -> list[str]:
    """What was wrong in this run, a line each."""
    findings = [f"nobody waits for it: {one}" for one in left]
    for side in (0, 1):
        findings += ledger.sides[side].mistakes
        findings += _of_side(plan, ledger, side, sockets)
    for here, there in _pairs(ledger):
        findings += _of_direction(plan, ledger, here, there)
        findings += _of_direction(plan, ledger, there, here)
        findings += _both_wait(plan, here, there)
    findings += _verdicts(ledger)
    findings += _never_accepted(plan, ledger)
    return findings


def _pairs(ledger: Ledger) -> Iterator[tuple[Half, Half]]:
    """The two views of each stream that both applications had: first the one that opened it."""
    for side in (0, 1):
        accepted = {
            h.stream.id: h for h in ledger.sides[1 - side].halves if not h.opened_here and h.stream
        }
        for half in ledger.sides[side].halves:
            if half.opened_here and half.stream is not None and half.stream.id in accepted:
                yield half, accepted[half.stream.id]


# One direction of a stream.


def _of_direction(plan: Plan, ledger: Ledger, sender: Half, reader: Half) -> Iterator[str]:
    name = f"{sender.name} to {reader.name}"
    if sender.stream and reader.stream and sender.stream.metadata != reader.stream.metadata:
        yield f"metadata: {name}, {sender.stream.metadata} and {reader.stream.metadata}"
    got, base = bytes(reader.got), 2 * sender.number + sender.side
    if got != content(base, 0, len(got)) or len(got) > sender.sent_most:
        yield f"no prefix: {name}, {len(got)} B of {sender.sent_most}"
    if reader.read_end == "eof":
        yield from _clean_end(plan, ledger, sender, reader, name)
    elif _is_promised(plan, ledger, sender, reader):
        yield (
            f"promised and lost: {name} sent {sender.sent} B, {sender.finish}, and its session ended without "
            f"an error; read were {len(got)} B, then {reader.read_end}: {reader.read_error}"
        )


def _clean_end(plan: Plan, ledger: Ledger, sender: Half, reader: Half, name: str) -> Iterator[str]:
    """An end is the end of all that was sent, or the wire cannot say otherwise."""
    if len(reader.got) >= sender.sent:
        return
    if plan.wire.startswith("smux") and (sender.finish == "reset" or sender.error is not None):
        return  # a reset looks like an end there, as documented
    if plan.wire.startswith("smux") and _gave_up(plan, ledger, sender):
        return
    yield f"a clean end before the end: {name}, {len(reader.got)} B of {sender.sent}, {sender.finish}"


def _gave_up(plan: Plan, ledger: Ledger, sender: Half) -> bool:
    """Whether the sender's side had to give up a closed stream that could not be flushed."""
    config = plan.sides[sender.side].config
    over = ledger.sides[sender.side].verdict_at
    return over is None or over - sender.finished_at > config.linger_timeout - 1


def _is_promised(plan: Plan, ledger: Ledger, sender: Half, reader: Half) -> bool:
    """Whether all that was sent has to be read, to its end.

    The sender ended its stream and its session as one does, without an error; the reader read until it was
    told the end.  Nothing is promised once the network lost something, the reader's side ended the session, or
    either application was rude.
    """
    here, there = ledger.sides[sender.side], ledger.sides[reader.side]
    if (
        sender.finish not in ("close", "eof")
        or sender.sent != sender.sent_most
        or sender.error is not None
    ):
        return False
    if reader.read_end in ("", "here") or reader.finish == "reset":
        return False
    if plan.paths[0].blind and not (here.knows_peer or _is_of_command(plan, sender.side)):
        return False  # nobody can ask the kernel, and only a muxado_py's end is awaited then, and a command's
    if ledger.reset_at_proxy and not _is_awaited(plan, here):
        return False  # what was acknowledged had arrived at the proxy
    if not plan.is_whole or sender.rogue or reader.rogue or reader.meddled or sender.meddled:
        return False
    if here.verdict_at is None or sender.finished_at >= here.verdict_at:
        return False  # it was closed when nobody could be told any more
    if here.left_by not in POLITE or here.leave_error is not None:
        return False
    if there.left_by != "wait" and (there.ending_at or 0.0) <= (here.verdict_at or 0.0):
        return False
    if there.verdict is None or there.verdict.kind is PeerTimeoutError:
        return False  # judged elsewhere
    if there.left_by != "wait" and not there.verdict.remote:
        return False  # it ended before it knew of the sender's end, with what lay in its kernel
    if here.verdict is None or here.verdict.kind is not SessionClosedError:
        return False
    return not _gave_up(plan, ledger, sender)


def _is_awaited(plan: Plan, here: Side) -> bool:
    """Whether this side heard an end, through a proxy, that was of a peer that ends when it has read all.

    Where it gave up waiting for that, at its deadline, all that it knows is what the proxy acknowledged.
    """
    return plan.proxy is None or (plan.proxy.half_closes and here.knows_peer and here.heard_end)


def _is_of_command(plan: Plan, side: int) -> bool:
    """Whether that side has started the other, which ends when it has read all: programs of smux need not."""
    return plan.transport == "pipes" and side == 0 and not plan.wire.startswith("smux")


def _never_accepted(plan: Plan, ledger: Ledger) -> Iterator[str]:
    """A stream that was sent whole is accepted, if the other side accepts until it is told the end."""
    paired = {id(half) for pair in _pairs(ledger) for half in pair}
    for side in (0, 1):
        here, there = ledger.sides[side], ledger.sides[1 - side]
        if there.left_by != "wait" or there.accept_error is None or here.left_by == "go away":
            continue
        for half in here.halves:
            as_if_read = Half(0, 1 - side, False, read_end="eof")
            if not half.opened_here or id(half) in paired or half.stream is None:
                continue
            if half.stream.id is not None and _is_promised(plan, ledger, half, as_if_read):
                yield f"never accepted: {half.name} sent {half.sent} B, {half.finish}, and all was well"


def _both_wait(plan: Plan, here: Half, there: Half) -> Iterator[str]:
    """A sender and a reader of the same stream do not wait for each other."""
    for sender, reader in ((here, there), (there, here)):
        for sending in _long(sender.calls, "send ", plan):
            for receiving in _long(reader.calls, "receive", plan):
                together = min(_end(sending), _end(receiving)) - max(sending.began, receiving.began)
                if together > _long_time(plan) and plan.is_whole:
                    yield f"both wait: {sender.name} in {sending.what}, {reader.name} in receive, {together:.1f} s"


def _long_time(plan: Plan) -> float:
    return 10 + 2 * plan.slowness


def _long(calls: list[Call], what: str, plan: Plan) -> Iterator[Call]:
    for one in calls:
        if one.what.startswith(what) and _end(one) - one.began > _long_time(plan):
            yield one


def _end(call: Call) -> float:
    return 1e9 if call.ended is None else call.ended


def _verdicts(ledger: Ledger) -> Iterator[str]:
    """Who is told that it may send again was not seen."""
    for here, there in _pairs(ledger):
        for error in (here.error, here.read_error):
            retry = getattr(error, "retry", None)
            if retry is not None and retry.safe:
                yield f"safe, and seen: {here.name} was told {error!r} ({retry.value}), {there.name} has it"


# One side.


def _of_side(
    plan: Plan, ledger: Ledger, side: int, sockets: tuple[SimSocket, SimSocket]
) -> Iterator[str]:
    record = ledger.sides[side]
    if plan.proxy is not None and side == 0 and record.session is None:
        yield from _no_connection(plan, record, sockets[0])
    yield from _waits(plan, ledger, side)
    yield from _life(plan, record, side, sockets)
    yield from _pings(plan, ledger, side)
    for live, peer in record.statistics:
        if live or peer:
            yield f"slots: {'ab'[side]} counts {live} streams, {peer} of the peer, and all have ended"


def _no_connection(plan: Plan, record: Side, sock: SimSocket) -> Iterator[str]:
    """Through a proxy that does what it is asked there is a connection; and nothing is left of one that failed."""
    if plan.is_whole:
        yield f"no connection: a was told {record.refused!r}, and all was well"
    if not sock.closed:
        yield f"left open: the socket of a, which was told {record.refused!r}"


def _waits(plan: Plan, ledger: Ledger, side: int) -> Iterator[str]:
    """Nobody waits longer than was promised."""
    record, who = ledger.sides[side], "ab"[side]
    config = plan.sides[side].config
    spells = sum(spell[2] for one in plan.sides for spell in one.spells)
    if record.session is not None and record.left_at is None:
        yield f"waits for ever: {who} does not end, {record.left_by or 'before its ending'}"
    if record.left_at is not None and record.leaving_at is not None:
        took = record.left_at - record.leaving_at
        if took > config.close_timeout + 1 + SLACK + spells:
            yield f"leaving took {took:.2f} s: {who}, close_timeout {config.close_timeout:g}"
    owners = [(who, record.calls), *((half.name, half.calls) for half in record.halves)]
    for name, calls in owners:
        for one in calls:
            if one.what in ("rest", "wait", "aclose", "drain", "serve") and name == who:
                continue
            if record.verdict_at is None:
                continue
            took = _end(one) - max(one.began, record.verdict_at)
            if took > 1 + SLACK + spells:
                meddled = any(half.meddled and half.name == name for half in record.halves)
                yield (
                    f"waits for ever{', with callbacks' * meddled}: {name} in {one.what}, "
                    f"{took:.1f} s after its session was over"
                )
    if record.gone_away_at is not None:
        yield from _goes(plan, ledger, side)


def _goes(plan: Plan, ledger: Ledger, side: int) -> Iterator[str]:
    """A peer that was told that we go away ends the session behind the last stream."""
    record = ledger.sides[side]
    done, gone = ledger.all_done_since, record.gone_away_at
    assert gone is not None
    if not plan.wire.startswith("muxado") or not plan.is_whole or done is None:
        return
    took = (record.verdict_at or 1e9) - max(done, gone)
    # Where both sides closed a stream whose window is full, both are given that time to flush it.
    allowed = plan.sides[side].config.linger_timeout + 2 + plan.slowness
    if took > allowed and (record.left_at or 1e9) - max(done, gone) > allowed:
        yield f"waits for ever: {'ab'[side]} went away, all streams ended, and the session lives {took:.1f} s more"


def _life(
    plan: Plan, record: Side, side: int, sockets: tuple[SimSocket, SimSocket]
) -> Iterator[str]:
    """The living are not called dead, nor the honest rude, and the dead are found out."""
    config, who, verdict = plan.sides[side].config, "ab"[side], record.verdict
    if verdict is not None and verdict.kind is ProtocolError and not _any_rogue(plan):
        yield f"called rude: {who}, {verdict.message}"
    if verdict is not None and verdict.kind is PeerTimeoutError:
        assert record.verdict_at is not None
        ago = record.verdict_at - record.last_arrival_then
        if "transport" in verdict.message:
            taken = record.verdict_at - record.last_taken_then
            if _is_too_slow_to_see(plan, side):
                return
            # Nobody sees what it takes of a flush before the first look at that, which a busy loop makes later.
            if SLACK / 2 < taken < config.write_timeout * 3 / 4 - SLACK - _busy(plan, side):
                yield f"called dead: {who}, {verdict.message}; the kernel took bytes {taken:.2f} s before"
        elif record.unread_then and record.verdict_at - record.unread_since_then > SLACK / 2:
            yield f"called dead: {who}, {verdict.message}; {record.unread_then} B lay unread in the socket"
        elif not plan.has_tls and SLACK / 2 < ago < config.heartbeat_timeout - SLACK:
            # Of TLS a part of a record says nothing yet.
            yield f"called dead: {who}, {verdict.message}; bytes came {ago:.2f} s before"
    if record.session is None or config.heartbeat_interval is None or record.paused:
        return
    # What the other says is lost where it leaves, or where it leaves a proxy.
    if not any(one.mute or one.dark for one in (sockets[1 - side], sockets[side].peer)):
        return
    if plan.wire == "muxado" and not (record.knows_peer or config.typed_streams):
        return
    spells = sum(spell[2] for one in plan.sides for spell in one.spells)
    allowed = (
        2 * config.heartbeat_interval
        + config.heartbeat_timeout * 5 / 4  # it looks four times in that
        + config.probe_interval
        + spells
        + 1
    )
    over = record.verdict_at if record.verdict_at is not None else 1e9
    # Who takes bytes is not dead, however silent.
    taken = sockets[side].last_taken if record.verdict is None else record.last_taken_then
    silent = min(over, record.leaving_at or 1e9) - max(sockets[side].last_arrival, taken)
    if silent > allowed:
        yield f"not found out: {who} takes a peer that was silent for {silent:.1f} s for alive"


def _any_rogue(plan: Plan) -> bool:
    return any(one.rogue for one in plan.sides)


def _is_too_slow_to_see(plan: Plan, side: int) -> bool:
    """Whether nobody can ask the kernel, and it lets go of less in the time than a sender is told of."""
    path, config = plan.paths[side], plan.sides[side].config
    # Nor does a peer read while its loop is busy, or a path carry while it stalls; and of a window the kernel lets go
    # all at once, in a round trip.
    round_trip = sum(one.delay for one in plan.paths)
    idle = _busy(plan, 1 - side) + plan.stalled + round_trip
    seconds = max(0.0, config.write_timeout - idle)
    too_slow = plan.rate(side) * seconds < 32_000 + path.send_buffer
    # A path that goes dark takes the other with it.
    is_cut = any(one.cut_at is not None or one.cut_after is not None for one in plan.paths)
    return path.blind and (too_slow or is_cut)


def _busy(plan: Plan, side: int) -> float:
    return sum(spell[2] for spell in plan.sides[side].spells)


def _pings(plan: Plan, ledger: Ledger, side: int) -> Iterator[str]:
    """What a ping says is its own time."""
    record = ledger.sides[side]
    spells = sum(spell[2] for one in plan.sides for spell in one.spells)
    for asked, answered, given, at_once in record.pings:
        took = answered - asked
        least = plan.paths[0].delay + plan.paths[1].delay
        if given > took + 1e-3 or given < least - 1e-3:
            yield f"ping: {'ab'[side]} was told {given:.3f} s after {took:.3f} s; the path takes {least:.3f} s"
        elif at_once and took - given > 0.05 + spells and not _acts_at(ledger, side, asked):
            yield f"ping: {'ab'[side]} was told {given:.3f} s, and had waited {took:.3f} s"


def _acts_at(ledger: Ledger, side: int, moment: float) -> bool:
    """Whether a stream of that side was used in the same turn, perhaps before a ping that was asked for first."""
    names = {half.name for half in ledger.sides[side].halves}
    return any(who in names and abs(when - moment) < 1e-3 for when, who, _ in ledger.trace)
