"""Peers that mean harm, by each transport: what holds of a connection without IO holds behind sockets and pipes.

The session dials, by the link that ``connect`` chooses, and whoever it reaches is the attacker.  Every kind of flood, and what
exactly the core may hold of it, is in :mod:`~tests.test_abuse`; here is one for each remedy, and what is held is core and link.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, fail_after

import muxado_py as muxado
from muxado_py import ErrorCode

from .by_url import TRANSPORTS, visited
from .check_byte_stream import receive_all, receive_exactly
from .frames_seen import HELLO, data, frame, rst, split
from .helpers.inside import driver_of
from .helpers.pair import held

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path
    from typing import Any

    from anyio.abc import ByteStream

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("transport", TRANSPORTS)]

KIB = 1024
CONFIG = muxado.Config(initial_window=64 * KIB, stream_window=64 * KIB, heartbeat_interval=None)
MAX_HELD = 1000 * KIB
"""What a session may hold with its link: a window, its answers, and the buffers of TLS in a websocket; every flood is longer."""
GONE = (BrokenResourceError, ClosedResourceError)


@asynccontextmanager
async def attacked(
    transport: str, attack: Callable[[ByteStream], Coroutine[Any, Any, None]], folder: Path
) -> AsyncIterator[muxado.Session]:
    """A session whose peer is ``attack``; the attacker reads on until the transport ends, or is gone."""
    done = anyio.Event()

    async def visit(stream: ByteStream) -> None:
        try:
            with suppress(*GONE):
                await attack(stream)
        finally:
            done.set()

    with fail_after(100):
        async with visited(transport, visit, folder=folder) as there:
            async with there.connect(CONFIG) as session:
                yield session
                session.abort()
            await done.wait()


async def goodbye(stream: ByteStream) -> ErrorCode | None:
    """With which code it was broken off, if the transport has brought it before its end."""
    said = b""
    with suppress(EndOfStream, *GONE):
        while True:
            said += await stream.receive()
    codes = [one.code for one in split(said)[0] if one.kind == "GOAWAY"]
    return ErrorCode(codes[0]) if codes else None


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_no_frame_ends_the_session_and_both_are_told(
    transport: str, seed: int, tmp_path: Path
) -> None:
    told: list[ErrorCode | None] = []

    async def attack(stream: ByteStream) -> None:
        # The type of a frame that there is, in a length that it never has.
        await stream.send(HELLO + frame("WNDINC", 0, random.Random(seed).randbytes(seed)))
        told.append(await goodbye(stream))

    async with attacked(transport, attack, tmp_path) as session:
        with pytest.raises(muxado.ProtocolError):
            await session.wait()
        await session.aclose()
    assert told == [ErrorCode.FRAME_SIZE_ERROR]


async def test_what_comes_byte_by_byte_arrives(transport: str, tmp_path: Path) -> None:
    said = HELLO + data(2, b"slow", syn=True) + data(2, b"ly", fin=True)

    async def attack(stream: ByteStream) -> None:
        for one in said:
            await stream.send(bytes((one,)))
            await anyio.lowlevel.checkpoint()
        await goodbye(stream)

    async with attacked(transport, attack, tmp_path) as session:
        assert await receive_all(await session.accept_stream()) == b"slowly"


async def test_a_cut_in_the_middle_of_a_frame_is_no_end(transport: str, tmp_path: Path) -> None:
    async def attack(stream: ByteStream) -> None:
        await stream.send(HELLO + data(2, b"whole", syn=True) + data(2, b"cut off", fin=True)[:-3])
        await stream.aclose()

    async with attacked(transport, attack, tmp_path) as session:
        stream = await session.accept_stream()
        assert await receive_exactly(stream, 5) == b"whole"
        with pytest.raises(muxado.TransportError):
            await receive_all(stream)
        with pytest.raises(muxado.TransportError):
            await session.wait()


# Floods.


@pytest.mark.slow
async def test_a_flood_of_resets_ends_the_session(transport: str, tmp_path: Path) -> None:
    async def attack(stream: ByteStream) -> None:
        await stream.send(HELLO)
        for first in count(2, 2_000):  # until nobody takes any more
            ids = range(first, first + 2_000, 2)
            await stream.send(b"".join(data(one, syn=True) + rst(one, 6) for one in ids))

    async with attacked(transport, attack, tmp_path) as session:
        with pytest.raises(muxado.SessionError) as info:
            await session.wait()
        assert info.value.code == ErrorCode.ENHANCE_YOUR_CALM
        assert held(driver_of(session).connection) < MAX_HELD


@pytest.mark.slow
async def test_who_does_not_read_the_answers_is_not_read(transport: str, tmp_path: Path) -> None:
    """CVE-2024-32984: nothing grows, and each answer is there as soon as they are taken."""
    asked: list[int] = []
    answered: list[int] = []
    stands = anyio.Event()

    async def attack(stream: ByteStream) -> None:
        async def ask() -> None:
            for first in count(2, 200):
                ids = range(first, first + 200, 2)
                asked.extend(ids)
                await stream.send(b"".join(data(one, bytes(200)) for one in ids))  # of no stream
                if stands.is_set():
                    break

        rest = await stream.receive()
        with anyio.move_on_after(0):  # anyio on asyncio reads on until a receive has had to wait
            rest += await stream.receive()
        await stream.send(HELLO)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await stands.wait()
            while answered[-1:] != asked[-1:]:
                frames, rest = split(rest + await stream.receive())
                answered.extend(one.stream for one in frames if one.kind == "RST")
        await stream.send(data(asked[-1] + 2, b"served again", syn=True, fin=True))
        await goodbye(stream)

    async with attacked(transport, attack, tmp_path) as session:
        connection = driver_of(session).connection
        quiet = seen = 0
        # The kernel takes some; and if it is only slow, what follows holds all the same.
        while quiet < 10:
            await anyio.sleep(0.01)
            assert held(connection) < MAX_HELD
            quiet = 0 if connection.may_read() or len(asked) > seen else quiet + 1
            seen = len(asked)
        stands.set()
        assert await receive_all(await session.accept_stream()) == b"served again"
    assert answered == asked


@pytest.mark.slow
async def test_more_than_the_window_resets_the_stream_and_no_other(
    transport: str, tmp_path: Path
) -> None:
    accepted = anyio.Event()
    codes: list[int] = []

    async def attack(stream: ByteStream) -> None:
        await stream.send(HELLO + data(2, b"x", syn=True) + data(4, b"y", syn=True))
        await accepted.wait()  # a stream that was reset before is not there to be accepted
        for _ in range(256):
            await stream.send(data(2, bytes(16 * KIB)))
        await stream.send(data(4, b"and on"))
        said = b""
        while not codes:
            said += await stream.receive()
            codes.extend(one.code for one in split(said)[0] if (one.kind, one.stream) == ("RST", 2))
        await goodbye(stream)

    async with attacked(transport, attack, tmp_path) as session:
        first, second = [await session.accept_stream() for _ in range(2)]
        accepted.set()
        assert await receive_exactly(second, 7) == b"yand on"
        assert held(driver_of(session).connection) < MAX_HELD
        with pytest.raises(muxado.StreamResetError):
            await receive_all(first)
    assert codes[0] == ErrorCode.FLOW_CONTROL_ERROR
