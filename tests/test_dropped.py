"""Streams that nobody has any more: who dropped an open one is warned, and one that is over frees its slot."""

from __future__ import annotations

import gc
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from anyio import EndOfStream, fail_after

import muxado_py as muxado

from .check_byte_stream import receive_all
from .conftest import LINKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import SessionPair

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


async def until_none_live(*sessions: muxado.Session) -> None:
    with fail_after(10):
        while any(
            one.statistics().live_streams or one.statistics().peer_streams for one in sessions
        ):
            await sessions[0].ping()


async def test_an_open_one_is_a_warning_and_loses_nothing(session_pair: SessionPair) -> None:
    """On either side; what was sent arrives, and the peer hears of no end that nobody made."""
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"part")
        with warned(1):
            del stream
        far = await accepted.accept_stream()
        assert await far.receive() == b"part"
        await dialed.ping()
        assert not far.is_readable
        with warned(1):
            del far
        assert not dialed.closed


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
