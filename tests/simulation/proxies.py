"""Proxies: one that stands between the two sides, for CONNECT or SOCKS5.

What it is.  Two connections, each with kernels and a path of its own, and between them a program that is made up: it hears the
request of who dials, answers in pieces, and then carries bytes.  The plan's paths are those of one of the two connections; on
the other, beside whom it stands, nothing takes time and nothing is lost.

The rules, which are those of programs that there are.  It reads all that came before it sees an error, and makes an end of
it: an error of one connection is at most the end of the other.  An end is passed on, or ends both.
What has arrived at a proxy has been acknowledged, and can still be lost.

What is the package's.  All of ``dial_through``, and ``python-socks`` below it: only a socket that is connected to the proxy is
made here.
"""

from __future__ import annotations

import importlib
import socket
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from muxado_py import Config
from muxado_py.dialing import through_proxy
from muxado_py.dialing.addresses import Address
from muxado_py.dialing.asyncio_sockets import AsyncioSockets
from muxado_py.dialing.pending import AnyioPending
from muxado_py.dialing.proxies import Proxy
from muxado_py.dialing.scheme import Dialing, Options

from .network import SimSocket, joined
from .trio_world import TrioSocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from muxado_py.dialing.pending import PendingConnection

    from .clock import Clock
    from .plan import Plan, ProxyPlan

__all__ = ("SimProxy", "dial", "dialing_sockets", "proxied")

HOST, PORT = "far.example", 4711

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n"
WAIT = b"HTTP/1.1 100 Wait\r\nVia: 1.1 near.example\r\n\r\n"

BOUND = (
    b"\x01\x7f\x00\x00\x01\x00\x50",
    b"\x03\x0bfar.example\x00\x50",
    b"\x04" + bytes(16) + b"\x00\x50",
)
"""Addresses that SOCKS5 may say to have been bound: of IPv4, a name, of IPv6."""


class _Way:
    """What goes one way through a proxy."""

    def __init__(self, source: SimSocket, target: SimSocket) -> None:
        self.source, self.target = source, target
        self.held = bytearray()
        self.is_open = False
        self.over = False


class SimProxy:
    """The program; it acts as soon as anything changes.

    :param near: its end of the connection with who dials.
    :param far: that of the connection with the host.
    """

    def __init__(self, clock: Clock, plan: ProxyPlan, near: SimSocket, far: SimSocket) -> None:
        self._clock = clock
        self._plan = plan
        self._near, self._far = near, far
        self._ways = _Way(near, far), _Way(far, near)
        self._heard = bytearray()
        self._exchanges = deque(_socks(plan) if plan.speaks == "socks5" else _connect(plan))
        self._carried = 0
        self._dead = False
        self._waits = False
        self._dialed: anyio.Event | None = None
        self._has_dialed = False
        self.log: Callable[[str], None] = near.log
        near.on_change = far.on_change = self._look

    @property
    def was_reset(self) -> bool:
        """Whether one of its connections was, by itself or by another."""
        return self._near.was_reset or self._far.was_reset

    async def accepted(self) -> None:
        """Wait until the host has a connection from it."""
        if not self._has_dialed:
            self._dialed = anyio.Event()
            await self._dialed.wait()

    def _look(self) -> None:
        now = self._clock.now
        if self._dead or self._waits:
            return
        for begin, length in self._plan.stalls:
            if begin <= now < begin + length:
                self._waits = True
                self._clock.at(begin + length, self._go_on)
                return
        try:
            if self._exchanges:
                self._hear()
            for way in self._ways:
                self._move(way)
        except OSError as exc:
            self._end(repr(exc))
        if all(way.over for way in self._ways):
            self._end("both are over")

    def _go_on(self) -> None:
        self._waits = False
        self._look()

    # What it is asked.

    def _hear(self) -> None:
        try:
            data = self._near.recv(4096)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionResetError("left before it was answered")
        self._heard += data
        length, check, answer = self._exchanges[0]
        size = length(self._heard)
        if not size or len(self._heard) < size:
            return
        # Nobody says more before it is answered.
        assert len(self._heard) == size and check in self._heard, self._heard  # noqa: PT018
        self._heard.clear()
        self._exchanges.popleft()
        if self._exchanges:
            self._answer(answer)
        else:
            self._clock.later(self._plan.dials_in, self._dial, answer)

    def _dial(self, answer: bytes) -> None:
        if self._dead:
            return
        self.log("has a connection with the host")
        self._has_dialed = True
        if self._dialed is not None:
            self._dialed.set()
        self._clock.later(self._plan.answers_in, self._answer, answer)

    def _answer(self, answer: bytes) -> None:
        """Say the next piece."""
        if self._dead:
            return
        size = self._plan.piece
        piece, rest = answer[:size], answer[size:]
        self._ways[1].held += piece
        if rest:
            self._clock.later(self._plan.pause, self._answer, rest)
        elif self._has_dialed:
            for way in self._ways:
                way.is_open = True
        self._look()

    # What it carries.

    def _move(self, way: _Way) -> None:
        while not self._dead:
            if way.held:
                most = len(way.held)
                if self._plan.dies_at is not None:
                    most = min(most, self._plan.dies_at - self._carried)
                try:
                    sent = way.target.send(way.held[:most]) if most else 0
                except BlockingIOError:
                    return
                del way.held[:sent]
                self._carried += sent
                if self._carried == self._plan.dies_at:
                    self._die()
            elif not way.is_open or way.over:
                return
            else:
                try:
                    data = way.source.recv(self._plan.buffer)
                except BlockingIOError:
                    return
                way.held += data
                if not data:
                    way.over = True
                    way.target.shutdown(socket.SHUT_WR)
                    if not self._plan.half_closes:
                        self._end("one is over")

    def _die(self) -> None:
        if self._plan.resets:
            self._dead = True
            self.log("dies with a RST")
            self._near.cut()
            self._far.cut()
        else:
            self._end("dies")

    def _end(self, why: str) -> None:
        """It closes both sockets."""
        if not self._dead:
            self._dead = True
            self.log(f"closes both: {why}")
            self._near.close()
            self._far.close()


# What it hears and says: how long a request is, what is in it, and the answer.

Exchange = tuple["Callable[[bytearray], int]", bytes, bytes]


def _connect(plan: ProxyPlan) -> list[Exchange]:
    fields = b"".join(b"X-Field-%d: %s\r\n" % (one, b"v" * 20) for one in range(plan.fields))
    answer = WAIT * plan.waits + ESTABLISHED + fields + b"\r\n"
    return [(_head_length, b"CONNECT far.example:4711 HTTP/1.1\r\n", answer)]


def _head_length(heard: bytearray) -> int:
    return heard.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in heard else 0


def _socks(plan: ProxyPlan) -> list[Exchange]:
    answer = b"\x05\x00\x00" + BOUND[plan.fields % len(BOUND)]
    asked: list[Exchange] = [
        (_methods_length, b"\x05", b"\x05\x02" if plan.wants_password else b"\x05\x00"),
        (_request_length, b"\x05\x01\x00\x03\x0bfar.example\x12\x67", answer),
    ]
    if plan.wants_password:
        asked.insert(1, (_shown_length, b"\x04user\x06secret", b"\x01\x00"))
    return asked


def _methods_length(heard: bytearray) -> int:
    return 2 + heard[1] if len(heard) > 1 else 0


def _shown_length(heard: bytearray) -> int:
    end = 2 + heard[1] if len(heard) > 1 else 0
    return end + 1 + heard[end] if end and len(heard) > end else 0


def _request_length(heard: bytearray) -> int:
    return 5 + heard[4] + 2 if len(heard) > 4 else 0


# What the package does.


def proxied(clock: Clock, plan: Plan) -> tuple[tuple[SimSocket, SimSocket], SimProxy]:
    """The ends that the two sides have, and the proxy between; the first side dials."""
    assert plan.proxy is not None
    at_once = [
        replace(path, delay=0.0, rate=float("inf"), stalls=[], cut_at=None, cut_after=None)
        for path in plan.paths
    ]
    # Of what goes to the host, and of what comes from it.
    paths = [(plan.paths[0], plan.paths[1]), (at_once[0], at_once[1])]
    first, second = paths if plan.proxy.beside == 1 else paths[::-1]
    dialer, near = SimSocket("a", clock, first[0]), SimSocket("proxy to a", clock, first[1])
    far, host = SimSocket("proxy to b", clock, second[0]), SimSocket("b", clock, second[1])
    joined(clock, (dialer, near))
    joined(clock, (far, host))
    return (dialer, host), SimProxy(clock, plan.proxy, near, far)


async def dial(plan: ProxyPlan) -> PendingConnection:
    """As a scheme does."""
    shown = "user:secret@" if plan.wants_password else ""
    scheme = "socks5" if plan.speaks == "socks5" else "http"
    dialing = Dialing(Address("tcp", HOST, PORT), Config(), Options())
    return await through_proxy.dial_through(Proxy(f"{scheme}://{shown}near.example:80"), dialing)


class _Sockets:
    """What the package dials with."""

    def __init__(self, sock: SimSocket, make: Callable[[SimSocket], Awaitable[Any]]) -> None:
        self._sock = sock
        self._make = make

    async def dial_tcp(self, *_: object) -> Any:
        return await self._make(self._sock)

    async def connected(self, sock: Any) -> PendingConnection:
        if isinstance(sock, SimSocket):
            return await AsyncioSockets().connected(sock)
        from anyio._backends import _trio

        return AnyioPending(_trio.SocketStream(sock))


@contextmanager
def dialing_sockets(
    sock: SimSocket, make: Callable[[SimSocket], Awaitable[Any]], loop: str
) -> Iterator[None]:
    """Whoever dials the proxy gets this one."""

    async def connect_tcp(**_: object) -> Any:
        return TrioSocket(sock) if loop == "trio" else sock

    library = importlib.import_module(f"python_socks.async_.{loop}._proxy")
    given: list[tuple[Any, str, object]] = [
        (through_proxy, "sockets_here", partial(_Sockets, sock, make)),
        (library, "connect_tcp", connect_tcp),
    ]
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in given]
    for owner, name, ours in given:
        vars(owner)[name] = ours
    try:
        yield
    finally:
        for owner, name, real in before:
            vars(owner)[name] = real
