"""Which ids were used, which streams live, and which wait; all in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from muxado_py import Config
from muxado_py.protocol import recv_half
from muxado_py.protocol.stream_state import Owner
from muxado_py.protocol.stream_table import MAX_ID_GAPS, IdLedger, IdUse, StreamTable
from muxado_py.protocol.timers import Timers

from ..helpers.pair import held
from ..helpers.streams import stream

if TYPE_CHECKING:
    from muxado_py.protocol.stream_state import StreamState


def peer_stream(table: StreamTable, stream_id: int) -> StreamState:
    state = stream(stream_id)
    table.open_peer(stream_id, state)
    return state


def local_stream(table: StreamTable) -> StreamState:
    state = stream(None)
    table.open_local(state)
    return state


# The ledger.


def test_ids_in_order_are_new_once() -> None:
    ledger = IdLedger(3)
    for stream_id in range(3, 1003, 2):
        assert ledger.use(stream_id) is IdUse.NEW
        assert ledger.use(stream_id) is IdUse.USED
    assert ledger.highest == 1001


def test_ids_out_of_order_and_with_gaps() -> None:
    ledger = IdLedger(2)
    order = [4, 2, 20, 8, 6, 18, 12]
    assert [ledger.use(i) for i in order] == [IdUse.NEW] * len(order)
    assert [ledger.use(i) for i in order] == [IdUse.USED] * len(order)
    assert [ledger.use(i) for i in (10, 14, 16)] == [IdUse.NEW] * 3
    assert [ledger.use(i) for i in range(2, 22, 2)] == [IdUse.USED] * 10


def test_the_oldest_gaps_are_forgotten() -> None:
    ledger = IdLedger(3)
    last = 3 + 4 * (MAX_ID_GAPS + 1)
    for stream_id in range(3, last + 1, 4):
        ledger.use(stream_id)
    assert ledger.use(5) is IdUse.FORGOTTEN
    assert ledger.use(3) is IdUse.FORGOTTEN
    assert ledger.use(9) is IdUse.NEW
    assert ledger.use(9) is IdUse.USED


def test_memory_is_bounded_whatever_the_order() -> None:
    ledger = IdLedger(3)
    ledger.use(2**31 - 3)
    for stream_id in range(3, 40_003, 4):
        ledger.use(stream_id)
    assert held(ledger) < 300 * MAX_ID_GAPS
    other = IdLedger(3)
    for stream_id in range(40_003, 3, -4):
        other.use(stream_id)
    assert held(other) < 300 * MAX_ID_GAPS


@given(st.lists(st.integers(0, 60), max_size=80))
def test_no_id_is_new_twice(order: list[int]) -> None:
    ledger = IdLedger(3)
    used: set[int] = set()
    for number in order:
        stream_id = 3 + 2 * number
        expected = IdUse.USED if stream_id in used else IdUse.NEW
        assert ledger.use(stream_id) is expected
        used.add(stream_id)
        assert ledger.highest == max(used)


# The table.


def make_table(max_id: int) -> StreamTable:
    """The table of a client."""
    return StreamTable(3, 2, max_id, Config(), Timers(lambda: 0.0, lambda: None))


def test_ids_are_given_in_the_order_of_the_syns() -> None:
    table = make_table(7)
    first, second, third = (local_stream(table) for _ in range(3))
    table.give_id(second)
    table.give_id(first)
    assert (second.id, first.id, third.id) == (3, 5, None)
    assert list(table) == [second, first, third]
    assert table.local_open == 3


def test_ids_run_out_with_the_last_stream_that_waits() -> None:
    table = make_table(7)
    local_stream(table)
    second = local_stream(table)
    assert table.has_ids()
    third = local_stream(table)
    assert not table.has_ids()
    table.give_id(second)
    assert not table.has_ids()
    table.forget(third)
    assert table.has_ids()


def test_streams_are_handed_off_in_the_order_they_came() -> None:
    table = make_table(99)
    streams = [peer_stream(table, i) for i in (4, 2, 6)]
    for one in streams:
        table.backlog.add(one)
    assert table.backlog.size == 3
    assert [table.backlog.hand_off() for _ in range(4)] == [*streams, None]
    assert table.backlog.size == 0
    assert table.backlog.handed_off_id == 6
    assert all(stream.owner is Owner.APPLICATION for stream in streams)


def test_the_last_id_is_the_highest_handed_off() -> None:
    table = make_table(99)
    for stream_id in (8, 2):
        table.backlog.add(peer_stream(table, stream_id))
    table.backlog.hand_off()
    table.backlog.hand_off()
    assert table.backlog.handed_off_id == 8


def test_a_stream_that_ended_is_not_handed_off() -> None:
    table = make_table(99)
    first, second = peer_stream(table, 2), peer_stream(table, 4)
    table.backlog.add(first)
    table.backlog.add(second)
    table.forget(first)
    table.withdraw(first)
    assert (table.backlog.size, table.peer_open) == (1, 1)
    assert table.backlog.hand_off() is second
    assert table.backlog.handed_off_id == 4
    assert table.backlog.hand_off() is None


def test_a_stream_that_was_never_offered_can_be_withdrawn() -> None:
    table = make_table(99)
    stream = peer_stream(table, 2)
    table.withdraw(stream)
    assert (table.backlog.size, table.peer_open) == (0, 0)


def test_withdrawn_streams_do_not_pile_up() -> None:
    table = make_table(10**9)
    before = held(table)
    kept = peer_stream(table, 2)
    table.backlog.add(kept)
    for stream_id in range(4, 4004, 2):
        stream = peer_stream(table, stream_id)
        table.backlog.add(stream)
        table.forget(stream)
        table.withdraw(stream)
    assert held(table) - before < 20_000
    assert table.backlog.hand_off() is kept


def test_streams_count_until_the_application_is_done() -> None:
    table = make_table(99)
    stream = peer_stream(table, 2)
    table.forget(stream)
    assert (table.peer_open, table.live) == (1, {})
    table.application_done(stream)
    table.application_done(stream)
    assert table.peer_open == 0


def test_ours_count_until_the_wire_is_through() -> None:
    table = make_table(99)
    sent, waiting = local_stream(table), local_stream(table)
    table.give_id(sent)
    for one in (sent, sent, waiting, waiting):
        table.forget(one)
    table.application_done(sent)
    assert (table.local_open, table.live, table.unopened) == (0, {}, {})


def test_unread_bytes_are_left_behind() -> None:
    table = make_table(99)
    stream = peer_stream(table, 2)
    recv_half.append(stream, b"abc")
    table.forget(stream)
    assert list(table.ended_unread) == [stream]
