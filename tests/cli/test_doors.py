"""The gateway as a process, and callers that take all it has."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from muxado_py.cli import doors
from muxado_py.cli.options import Address, UnixAddress
from muxado_py.cli.running import NotStarted
from muxado_py.runtime.accept_callbacks import AcceptCallbacks
from muxado_py.runtime.plain_sockets import accept_now

from .processes import running
from .test_end_to_end import get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .processes import Running


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        (
            Address("blog", 8081),
            " (agents that serve blog are published by blog=8081)",
        ),
        (Address("blog.example.org", 8081), ""),
        (Address("Blog", 8081), ""),
        (Address("localhost", 80), ""),
        (Address("", 80), ""),
        (Address("192.0.2.1", 80), ""),
        (UnixAddress("blog"), ""),
    ],
)
def test_a_name_that_was_written_as_a_host_is_said_so(
    address: Address | UnixAddress, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bind(address: Address | UnixAddress) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(doors, "bind", bind)
    with pytest.raises(NotStarted) as refused:
        anyio.run(doors.open_door, address)
    assert str(refused.value) == f"cannot publish on {address}: Name or service not known{hint}"


@pytest.mark.parametrize("fails", ["at once", "after a shortage"])
def test_a_listener_that_cannot_be_watched_for_a_while_accepts_afterwards(
    fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has bounds of its own for what is watched; a door that failed there would be dead for good."""
    monkeypatch.setattr("muxado_py.runtime.accept_callbacks.ACCEPT_DELAY", 0)

    async def accept() -> None:
        loop, came = asyncio.get_running_loop(), anyio.Event()
        bound = await anyio.create_tcp_listener(local_host="127.0.0.1")

        def take(accepted: socket.socket) -> None:
            accepted.close()
            came.set()

        callbacks = AcceptCallbacks(bound, loop, take)
        shortages = [OSError(errno.EMFILE, "Too many open files")]
        refusals = [OSError(errno.ENOSPC, "No space left on device")] * 2
        add_reader = loop.add_reader

        def watch(*args: Any) -> None:
            if refusals and (fails == "at once" or not shortages):
                raise refusals.pop()
            add_reader(*args)

        def accept_next(*args: Any) -> Any:
            if fails != "at once" and shortages:
                raise shortages.pop()
            return accept_now(*args)

        monkeypatch.setattr(loop, "add_reader", watch)
        monkeypatch.setattr("muxado_py.runtime.accept_callbacks.accept_now", accept_next)
        callbacks.start()
        port = bound.extra(SocketAttribute.local_port)
        with anyio.fail_after(10), closing(socket.create_connection(("127.0.0.1", port))):
            await came.wait()
        assert not refusals
        await callbacks.aclose()

    anyio.run(accept)


class Tunnel:
    def __init__(self, gateway: Running, url: str, port: int) -> None:
        self.gateway, self.url, self.port = gateway, url, port

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


def is_served(port: int) -> bool:
    try:
        return get(port) == (200, "hello , start 1")
    except ConnectionResetError:
        return False


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def tunnel(request: pytest.FixtureRequest) -> Iterator[Tunnel]:
    """A gateway for 16 callers, and an agent."""
    loop = ("--loop", request.param)
    gate = ("gateway", "--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0")
    with running(*gate, *loop, "--limit-concurrency", "16") as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        port = int(gateway.wait_for(r"callers connect to \S+:(\d+)"))
        with running("serve", "tests.cli.apps:starlette_app", "--connect", url):
            gateway.wait_for(r"agent \S+ connected")
            yield Tunnel(gateway, url, port)
            assert gateway.end() == 0


@pytest.mark.slow
def test_callers_take_hardly_more_descriptors_than_the_limit_and_leave_none(tunnel: Tunnel) -> None:
    """Silent ones, which the next caller may take the place of."""
    before = tunnel.gateway.descriptors()
    with ExitStack() as callers:
        for _ in range(100):
            with suppress(ConnectionResetError):  # turned away while it connects
                callers.enter_context(tunnel.connect())
            assert tunnel.gateway.descriptors() <= before + 16 + 16
    while tunnel.gateway.descriptors() > before:
        pass  # it hears of each end in its own time
    while not is_served(tunnel.port):
        pass  # a place is free a moment after its descriptor is


@pytest.mark.slow
def test_a_gateway_without_a_descriptor_goes_on(tunnel: Tunnel) -> None:
    before = tunnel.gateway.descriptors()
    tunnel.gateway.limit_descriptors(before + 8)
    with ExitStack() as callers:
        served = callers.enter_context(tunnel.connect())
        served.sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
        assert served.recv(15) == b"HTTP/1.1 200 OK"
        for _ in range(40):
            with suppress(ConnectionResetError):
                callers.enter_context(tunnel.connect())
        tunnel.gateway.wait_for("cannot accept a connection: (.*Too many open files)")
    assert get(tunnel.port) == (200, "hello , start 1")
