"""What Linux tells of a connection, on a real one."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any

import pytest
from anyio.abc import SocketAttribute

from muxado_py.links.attributes import socket_attributes
from muxado_py.links.kernel_queue import KernelQueue
from muxado_py.links.tcp_info import TcpInfo, least_unsent

from ..helpers.lost import lost_socket

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a path")

SENT = bytes(100_000)


def test_figures_of_a_connection() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as near,
    ):
        far, _ = listener.accept()
        with far:
            info = TcpInfo.of(near)
            assert info is not None
            before = info.figures().acknowledged
            near.sendall(SENT)
            left = len(SENT)
            while left:
                left -= len(far.recv(left))
            far.sendall(b"x")
            assert near.recv(1) == b"x"  # which acknowledges
            figures = info.figures()
            assert figures.acknowledged - before + info.in_flight() == len(SENT)
            assert 0 < figures.least_round_trip < 10
            assert 0 < figures.round_trip < 10


class Told:
    """A socket of which a kernel tells what a test says, at the places where ``linux/tcp.h`` has it."""

    def __init__(self, **figures: int) -> None:
        places = {"rtt": ("=I", 68), "total_retrans": ("=I", 100), "bytes_acked": ("=Q", 120)}
        places["min_rtt"] = ("=I", 148)
        info = bytearray(b"\xff" * 152)
        for name, value in figures.items():
            struct.pack_into(places[name][0], info, places[name][1], value)
        self._info = bytes(info)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        return self._info[:size]


def test_each_figure_is_read_from_its_place() -> None:
    raw: Any = Told(rtt=50_000, total_retrans=7, bytes_acked=2**40, min_rtt=40_000)
    assert TcpInfo(raw).figures() == (0.05, 0.04, 2**40, 7)


@pytest.mark.parametrize("now", [0, 50_000])
def test_a_least_round_trip_that_nobody_measured_is_not_an_hour(now: int) -> None:
    """The kernel says 2^32-1 microseconds then."""
    raw: Any = Told(rtt=now, total_retrans=0, bytes_acked=0)
    figures = TcpInfo(raw).figures()
    assert figures.least_round_trip == figures.round_trip == now / 1e6


class Controlled:
    """A socket of some congestion control; few users may have any they like."""

    family = socket.AF_INET

    def __init__(self, name: bytes, own: str = "192.0.2.1") -> None:
        self._name = name
        self._own = own

    def getsockname(self) -> tuple[str, int]:
        return self._own, 7000

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option, size) == (socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        return self._name.ljust(size, b"\0")


@pytest.mark.parametrize(
    ("name", "least"),
    [(b"bbr", 256 * 1024), (b"bbr3", 256 * 1024), (b"cubic", 0), (b"reno", 0)],
)
def test_bbr_needs_something_unsent(name: bytes, least: int) -> None:
    raw: Any = Controlled(name)
    assert least_unsent(raw) == least
    assert TcpInfo(raw).is_paced is (least > 0)


@pytest.mark.parametrize(
    ("own", "least"),
    [
        ("127.0.0.1", 0),
        ("127.8.0.1", 0),
        ("::1", 0),
        ("::ffff:127.0.0.1", 0),
        ("2001:db8::1", 256 * 1024),
        ("::ffff:192.0.2.1", 256 * 1024),
        ("fe80::1%eth0", 256 * 1024),
    ],
)
def test_bbr_needs_nothing_unsent_towards_this_machine(own: str, least: int) -> None:
    raw: Any = Controlled(b"bbr", own)
    assert least_unsent(raw) == least


def test_a_socket_says_what_controls_it() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as near,
    ):
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")  # anybody may
        assert least_unsent(near) == 0
        assert not TcpInfo(near).is_paced
    assert least_unsent(near) == 0  # closed
    assert not TcpInfo(near).is_paced


def test_what_was_handed_over_and_nobody_reads_is_queued() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as near:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        near.connect(listener.getsockname())
        near.setblocking(False)
        info = TcpInfo.of(near)
        assert info is not None
        with pytest.raises(BlockingIOError):
            while True:
                near.send(SENT)
        assert info.in_flight() > 0


def test_other_sockets_tell_nothing() -> None:
    near, far = socket.socketpair()
    with near, far, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert TcpInfo.of(near) is None
        assert TcpInfo.of(datagrams) is None


def test_a_socket_that_was_closed_has_no_path() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as near,
    ):
        info = TcpInfo.of(near)
    assert info is not None
    assert info.figures().least_round_trip == 0
    assert info.in_flight() == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    "anyio_backend", ["asyncio", pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")]
)
async def test_of_a_socket_that_its_loop_has_closed_nobody_tells(anyio_backend: Any) -> None:
    """A session may be closed in the turn in which its connection was lost."""
    raw = await lost_socket()
    assert KernelQueue.of(raw) is None
    assert least_unsent(raw) == 0
    assert SocketAttribute.local_address not in socket_attributes(raw)
    assert SocketAttribute.remote_address not in socket_attributes(raw)
