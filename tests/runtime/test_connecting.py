"""Sockets that are connected to an address, on every backend."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.abc import UNIXSocketStream
from anyio.lowlevel import checkpoint

import muxado_py as muxado
from muxado_py.runtime.connecting import connect_socket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The path of a Unix socket, and its listener, which has room for nobody."""
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        listener.setblocking(False)
        first.connect(path)
        yield path, listener


async def test_a_full_backlog_is_waited_for(full: tuple[str, socket.socket]) -> None:
    path, listener = full
    sockets: list[socket.socket] = []

    async def connect() -> None:
        sockets.append(await connect_socket(socket.AF_UNIX, path))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        for _ in range(10):
            await checkpoint()
        assert sockets == []
        listener.accept()[0].close()
    with sockets[0] as connected:
        connected.send(b"here")
        with listener.accept()[0] as accepted:
            assert accepted.recv(10) == b"here"


async def test_room_is_waited_for_as_long_as_is_said(full: tuple[str, socket.socket]) -> None:
    with pytest.raises(TimeoutError):
        await connect_socket(socket.AF_UNIX, full[0], 0.05)


@pytest.mark.skipif(
    sys.platform != "linux", reason="other kernels may answer a second call otherwise"
)
async def test_an_address_of_this_machine_is_connected_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def wait(sock: socket.socket) -> None:
        pytest.fail("is waited for")

    monkeypatch.setattr(anyio, "wait_writable", wait)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with await connect_socket(socket.AF_INET, listener.getsockname()) as connected:
            connected.send(b"here")
            with listener.accept()[0] as accepted:
                assert accepted.recv(10) == b"here"
        address = listener.getsockname()
    with pytest.raises(ConnectionRefusedError):
        await connect_socket(socket.AF_INET, address)


async def test_a_session_is_connected_only_when_its_listener_has_room(
    full: tuple[str, socket.socket],
) -> None:
    """A loop may take such a socket for connected."""
    path, listener = full
    config = muxado.Config(connect_timeout=0.1)
    with pytest.raises(TimeoutError, match="no connection with"):
        async with muxado.connect(f"unix://{path}", config=config):
            pytest.fail("is connected")
    listener.accept()[0].close()

    async def serve(accepted: UNIXSocketStream) -> None:
        async with muxado.server(accepted) as session:
            await session.wait()

    async with muxado.connect(f"unix://{path}") as session, anyio.create_task_group() as tasks:
        accepted = await UNIXSocketStream.from_socket(listener.accept()[0])
        tasks.start_soon(serve, accepted)
        await session.wait_for_peer()
        await session.aclose()


async def test_an_address_where_nobody_listens_is_refused(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await connect_socket(socket.AF_INET, unused.getsockname())
    with pytest.raises(FileNotFoundError):
        await connect_socket(socket.AF_UNIX, str(tmp_path / "nobody"))


async def test_who_gives_up_leaves_nothing_open(full: tuple[str, socket.socket]) -> None:
    path, _ = full
    with anyio.move_on_after(0) as scope:
        await connect_socket(socket.AF_UNIX, path)
    assert scope.cancelled_caught  # a socket that is left would be a ResourceWarning
