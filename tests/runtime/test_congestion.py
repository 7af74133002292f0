"""Connections to this machine are not paced."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from muxado_py.runtime.accept_callbacks import AcceptCallbacks
from muxado_py.runtime.accept_loop import AcceptingListener
from muxado_py.runtime.congestion import is_here, is_paced, unpaced_here
from muxado_py.runtime.plain_sockets import PlainSocket, accept_plain

from ..helpers.lost import lost_socket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets one choose")


class Controlled:
    """A socket of some congestion control; few users may have any they like."""

    family = socket.AF_INET

    def __init__(self, name: bytes, own: str) -> None:
        self.name = name
        self._own = own

    def getsockname(self) -> tuple[str, int]:
        return self._own, 7000

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option, size) == (socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        return self.name.ljust(size, b"\0")

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_CONGESTION)
        self.name = value


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as near,
        listener.accept()[0] as far,
    ):
        yield near, far


def pace(raw: socket.socket) -> None:
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    except OSError as exc:
        pytest.skip(f"this user may not choose BBR here: {exc}")


@pytest.mark.parametrize("name", [b"bbr", b"bbr3"])
@pytest.mark.parametrize("own", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
def test_nothing_is_paced_towards_this_machine(name: bytes, own: str) -> None:
    raw: Any = Controlled(name, own)
    unpaced_here(raw)
    assert raw.name == b"reno"


@pytest.mark.parametrize("own", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%eth0"])
def test_others_keep_what_they_have(own: str) -> None:
    raw: Any = Controlled(b"bbr", own)
    unpaced_here(raw)
    assert raw.name == b"bbr"


def test_what_does_not_pace_is_kept_here_too() -> None:
    raw: Any = Controlled(b"cubic", "127.0.0.1")
    unpaced_here(raw)
    assert raw.name == b"cubic"


def test_where_only_bbr_is_allowed_it_stays() -> None:
    class Forbidden(Controlled):
        def setsockopt(self, level: int, option: int, value: bytes) -> None:
            raise PermissionError

    raw: Any = Forbidden(b"bbr", "127.0.0.1")
    unpaced_here(raw)
    assert raw.name == b"bbr"


def test_a_connection_that_is_gone_is_left_alone() -> None:
    with connected() as (near, far):
        pass
    unpaced_here(near)
    unpaced_here(far)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "anyio_backend", ["asyncio", pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")]
)
async def test_a_connection_that_its_loop_has_lost_is_left_alone(anyio_backend: Any) -> None:
    unpaced_here(await lost_socket())


def test_a_real_one() -> None:
    with connected() as (near, _):
        pace(near)
        assert is_paced(near)
        assert is_here(near)
        unpaced_here(near)
        assert not is_paced(near)


def test_all_that_a_listener_on_the_loopback_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pace(listener)
        unpaced_here(listener)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as far:
            assert not is_paced(far)


def test_a_listener_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        unpaced_here(listener)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_callers_on_this_machine_are_answered_without_pacing() -> None:
    came: list[socket.socket] = []
    accepted = anyio.Event()

    def take(one: socket.socket) -> None:
        came.append(one)
        accepted.set()

    bound = await anyio.create_tcp_listener(local_host="127.0.0.1")
    raw = bound.listeners[0].extra(SocketAttribute.raw_socket)
    pace(raw)
    callbacks = AcceptCallbacks(bound, asyncio.get_running_loop(), take)
    callbacks.start()
    with socket.create_connection(raw.getsockname()):
        await accepted.wait()
        with came[0]:
            assert not is_paced(came[0])
    await callbacks.aclose()


@pytest.mark.anyio
async def test_nor_where_tasks_accept() -> None:
    bound = await anyio.create_tcp_listener(local_host="127.0.0.1")
    raw = bound.listeners[0].extra(SocketAttribute.raw_socket)
    pace(raw)
    listener = AcceptingListener(bound, accept_plain)

    async def look(connection: PlainSocket) -> None:
        assert not is_paced(connection.raw_socket)
        await connection.aclose()
        tasks.cancel_scope.cancel()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, look, tasks)
        with socket.create_connection(raw.getsockname()):
            await anyio.sleep_forever()
