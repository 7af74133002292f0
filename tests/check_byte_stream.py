"""check_byte_stream: what an anyio user may expect of any full-duplex byte stream, as one routine.

In the manner of trio's ``check_two_way_stream``: it is given a way to make connected pairs and knows
nothing else of them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import (
    BrokenResourceError,
    BusyResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    create_task_group,
    fail_after,
)

from .helpers.blocked import all_tasks_blocked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

    from anyio.abc import ByteStream

    Pair = tuple[ByteStream, ByteStream]
    MakePair = Callable[[], Awaitable[Pair]]

PATIENCE = 120
"""Seconds after which a check counts as hung."""


async def check_byte_stream(
    make_pair: MakePair, *, large: int = 1_000_000, without: Container[Callable[..., object]] = ()
) -> None:
    """Run every check, each with a new pair, and each end of it in both roles.

    :param large: how many bytes cannot lie unread between the two ends.
    :param without: checks that are not for this kind.
    """
    for check in CHECKS:
        if check in without:
            continue
        for swapped in (False, True):
            near, far = await make_pair()
            if swapped:
                near, far = far, near
            try:
                with fail_after(PATIENCE):
                    await check(near, far, large)
            except BaseException as exc:
                exc.add_note(f"in {check.__name__}, {swapped=}")
                raise
            await near.aclose()
            await far.aclose()


async def receive_exactly(stream: ByteStream, nbytes: int) -> bytes:
    """``nbytes`` from a stream that has them."""
    data = b""
    while len(data) < nbytes:
        chunk = await stream.receive(nbytes - len(data))
        assert 0 < len(chunk) <= nbytes - len(data)
        data += chunk
    return data


async def receive_all(stream: ByteStream) -> bytes:
    """Everything until the end."""
    data = bytearray()
    try:
        while True:
            data += await stream.receive()
    except EndOfStream:
        return bytes(data)


async def simple_exchange(near: ByteStream, far: ByteStream, large: int) -> None:
    async with create_task_group() as tasks:
        tasks.start_soon(near.send, b"x")
        assert await far.receive() == b"x"
    await far.send(b"y")
    assert await near.receive() == b"y"


async def every_kind_of_bytes(near: ByteStream, far: ByteStream, large: int) -> None:
    changing = bytearray(b"abc")
    await near.send(changing)  # type: ignore[arg-type]
    changing[:] = b"xyz"
    await near.send(memoryview(b"-def-")[1:4])  # type: ignore[arg-type]
    await near.send(b"")
    assert await receive_exactly(far, 6) == b"abcdef"


async def receive_gives_no_more_than_asked(near: ByteStream, far: ByteStream, large: int) -> None:
    await near.send(b"abcdef")
    assert [await far.receive(1) for _ in range(6)] == [b"a", b"b", b"c", b"d", b"e", b"f"]
    with pytest.raises(ValueError, match="max_bytes"):
        await far.receive(0)


async def much_both_ways_at_once(near: ByteStream, far: ByteStream, large: int) -> None:
    sent = [random.Random(seed).randbytes(large) for seed in (1, 2)]
    got: dict[int, bytes] = {}

    async def send(stream: ByteStream, data: bytes) -> None:
        sizes = random.Random(len(data))
        while data:
            size = sizes.randint(1, 70_000)
            await stream.send(data[:size])
            data = data[size:]
        await stream.send_eof()

    async def receive(stream: ByteStream, which: int) -> None:
        got[which] = await receive_all(stream)

    async with create_task_group() as tasks:
        tasks.start_soon(send, near, sent[0])
        tasks.start_soon(send, far, sent[1])
        tasks.start_soon(receive, far, 0)
        tasks.start_soon(receive, near, 1)
    assert [got[0], got[1]] == sent


async def a_sender_waits_for_a_reader(near: ByteStream, far: ByteStream, large: int) -> None:
    done = anyio.Event()

    async def send() -> None:
        await near.send(bytes(large))
        done.set()

    async with create_task_group() as tasks:
        tasks.start_soon(send)
        await all_tasks_blocked()
        assert not done.is_set()
        assert await receive_exactly(far, large) == bytes(large)
    assert done.is_set()


async def one_task_for_each_direction(near: ByteStream, far: ByteStream, large: int) -> None:
    async with create_task_group() as tasks:
        tasks.start_soon(receive_exactly, near, 1)
        tasks.start_soon(near.send, bytes(large))
        await all_tasks_blocked()
        with pytest.raises(BusyResourceError):
            await near.receive()
        with pytest.raises(BusyResourceError):
            await near.send(b"x")
        with pytest.raises(BusyResourceError):
            await near.send_eof()
        await far.send(b"x")
        await receive_exactly(far, large)
    await simple_exchange(near, far, large)


async def the_end_is_the_end(near: ByteStream, far: ByteStream, large: int) -> None:
    await near.send(b"last")
    await near.send_eof()
    await near.send_eof()
    with pytest.raises(ClosedResourceError):
        await near.send(b"x")
    assert await receive_all(far) == b"last"
    for _ in range(2):
        with pytest.raises(EndOfStream):
            await far.receive()
    await far.send(b"answer")
    assert await receive_exactly(near, 6) == b"answer"


async def a_close_wakes_who_is_blocked(near: ByteStream, far: ByteStream, large: int) -> None:
    closed = []

    async def expect_closed(call: Awaitable[object]) -> None:
        with pytest.raises(ClosedResourceError):
            await call
        closed.append(call)

    async with create_task_group() as tasks:
        tasks.start_soon(expect_closed, near.receive())
        tasks.start_soon(expect_closed, near.send(bytes(large)))
        await all_tasks_blocked()
        await near.aclose()
    assert len(closed) == 2


async def a_closed_stream_is_closed(near: ByteStream, far: ByteStream, large: int) -> None:
    await far.send(b"unread")
    await near.aclose()
    await near.aclose()
    for call in (near.send(b"x"), near.send(b""), near.receive(), near.send_eof()):
        with pytest.raises(ClosedResourceError):
            await call


async def close_comes_after_what_was_sent(near: ByteStream, far: ByteStream, large: int) -> None:
    await near.send(b"last words")
    await near.aclose()
    assert await receive_all(far) == b"last words"


async def a_peers_close_ends_sending(near: ByteStream, far: ByteStream, large: int) -> None:
    async def send() -> None:
        with pytest.raises(BrokenResourceError):
            while True:
                await near.send(bytes(1000))

    async with create_task_group() as tasks:
        tasks.start_soon(send)
        await all_tasks_blocked()
        await far.aclose()
    with pytest.raises(BrokenResourceError):
        await near.send(b"x")


async def every_call_is_a_checkpoint(near: ByteStream, far: ByteStream, large: int) -> None:
    await far.send(b"ab")
    await all_tasks_blocked()
    assert await near.receive(1) == b"a"  # one more byte is there, so receiving would not wait
    for call in (
        near.receive,
        lambda: near.send(b"never"),
        lambda: near.send(b""),
        near.send_eof,
        near.send_eof,
        near.aclose,
        near.aclose,
        near.receive,
        lambda: near.send(b"never"),
    ):
        with CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught
    assert await receive_all(far) == b""


async def every_call_of_the_kernels_is_a_checkpoint(near: ByteStream, far: ByteStream) -> None:
    """The same for what the kernel has all of: there a close with unread bytes resets, or leaves nothing to read."""
    await far.send(b"a")
    for call in (near.receive, lambda: near.send(b"never"), near.send_eof):
        with CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught
    assert await near.receive() == b"a"
    for _ in range(2):
        with CancelScope() as scope:
            scope.cancel()
            await near.aclose()
        assert scope.cancelled_caught
    with pytest.raises(EndOfStream):  # nothing was sent, and it is closed all the same
        await far.receive()
    await far.aclose()


async def a_cancelled_receive_loses_nothing(near: ByteStream, far: ByteStream, large: int) -> None:
    got = b""

    async def receive(scope: CancelScope) -> None:
        nonlocal got
        with scope:
            got += await near.receive(2)

    for turns in range(8):
        scope = CancelScope()
        async with create_task_group() as tasks:
            tasks.start_soon(receive, scope)
            tasks.start_soon(far.send, b"ab")
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
    await far.send_eof()
    assert got + await receive_all(near) == b"ab" * 8


async def a_cancelled_send_sends_a_prefix(near: ByteStream, far: ByteStream, large: int) -> None:
    data = random.Random(3).randbytes(large)
    with CancelScope() as scope:
        async with create_task_group() as tasks:
            tasks.start_soon(near.send, data)
            await all_tasks_blocked()
            scope.cancel()
    await near.send_eof()
    got = await receive_all(far)
    assert len(got) < large
    assert data.startswith(got)


CHECKS = (
    simple_exchange,
    every_kind_of_bytes,
    receive_gives_no_more_than_asked,
    much_both_ways_at_once,
    a_sender_waits_for_a_reader,
    one_task_for_each_direction,
    the_end_is_the_end,
    a_close_wakes_who_is_blocked,
    a_closed_stream_is_closed,
    close_comes_after_what_was_sent,
    a_peers_close_ends_sending,
    every_call_is_a_checkpoint,
    a_cancelled_receive_loses_nothing,
    a_cancelled_send_sends_a_prefix,
)
