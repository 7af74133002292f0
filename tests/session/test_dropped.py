"""Streams that nobody has any more: who dropped an open one is warned, and each frees its slot."""

from __future__ import annotations

import gc
import threading
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from anyio import EndOfStream, create_task_group, fail_after, sleep
from anyio.lowlevel import checkpoint

import muxado_py as muxado

from ..check_byte_stream import receive_all
from ..conftest import LINKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=LINKS)
def carried_by(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@contextmanager
def warned(times: int) -> Iterator[None]:
    """Code that drops as many open streams."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    texts = [str(one.message) for one in seen if one.category is ResourceWarning]
    assert len(texts) == times, texts
    assert all("was dropped unclosed: close or reset it" in text for text in texts)


async def _a_moment() -> None:
    """Statistics have no event, and not every wire has a ping."""
    await sleep(0.01)


async def until_none_live(*sessions: muxado.Session) -> None:
    with fail_after(10):
        while any(
            one.statistics().live_streams or one.statistics().peer_streams for one in sessions
        ):
            await _a_moment()


WIRES = ("muxado", "muxado1", "yamux", "smux1", "smux2")
SMUX = ("smux1", "smux2")  # where a stream cannot be reset


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
async def test_what_was_sent_arrives_and_then_no_end(session_pair: SessionPair, wire: str) -> None:
    """Nobody said that it is the whole, so its reader must not take it for that."""
    part = bytes(range(256)) * 512
    async with session_pair(muxado.Config(wire=wire)) as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"hello")
        far = await accepted.accept_stream()
        await far.send(b"read in part")
        assert await stream.receive(4)
        await stream.send(part)
        with warned(1):
            del stream
        with fail_after(10):
            if wire in SMUX:
                assert await receive_all(far) == b"hello" + part
            else:
                came = bytearray()
                with pytest.raises(muxado.StreamResetError):
                    while True:
                        came += await far.receive()
                assert came == b"hello" + part
        await far.aclose()
        await until_none_live(dialed, accepted)


@pytest.mark.slow
@pytest.mark.parametrize("wire", [one for one in WIRES if one != "smux1"])  # it has no windows
async def test_a_dropped_one_that_nobody_reads_is_given_up(
    session_pair: SessionPair, wire: str
) -> None:
    """What cannot be flushed holds its slot for ``linger_timeout``, no longer."""
    async with session_pair(muxado.Config(wire=wire, linger_timeout=0.1)) as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"hello")
        far = await accepted.accept_stream()
        left = 300_000  # more than the largest window
        while left:
            left -= stream.send_nowait(bytes(left))
            await checkpoint()
        with warned(1):
            del stream
        with fail_after(10):
            while dialed.statistics().live_streams:
                await _a_moment()
        far.reset()


@pytest.mark.slow
@pytest.mark.parametrize("carried_by", ["sockets"])
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("dropper", ["opener", "acceptor"])
async def test_hundreds_are_dropped_on_one_session(
    session_pair: SessionPair, wire: str, dropper: str
) -> None:
    """Twice as many as it takes at once, with bytes that nobody reads, finished by the peer or not."""
    config = muxado.Config(wire=wire, max_streams=200, max_open_streams=200)
    async with session_pair(config) as (dialed, accepted):
        for number in range(0, 400, 20):
            near = [await dialed.open_stream() for _ in range(20)]
            for one in near:
                await one.send(b"question")
            far = [await accepted.accept_stream() for _ in near]
            for one in far:
                await one.send(b"answer")
            mine, theirs = (near, far) if dropper == "opener" else (far, near)
            for one in theirs:
                assert await one.receive()
            if mine is near:
                for one in mine:
                    assert await one.receive(1)  # so it is known to be accepted
            if number % 40:
                for one in theirs:
                    await one.aclose()
            with warned(20):
                mine.clear()
                del one
            if number % 40 == 0:
                for one in theirs:
                    with fail_after(10), pytest.raises((muxado.StreamResetError, EndOfStream)):
                        await one.receive()
                    await one.aclose()
        with fail_after(30):
            await until_none_live(dialed, accepted)
        assert not dialed.closed
        assert not accepted.closed


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
async def test_what_was_sent_on_one_that_nobody_accepted_yet_arrives(
    session_pair: SessionPair, wire: str
) -> None:
    """A reset would withdraw the stream: it stays for ``linger_timeout``, and is given up then."""
    async with session_pair(muxado.Config(wire=wire, linger_timeout=0.5)) as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"do this")
        with warned(1):
            del stream
        far = await accepted.accept_stream()
        assert await far.receive() == b"do this"
        with fail_after(10), pytest.raises((muxado.StreamResetError, EndOfStream)):
            await far.receive()
        await far.aclose()
        await until_none_live(dialed, accepted)


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
async def test_a_handler_that_only_sends_loses_nothing(
    session_pair: SessionPair, wire: str
) -> None:
    """Its stream is dropped right before the session closes."""
    async with session_pair(muxado.Config(wire=wire)) as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"question")
        far = await accepted.accept_stream()
        await far.send(bytes(200_000))
        with warned(1):
            del far
        came = bytearray()
        async with create_task_group() as tasks:
            tasks.start_soon(accepted.aclose)
            with fail_after(10), suppress(EndOfStream, muxado.MuxadoError):
                while True:
                    came += await stream.receive()
        assert len(came) == 200_000


async def test_after_its_end_was_sent_the_end_stands(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"whole")
        await stream.send_eof()
        with warned(1):
            del stream
        far = await accepted.accept_stream()
        assert await receive_all(far) == b"whole"
        await far.aclose()
        await until_none_live(dialed, accepted)


@pytest.mark.slow
async def test_one_that_the_peer_reset_gives_its_slot_back(session_pair: SessionPair) -> None:
    """Its handler was not done with it, as far as the session could know."""
    async with session_pair(muxado.Config(max_streams=5)) as (dialed, accepted):
        await dialed.ping()
        for _ in range(12):
            stream = await dialed.open_stream()
            await stream.send(b"x")
            far = await accepted.accept_stream()
            stream.reset()
            with fail_after(10), pytest.raises(muxado.StreamResetError):
                while True:
                    await far.receive()
            with warned(0):
                del stream, far
            await until_none_live(dialed, accepted)


async def test_what_is_over_may_be_dropped_without_a_word(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        with warned(0):
            stream = await dialed.open_stream()
            await stream.send(b"question")
            await stream.send_eof()
            far = await accepted.accept_stream()
            assert await receive_all(far) == b"question"
            await far.send_eof()
            with pytest.raises(EndOfStream):
                await stream.receive()
            del stream, far
        await until_none_live(dialed, accepted)
        with warned(0):
            for end in ("aclose", "reset"):
                stream = await dialed.open_stream()
                await stream.send(b"x")
                far = await accepted.accept_stream()
                stream.reset() if end == "reset" else await stream.aclose()
                far.reset()
                del stream, far
        stream = await dialed.open_stream()
    with warned(0):
        del stream


async def test_another_threads_collector_may_find_it(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"x")
        held = [await accepted.accept_stream()]
        stream.reset()
        with fail_after(10), pytest.raises(muxado.StreamResetError):
            while True:
                await held[0].receive()
        assert accepted.statistics().peer_streams == 1
        with warned(0):
            thread = threading.Thread(target=held.clear)
            thread.start()
            thread.join()
        await until_none_live(dialed, accepted)


async def test_another_thread_may_drop_an_open_one(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"x")
        held = [await accepted.accept_stream()]
        with warned(1):
            thread = threading.Thread(target=held.clear)
            thread.start()
            thread.join()
        with fail_after(10), pytest.raises(muxado.StreamResetError):
            await stream.receive()
        await until_none_live(dialed, accepted)


@pytest.mark.slow
async def test_the_collector_may_find_it_in_the_middle_of_a_call(
    session_pair: SessionPair,
) -> None:
    """In a cycle, as a traceback makes them; the collector runs wherever objects are made."""
    threshold = gc.get_threshold()
    async with session_pair() as (dialed, accepted):
        far = []
        with warned(50):
            gc.set_threshold(1)
            try:
                for _ in range(50):
                    stream = await dialed.open_stream()
                    await stream.send(b"x")
                    far.append(await accepted.accept_stream())
                    await far[-1].send(b"y")
                    await stream.receive()
                    cycle: list[object] = [stream]
                    cycle.append(cycle)
                    del stream, cycle
            finally:
                gc.set_threshold(*threshold)
        # Not before: of one that the peer has reset, and that the collector finds only then, there is no warning.
        for one in far:
            one.reset()
        await until_none_live(dialed, accepted)
