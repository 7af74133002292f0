"""What can be dialed: a URL, or whatever anyio calls a connectable."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import as_connectable, create_task_group
from anyio.abc import ByteStreamConnectable, SocketAttribute

import muxado_py as muxado

from ..check_byte_stream import receive_all
from ..transports import tls_contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio


async def echo(session: muxado.Session) -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.send(await receive_all(stream))

    await session.net_listener().serve(handle)


async def expect_an_echo(session: muxado.Session) -> None:
    async with await session.open_stream() as stream:
        await stream.send(b"hello")
        await stream.send_eof()
        assert await receive_all(stream) == b"hello"


@asynccontextmanager
async def listening(url: str, context: Any = None) -> AsyncIterator[muxado.SessionListener]:
    async with (
        muxado.listen(url, ssl_context=context) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        yield listener
        tasks.cancel_scope.cancel()


def port_of(listener: muxado.SessionListener) -> int:
    return int(listener.url.rsplit(":", 1)[1])


async def test_a_connectable_of_tcp() -> None:
    async with listening("tcp://127.0.0.1:0") as listener:
        there = as_connectable(("127.0.0.1", port_of(listener)))
        for _ in range(2):  # again and again
            async with muxado.connect(there) as session:
                await expect_an_echo(session)
                remote = session.extra_attributes[SocketAttribute.remote_address]()
                assert remote == ("127.0.0.1", port_of(listener))


async def test_a_connectable_of_unix(tmp_path: Path) -> None:
    there = as_connectable(f"{tmp_path}/socket")
    async with listening(f"unix://{tmp_path}/socket"), muxado.connect(there) as session:
        await expect_an_echo(session)


async def test_a_connectable_with_tls_of_its_own() -> None:
    near_ssl, far_ssl = tls_contexts()
    async with listening("tls://localhost:0", far_ssl) as listener:
        there = as_connectable(
            ("localhost", port_of(listener)),
            tls=True,
            ssl_context=near_ssl,
            tls_standard_compatible=False,
        )
        async with muxado.connect(there) as session:
            await expect_an_echo(session)


async def test_a_connectable_that_fails_says_so_itself() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="connection attempts failed"):
            async with muxado.connect(as_connectable(taken.getsockname())):
                pytest.fail("connected")


async def test_what_the_system_says_is_told_with_the_url(tmp_path: Path) -> None:
    """Of most of its errors nobody would know which of many connections it was."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"^no connection with {url}: ") as failed:
            async with muxado.connect(url):
                pytest.fail("connected")
        assert isinstance(failed.value.__cause__, ConnectionRefusedError)
        assert failed.value.__notes__ == [f"dialing {url}"]
        taken.listen()
        with pytest.raises(OSError, match="in use") as failed:
            async with muxado.listen(url):
                pytest.fail("listened")
        assert failed.value.__notes__ == [f"listening on {url}"]
    nobody = f"unix://{tmp_path}/nobody"
    with pytest.raises(FileNotFoundError) as missing:
        async with muxado.connect(nobody):
            pytest.fail("connected")
    assert missing.value.__notes__ == [f"dialing {nobody}"]


class Never(ByteStreamConnectable):
    """One that never connects."""

    cancelled = False

    def __repr__(self) -> str:
        return "<never>"

    async def connect(self) -> ByteStream:
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled = True
        raise AssertionError


async def test_a_connectable_has_the_time_of_a_dialing() -> None:
    never = Never()
    config = muxado.Config(connect_timeout=0.01)
    with pytest.raises(TimeoutError, match=r"^no connection with <never> in 0\.01 s$"):
        async with muxado.connect(never, config=config):
            pytest.fail("connected")
    assert never.cancelled


async def test_what_goes_with_a_url_does_not_go_with_a_connectable() -> None:
    with pytest.raises(ValueError, match="an option needs a URL, got <never>"):
        async with muxado.connect(Never(), ssl_context=tls_contexts()[0]):
            pytest.fail("connected")
    with pytest.raises(ValueError, match='wire="auto" is for listen'):
        async with muxado.connect(Never(), config=muxado.Config(wire="auto")):
            pytest.fail("connected")


@pytest.mark.parametrize("wrong", [None, 5, ("localhost", 1), b"tcp://localhost:1"])
async def test_what_is_neither_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a URL or an anyio\.abc\.ByteStreamConnectable"):
        async with muxado.connect(wrong):
            pytest.fail("connected")
