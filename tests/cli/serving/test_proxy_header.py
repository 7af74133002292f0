"""The header of the PROXY protocol: bytes written out from haproxy's specification, and ports that hear them."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from muxado_py import Retry
from muxado_py.cli.serving import local_port
from muxado_py.cli.serving.local_port import serve_port
from muxado_py.cli.serving.ports import LocalPort
from muxado_py.cli.serving.proxy_header import proxy_header

from ...by_url import sessions_by_url
from ..processes import running as running_process
from ..test_end_to_end import gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import muxado_py as muxado

    from ...conftest import SessionPair

SIGNATURE = "0d0a0d0a 000d0a51 5549540a"
LOCAL = bytes.fromhex(f"{SIGNATURE} 20 00 0000")


def attributes(client: Any, server: Any) -> dict[Any, Any]:
    known = {SocketAttribute.remote_address: client, SocketAttribute.local_address: server}
    return {one: lambda value=known[one]: value for one in known if known[one] is not None}


@pytest.mark.parametrize(
    ("client", "server", "header"),
    [
        pytest.param(
            ("192.0.2.7", 4711),
            ("198.51.100.3", 443),
            f"{SIGNATURE} 21 11 000c c0000207 c6336403 1267 01bb",
            id="TCP over IPv4",
        ),
        pytest.param(
            ("2001:db8::7", 4711),
            ("2001:db8::1", 443),
            f"{SIGNATURE} 21 21 0024 20010db8000000000000000000000007 "
            "20010db8000000000000000000000001 1267 01bb",
            id="TCP over IPv6",
        ),
        pytest.param(
            ("2001:db8::7", 4711),
            ("198.51.100.3", 443),
            f"{SIGNATURE} 21 21 0024 20010db8000000000000000000000007 {'00' * 16} 1267 0000",
            id="over IPv6, by a session over IPv4",
        ),
        pytest.param(
            ("192.0.2.7", 4711),
            ("2001:db8::1", 443),
            f"{SIGNATURE} 21 11 000c c0000207 00000000 1267 0000",
            id="over IPv4, by a session over IPv6",
        ),
        pytest.param(
            ("192.0.2.7", 4711),
            ("/run/agent.sock", 0),
            f"{SIGNATURE} 21 11 000c c0000207 00000000 1267 0000",
            id="by a session over a Unix socket",
        ),
        pytest.param(
            ("192.0.2.7", 4711),
            None,
            f"{SIGNATURE} 21 11 000c c0000207 00000000 1267 0000",
            id="by a session without addresses",
        ),
        pytest.param(
            ("::ffff:192.0.2.7", 4711),
            ("::ffff:198.51.100.3", 443),
            f"{SIGNATURE} 21 11 000c c0000207 c6336403 1267 01bb",
            id="IPv4 in the form of IPv6",
        ),
        pytest.param(
            ("fe80::1%eth0", 4711),
            ("fe80::2%eth0", 443),
            f"{SIGNATURE} 21 21 0024 fe800000000000000000000000000001 "
            "fe800000000000000000000000000002 1267 01bb",
            id="an address of the link",
        ),
        pytest.param(("", 0), ("/run/agent.sock", 0), LOCAL.hex(), id="a Unix socket"),
        pytest.param(None, None, LOCAL.hex(), id="nobody knows"),
        pytest.param(("caller.example", 80), None, LOCAL.hex(), id="a name"),
    ],
)
def test_the_bytes(client: Any, server: Any, header: str) -> None:
    assert proxy_header(attributes(client, server)) == bytes.fromhex(header)


def ipv4(caller: Any, here: Any) -> bytes:
    """By hand."""
    hosts = b"".join(bytes(map(int, host.split("."))) for host, _ in (caller, here))
    ports = b"".join(port.to_bytes(2, "big") for _, port in (caller, here))
    return bytes.fromhex(f"{SIGNATURE} 21 11 000c") + hosts + ports


class Heard:
    """What a local port has heard, on each connection; it says ``greeting`` first."""

    def __init__(self, greeting: bytes = b"") -> None:
        self.said: list[bytes] = []
        self.greeting = greeting

    async def __call__(self, connection: anyio.abc.ByteStream) -> None:
        async with connection:
            if self.greeting:
                await connection.send(self.greeting)
            self.said.append(b"".join([piece async for piece in connection]))


@asynccontextmanager
async def a_port(heard: Heard, folder: Path | None = None) -> AsyncIterator[LocalPort]:
    listener: Any
    if folder is None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = LocalPort("tcp", "127.0.0.1", listener.extra(SocketAttribute.local_port))
    else:
        listener = await anyio.create_unix_listener(folder / "port")
        port = LocalPort("unix", str(folder / "port"))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, heard)
        yield port._replace(wants_header=True)
        tasks.cancel_scope.cancel()


async def call(session: muxado.Session, said: bytes, metadata: dict[str, bytes]) -> bytes:
    """What is heard by who says ``said`` and no more."""
    async with await session.open_stream(metadata=metadata) as stream:
        if said:
            await stream.send(said)
        await stream.send_eof()
        return b"".join([piece async for piece in stream])


@asynccontextmanager
async def served(port: LocalPort) -> AsyncIterator[tuple[muxado.Session, muxado.Session]]:
    """The agent's session, which leads to ``port``, and the gateway's."""
    async with sessions_by_url() as (agent, front), anyio.create_task_group() as tasks:
        await tasks.start(partial(serve_port, port, agent.net_listener(), graceful_timeout=5.0))
        with anyio.fail_after(30):
            yield agent, front
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
async def test_a_port_hears_it_before_the_first_byte(unix: bool, tmp_path: Path) -> None:
    heard = Heard(b"hello")
    async with a_port(heard, tmp_path if unix else None) as port, served(port) as (agent, front):
        here = agent.extra(SocketAttribute.local_address)[:2]
        there = agent.extra(SocketAttribute.remote_address)[:2]
        for said in (b"question", b"", bytes(300_000)):
            assert await call(front, said, {"caller": b"192.0.2.7:4711"}) == b"hello"
            assert heard.said.pop() == ipv4(("192.0.2.7", 4711), here) + said
        assert await call(front, b"question", {}) == b"hello"
        assert heard.said.pop() == ipv4(there, here) + b"question", "nobody says who calls"


@pytest.mark.anyio
@pytest.mark.usefixtures("way")
async def test_a_port_that_did_not_ask_hears_nothing_of_it() -> None:
    heard = Heard()
    async with a_port(heard) as port, served(port._replace(wants_header=False)) as (_, front):
        await call(front, b"question", {"caller": b"192.0.2.7:4711"})
    assert heard.said == [b"question"]


@pytest.mark.anyio
async def test_without_an_address_the_command_is_local(session_pair: SessionPair) -> None:
    heard = Heard()
    async with (
        a_port(heard) as port,
        session_pair() as (agent, front),
        anyio.create_task_group() as tasks,
    ):
        await tasks.start(partial(serve_port, port, agent.net_listener(), graceful_timeout=5.0))
        with anyio.fail_after(30):
            await call(front, b"question", {"name": b"ssh"})
        tasks.cancel_scope.cancel()
    assert heard.said == [LOCAL + b"question"]


@pytest.mark.anyio
async def test_who_dials_the_agent_cannot_choose_the_address() -> None:
    heard = Heard()
    async with (
        a_port(heard) as port,
        sessions_by_url() as (stranger, agent),
        anyio.create_task_group() as tasks,
    ):
        await tasks.start(partial(serve_port, port, agent.net_listener(), graceful_timeout=5.0))
        with anyio.fail_after(30):
            await call(stranger, b"question", {"caller": b"127.0.0.1:1"})
        peer = agent.extra(SocketAttribute.remote_address)[:2]
        here = agent.extra(SocketAttribute.local_address)[:2]
        tasks.cancel_scope.cancel()
    assert heard.said == [ipv4(peer, here) + b"question"]


@pytest.mark.anyio
async def test_a_port_that_is_gone_before_it_heard_it_has_not_seen_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stream may go elsewhere, as where nobody listens."""

    class Gone:
        async def send(self, item: bytes) -> None:
            raise anyio.BrokenResourceError

        async def aclose(self) -> None:
            pass

    async def connect(port: LocalPort) -> Any:
        return Gone()

    monkeypatch.setattr(local_port, "connect", connect)
    async with served(LocalPort("tcp", "127.0.0.1", 1, wants_header=True)) as (_, front):
        with pytest.raises(ConnectionRefusedError) as info:
            await call(front, b"question", {})
    assert getattr(info.value, "retry", None) is Retry.REFUSED


@pytest.mark.slow
def test_a_port_behind_a_gateway_hears_who_called_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, gateway() as (process, url, door):
        port = server.getsockname()[1]
        serve = ("serve", f"tcp://127.0.0.1:{port}", "--proxy-protocol", "--connect", url)
        with running_process(*serve):
            process.wait_for(r"agent \S+ connected")
            with socket.create_connection(("127.0.0.1", door), timeout=30) as caller:
                caller.sendall(b"question")
                caller.shutdown(socket.SHUT_WR)
                server.settimeout(30)
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as said:
                    heard = said.read()
                source = caller.getsockname()
    assert heard[:16] == bytes.fromhex(f"{SIGNATURE} 21 11 000c")
    assert heard[16:20] == bytes([127, 0, 0, 1])
    assert heard[24:26] == source[1].to_bytes(2, "big")
    assert heard[28:] == b"question"
