"""Pipes are anyio byte streams, over pipes and over sockets, and leave what they were given as it was."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import BrokenResourceError

from muxado_py.runtime.pipes import PipeStream, is_pipe

from ..check_byte_stream import (
    check_byte_stream,
    every_call_is_a_checkpoint,
    every_call_of_the_kernels_is_a_checkpoint,
    receive_all,
)
from ..helpers.blocked import all_tasks_blocked
from ..transports import pipe_transports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio


def one_socket() -> tuple[PipeStream, PipeStream]:
    """Each end has one socket twice, as a command of sshd's has."""
    near, far = (one.detach() for one in socket.socketpair())
    return PipeStream(near, os.dup(near)), PipeStream(far, os.dup(far))


@pytest.mark.slow
@pytest.mark.parametrize("make", [pipe_transports, one_socket])
async def test_it_is_an_anyio_byte_stream(
    make: Callable[[], tuple[PipeStream, PipeStream]],
) -> None:
    async def make_pair() -> tuple[PipeStream, PipeStream]:
        await anyio.lowlevel.checkpoint()
        return make()

    # Its last line is not for the kernel, in which nothing is left of a pipe that is closed.
    await check_byte_stream(make_pair, without=[every_call_is_a_checkpoint])


@pytest.mark.parametrize("make", [pipe_transports, one_socket])
async def test_every_call_is_a_checkpoint(
    make: Callable[[], tuple[PipeStream, PipeStream]],
) -> None:
    await every_call_of_the_kernels_is_a_checkpoint(*make())


async def test_the_end_of_a_socket_is_said_while_others_have_it() -> None:
    near, far = one_socket()
    await near.send(b"all")
    await near.send_eof()
    assert await receive_all(far) == b"all"
    await far.send(b"answer")
    await far.aclose()
    assert await receive_all(near) == b"answer"
    await near.aclose()


async def test_one_socket_does_not_block_while_half_of_it_is_open() -> None:
    """A read that blocks would stop the event loop."""
    ours, theirs = (one.detach() for one in socket.socketpair())
    kept = os.dup(ours)
    async with PipeStream(ours, os.dup(ours)) as near:
        await near.send_eof()
        assert not os.get_blocking(kept)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive_all, near)
            await all_tasks_blocked()
            os.close(theirs)
    assert os.get_blocking(kept)
    os.close(kept)


async def test_nobody_reads_there_any_more() -> None:
    near, far = pipe_transports()
    await far.aclose()
    with pytest.raises(BrokenResourceError):
        await near.send(b"x")
    await near.aclose()


async def test_the_end_of_a_socket_that_the_other_side_has_closed() -> None:
    near, far = one_socket()
    await far.aclose()
    with suppress(BrokenResourceError):  # not every system says so
        await near.send_eof()
    await near.aclose()


async def test_others_find_the_descriptors_as_they_were() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    kept = os.dup(reading), os.dup(writing)
    async with PipeStream(reading, writing):
        assert [os.get_blocking(fd) for fd in kept] == [False, False]
    assert [os.get_blocking(fd) for fd in kept] == [True, False]
    for fd in kept:
        os.close(fd)


def test_what_a_loop_can_wait_for(tmp_path: Path) -> None:
    ends = [*os.pipe(), *(one.detach() for one in socket.socketpair())]
    others = [os.open(os.devnull, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)]
    assert [is_pipe(fd) for fd in ends + others] == [True] * 4 + [False] * 2
    for fd in ends + others:
        os.close(fd)
