"""Agents that reach their gateway through what stands in the way: ssh, and proxies that people run.

Each server is a real one, for one test, on loopback.
"""

from __future__ import annotations

import shlex
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import create_task_group, fail_after

import muxado_py as muxado
from tests.check_byte_stream import receive_all
from tests.cli.processes import ROOT, command, running
from tests.cli.test_end_to_end import get
from tests.transports import tls_contexts

from .browser import may_fetch
from .networks import find_program, running_microsocks, running_sshd, running_tinyproxy
from .workshop import ToolchainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from .workshop import Workshop

pytestmark = pytest.mark.anyio

SHOWN = "us:s3cret"
SCHEMES = ("tcp", "tls", "ws", "wss")


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    if request.param == "trio":
        return "trio", {}
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def program(name: str, workshop: Workshop) -> list[str]:
    """The command that starts a server, or a skip that says which is missing."""
    try:
        return find_program(name, workshop, fetch=may_fetch())
    except ToolchainError as error:
        if may_fetch():
            pytest.fail(f"MUXADO_INTEROP=require, but {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture
def ssh(workshop: Workshop, tmp_path: Path) -> Iterator[list[str]]:
    programs = [program(name, workshop) for name in ("sshd", "ssh-keygen", "ssh")]
    with running_sshd(programs, tmp_path) as client:
        yield client


@pytest.fixture
def tinyproxy(workshop: Workshop, tmp_path: Path) -> Iterator[int]:
    with running_tinyproxy(program("tinyproxy", workshop), tmp_path) as port:
        yield port


@pytest.fixture
def microsocks(workshop: Workshop) -> Iterator[int]:
    with running_microsocks(program("microsocks", workshop)) as port:
        yield port


def over(ssh: list[str], *arguments: str) -> str:
    """The URL of a command on the other side of ``ssh``, at the root of the sources."""
    there = f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(arguments)}"
    return f"exec:{shlex.join([*ssh, there])}"


# ssh.


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_an_app_is_published_through_ssh(loop: str, ssh: list[str]) -> None:
    publish = ("gateway", "--stdio", "--publish", "127.0.0.1:0", "--loop", loop)
    url = over(ssh, *command(*publish))
    with running(
        "serve", "tests.cli.apps:starlette_app", "--connect", url, "--loop", loop
    ) as agent:
        port = int(agent.wait_for(r"callers connect to \S+:(\d+)"))
        agent.wait_for("(connected to exec:)")
        assert get(port)[0] == 200
        assert len(get(port, "/large")[1]) > 300_000
        assert agent.end(signal.SIGINT) == 0
        said = agent.said()
    assert "Traceback" not in said


def test_a_connection_of_ssh_that_is_cut_is_made_again(ssh: list[str]) -> None:
    url = over(ssh, *command("gateway", "--stdio", "--publish", "127.0.0.1:0"))
    with running("serve", "tests.cli.apps:starlette_app", "--connect", url) as agent:
        agent.wait_for("(connected to exec:)")
        [client] = agent.children()
        anyio.run(_kill, client)
        # It may have another one before the end of the process is known.
        agent.wait_for(
            r"((?:lost the connection|no longer connected) to exec:.* ended by signal 9)"
        )
        agent.wait_for(r"INFO +(connected to exec:)", times=2)
        port = int(agent.wait_for(r"callers connect to \S+:(\d+)", times=2))
        assert get(port)[0] == 200
        assert agent.end() == 0


async def _kill(pid: int) -> None:
    await anyio.run_process(["kill", "-9", str(pid)])


async def test_what_send_took_is_on_the_other_side_of_ssh(
    ssh: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    url = over(ssh, sys.executable, "-m", "tests.dialing.over_stdio", "count")
    with fail_after(60):
        async with muxado.connect(url) as session:
            stream = await session.open_stream()
            await stream.send(bytes(3_000_000))
            await stream.send_eof()
    assert "3000000 bytes and a goodbye" in capfd.readouterr().err


async def test_whom_ssh_does_not_let_in_is_told(ssh: list[str]) -> None:
    stranger = [*ssh[:-1], "-o", "IdentityFile=none", "-o", "PubkeyAuthentication=no", ssh[-1]]
    with fail_after(60), pytest.raises(muxado.TransportError, match="ended with exit code 255"):
        async with muxado.connect(f"exec:{shlex.join(stranger)}") as session:
            await session.wait()


# Proxies.


@asynccontextmanager
async def gateway(scheme: str) -> AsyncIterator[str]:
    async def echo(session: muxado.Session) -> None:
        async def handle(stream: muxado.Stream) -> None:
            await stream.send(await receive_all(stream))

        await session.net_listener().serve(handle)

    context = tls_contexts()[1] if scheme in ("tls", "wss") else None
    async with (
        muxado.listen(f"{scheme}://127.0.0.1:0", ssl_context=context) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        yield listener.url.replace("127.0.0.1", "localhost")
        tasks.cancel_scope.cancel()


async def expect_an_echo(url: str, proxy: str) -> None:
    context = tls_contexts()[0] if url.startswith(("tls", "wss")) else None
    with fail_after(60):
        async with (
            muxado.connect(url, ssl_context=context, proxy=proxy) as session,
            await session.open_stream() as stream,
            create_task_group() as tasks,
        ):

            async def send() -> None:
                await stream.send(b"h" * 1_000_000)
                await stream.send_eof()

            tasks.start_soon(send)
            assert await receive_all(stream) == b"h" * 1_000_000


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_session_through_tinyproxy(scheme: str, tinyproxy: int) -> None:
    async with gateway(scheme) as url:
        await expect_an_echo(url, f"http://{SHOWN}@127.0.0.1:{tinyproxy}")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_session_through_microsocks(scheme: str, microsocks: int) -> None:
    async with gateway(scheme) as url:
        await expect_an_echo(url, f"socks5://{SHOWN}@127.0.0.1:{microsocks}")


async def test_what_tinyproxy_refuses_it_says(
    tinyproxy: int, workshop: Workshop, tmp_path: Path
) -> None:
    # Who shows the wrong thing is told what a server tells, and not a proxy.
    for shown, status in (("", 407), ("us:wrong@", 401)):
        with pytest.raises(muxado.ProxyRefusedError, match=f"localhost:1: {status}") as info:
            await expect_an_echo("tcp://localhost:1", f"http://{shown}127.0.0.1:{tinyproxy}")
        assert info.value.status == status
    (tmp_path / "strict").mkdir()
    tinyproxy_command = program("tinyproxy", workshop)
    with (
        running_tinyproxy(tinyproxy_command, tmp_path / "strict", "ConnectPort 443") as port,
        pytest.raises(muxado.ProxyRefusedError, match="localhost:1: 403"),
    ):
        await expect_an_echo("tcp://localhost:1", f"http://{SHOWN}@127.0.0.1:{port}")


async def test_what_microsocks_refuses_it_says(microsocks: int) -> None:
    for shown in ("", "us:wrong@"):
        with pytest.raises(muxado.ProxyRefusedError, match="refuses to connect to localhost:1"):
            await expect_an_echo("tcp://localhost:1", f"socks5://{shown}127.0.0.1:{microsocks}")
    with pytest.raises(muxado.ProxyRefusedError, match="Connection refused") as info:
        await expect_an_echo("tcp://localhost:1", f"socks5://{SHOWN}@127.0.0.1:{microsocks}")
    assert info.value.status == 5


def test_an_agent_serves_through_each(tinyproxy: int, microsocks: int) -> None:
    listen = ("--listen", "tcp://127.0.0.1:0", "--publish", "127.0.0.1:0")
    with running("gateway", *listen) as process:
        url = process.wait_for(r"agents connect to (\S+)")
        port = int(process.wait_for(r"callers connect to \S+:(\d+)"))
        for proxy in (
            f"http://{SHOWN}@127.0.0.1:{tinyproxy}",
            f"socks5://{SHOWN}@127.0.0.1:{microsocks}",
        ):
            arguments = ("--connect", url, "--proxy", proxy)
            with running("serve", "tests.cli.apps:starlette_app", *arguments) as agent:
                agent.wait_for("(connected to)")
                assert get(port)[0] == 200
                assert agent.end() == 0
                assert "s3cret" not in agent.said()
