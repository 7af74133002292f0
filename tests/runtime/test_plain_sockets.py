"""Plain sockets are anyio byte streams, of which nothing is read that nobody asked for."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from muxado_py.runtime.accept_loop import AcceptingListener
from muxado_py.runtime.plain_sockets import (
    PlainSocket,
    accept_now,
    accept_plain,
    plain_socket,
    reset_when_closed,
    undelayed,
)

from ..check_byte_stream import (
    check_byte_stream,
    every_call_is_a_checkpoint,
    every_call_of_the_kernels_is_a_checkpoint,
)
from ..helpers.blocked import all_tasks_blocked

if TYPE_CHECKING:
    from anyio.abc import SocketStream

pytestmark = pytest.mark.anyio


def tcp_pair() -> tuple[PlainSocket, PlainSocket]:
    """Two ends of a connection that holds little in the kernel."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        near = socket.socket()
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            near.setsockopt(socket.SOL_SOCKET, option, 16 * 1024)
        near.connect(listening.getsockname())
        far, _ = listening.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    return PlainSocket(near), PlainSocket(far)


@pytest.mark.slow
async def test_it_is_an_anyio_byte_stream() -> None:
    async def make_pair() -> tuple[PlainSocket, PlainSocket]:
        await anyio.lowlevel.checkpoint()
        return tcp_pair()

    # Its last line is not for the kernel, to which a close with unread bytes is a reset.
    await check_byte_stream(make_pair, without=[every_call_is_a_checkpoint])


async def test_every_call_is_a_checkpoint() -> None:
    await every_call_of_the_kernels_is_a_checkpoint(*tcp_pair())


async def test_a_reset_is_broken_and_what_is_closed_is_closed() -> None:
    near, far = tcp_pair()
    far.extra(SocketAttribute.raw_socket).setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
    )
    await far.aclose()
    with pytest.raises(anyio.BrokenResourceError):
        await near.receive()
    await near.aclose()
    for call in (near.receive, near.send_eof):
        with pytest.raises(anyio.ClosedResourceError):
            await call()
    with pytest.raises(anyio.ClosedResourceError):
        await near.send(b"")
    await near.aclose()


async def test_what_is_accepted_reads_nothing_ahead() -> None:
    """Turns of the loop pass; the bytes are still in the kernel."""

    async def keep(connection: PlainSocket) -> None:
        kept.append(connection)
        arrived.set()

    kept: list[PlainSocket] = []
    arrived = anyio.Event()
    bound: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with AcceptingListener(bound, accept_plain) as door, anyio.create_task_group() as tasks:
        tasks.start_soon(door.serve, keep, tasks)
        user: SocketStream = await anyio.connect_tcp(
            "127.0.0.1", door.extra(SocketAttribute.local_port)
        )
        await user.send(b"early")
        await arrived.wait()
        await anyio.wait_readable(kept[0].extra(SocketAttribute.raw_socket))
        await all_tasks_blocked()
        assert kept[0].extra(SocketAttribute.raw_socket).recv(100, socket.MSG_PEEK) == b"early"
        assert kept[0].extra(SocketAttribute.remote_address) == user.extra(
            SocketAttribute.local_address
        )
        assert await kept[0].receive() == b"early"
        await user.aclose()
        await kept[0].aclose()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_a_listener_gave_knows_its_peer_when_that_is_gone_and_sends_at_once(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"no {host} on this machine")
    with server:
        kind = undelayed(server)
        with socket.create_connection(server.getsockname()[:2]) as caller:
            here = caller.getsockname()
            reset_when_closed(caller)
        with accept_now(server, kind) as accepted:
            assert accepted.getpeername() == here
        with socket.create_connection(server.getsockname()[:2]) as caller:
            raw = plain_socket(accept_now(server, kind)).raw_socket
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not raw.getblocking()
            assert raw.family is family
            raw.close()


def test_a_listener_with_nobody_waiting_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            accept_now(server, undelayed(server))
