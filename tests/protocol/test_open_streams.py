"""How many streams this side opens: what its peers bear, and what it was told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from anyio import EndOfStream

import muxado_py as muxado
from muxado_py import Config, Retry

from ..helpers.pair import Pair, Script

if TYPE_CHECKING:
    from muxado_py.protocol.connection import Connection

    from ..conftest import SessionPair


def open_until_refused(connection: Connection, most: int = 2000) -> int:
    """How many streams were opened until there were too many."""
    opened = 0
    try:
        while opened < most:
            connection.open(None, None)
            opened += 1
    except muxado.StreamLimitError as exc:
        refusal = exc
    else:
        return opened
    assert refusal.retry is Retry.NEVER_SENT
    assert isinstance(refusal, ConnectionRefusedError)
    return opened


def test_rusts_yamux_ends_the_session_at_stream_513() -> None:
    """Its 512 are those of both sides (max_num_streams, rust-yamux 0.14.1)."""
    peer = Script(Config(wire="yamux"), client=True)
    peer.feed("00 01 0001 00000002 00000000 00 01 0001 00000004 00000000")
    assert open_until_refused(peer.connection) == 510
    peer.feed("00 01 0008 00000002 00000000")
    assert open_until_refused(peer.connection) == 1


def test_a_foreign_muxado_may_be_rusts_too() -> None:
    """The crate ends the session as it takes its 512th (StreamsExhausted)."""
    peer = Script(client=True)
    peer.feed("000004 20 00000063 00000001")  # a WNDINC, as nobody but a foreign peer begins
    assert open_until_refused(peer.connection) == 511


def test_a_muxado_py_says_its_own_limit() -> None:
    pair = Pair(Config(), Config(max_streams=700))
    pair.run_until_idle()
    assert open_until_refused(pair.client) == 700


@pytest.mark.parametrize("wire", ["muxado", "yamux", "smux1", "smux2", "muxado1"])
@pytest.mark.parametrize("most", [0, 3, 1500])
def test_what_is_configured_holds_for_our_own_alone(wire: str, most: int) -> None:
    peer = Script(Config(wire=wire, max_open_streams=most), client=True)
    assert open_until_refused(peer.connection) == most


def test_a_stream_that_is_over_makes_room() -> None:
    pair = Pair(Config(max_open_streams=1))
    near, far = pair.open(b"x")
    assert open_until_refused(pair.client) == 0
    pair.client.close(near)
    pair.server.close(far)
    pair.run_until_idle()
    assert open_until_refused(pair.client) == 1


@pytest.mark.anyio
async def test_whoever_opens_one_too_many_is_told_what_to_do(session_pair: SessionPair) -> None:
    config = Config(max_open_streams=2)
    async with session_pair(config) as (dialed, _):
        first, second = await dialed.open_stream(), await dialed.open_stream()
        with pytest.raises(
            muxado.StreamLimitError, match=r"Config\.max_open_streams, 2, is reached"
        ):
            await dialed.open_stream()
        first.reset()
        third = await dialed.open_stream()
        assert third.id is None
        second.reset()


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("wire", ["smux1", "smux2"])
async def test_on_smux_a_refused_stream_reads_as_no_empty_answer(
    wire: str, session_pair: SessionPair
) -> None:
    """Two muxado_py know a refusal from an answer without bytes, and may try again."""
    config = Config(wire=wire, max_streams=1)
    async with session_pair(config) as (dialed, accepted):
        first = await dialed.open_stream()
        await first.send(b"x")
        handled = await accepted.accept_stream()
        second = await dialed.open_stream()
        await second.send(b"x")
        with pytest.raises(muxado.StreamRefusedError) as caught:
            await second.receive()
        assert caught.value.retry is Retry.REFUSED
        await handled.aclose()
        with pytest.raises(EndOfStream):
            await first.receive()
