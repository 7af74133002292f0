"""What README and docs/ show runs: each Python block is executed, and used."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme

import muxado_py as muxado

if TYPE_CHECKING:
    from .conftest import SessionPair

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parent.parent


def executed(document: str) -> dict[str, Any]:
    """The names that the Python blocks of ``document`` define, run in their order."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL
    )
    assert blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, document, "exec"), names)
    return names


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello through the tunnel"})


async def test_the_readmes_agent_serves_the_readmes_gateway(tmp_path: Path) -> None:
    names = executed("README.md")
    url = f"unix://{tmp_path}/gateway.sock"
    answers = []

    async with anyio.create_task_group() as tasks:

        async def use(response: Any) -> None:
            answers.append((response.status_code, response.text))
            tasks.cancel_scope.cancel()

        with anyio.fail_after(30):
            tasks.start_soon(names["gateway"], url, use)
            while True:
                try:
                    await names["agent"](url, hello)
                except OSError:  # the gateway does not listen yet
                    await anyio.lowlevel.checkpoint()
    assert answers == [(200, "hello through the tunnel")]


async def test_the_readmes_tls_connects(tmp_path: Path) -> None:
    names = executed("README.md")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    paths = {name: str(tmp_path / name) for name in ("ca.pem", "cert.pem", "key.pem")}
    authority.cert_pem.write_to_path(paths["ca.pem"])
    certificate.private_key_pem.write_to_path(paths["key.pem"])
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(paths["cert.pem"], append=True)

    async def answer(session: muxado.Session) -> None:
        async with await session.accept_stream() as stream:
            await stream.send(await stream.receive())

    async with (
        names["listen_with_tls"](
            "tls://localhost:0", paths["cert.pem"], paths["key.pem"]
        ) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        async with (
            names["connect_with_tls"](listener.url, paths["ca.pem"]) as session,
            await session.open_stream() as stream,
        ):
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
        tasks.cancel_scope.cancel()


async def test_the_how_tos_do_what_they_say(session_pair: SessionPair) -> None:
    names = executed("docs/how-to.md")
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        with anyio.fail_after(30):
            tasks.start_soon(names["serve"], accepted)
            assert await names["call"](dialed, b"question") == b"QUESTION"
            assert await names["call_twice_at_most"](dialed, b"again") == b"AGAIN"
            bulk, small = await names["bulk_and_small"](dialed)
            assert bulk.priority == muxado.Priority(urgency=6)
            assert small.priority == muxado.Priority(urgency=1)
            await bulk.aclose()
            await small.aclose()
            await names["shut_down"](dialed)
            assert dialed.closed
            assert await names["close"](dialed) == 0
            await accepted.wait()


async def test_what_came_is_told_by_the_frame_log(session_pair: SessionPair) -> None:
    names = executed("docs/how-to.md")
    received = names["Received"]()
    async with (
        session_pair(names["watched"](received), muxado.Config()) as (dialed, accepted),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(names["serve"], accepted)
        assert await names["call"](dialed, b"question") == b"QUESTION"
        assert received.sizes == {3: 8}
        assert not received.resets
        tasks.cancel_scope.cancel()


async def test_a_call_that_was_refused_is_sent_again(session_pair: SessionPair) -> None:
    names = executed("docs/how-to.md")
    config = muxado.Config(accept_backlog=1)
    async with (
        session_pair(config) as (dialed, accepted),
        anyio.create_task_group() as tasks,
    ):
        with anyio.fail_after(30):
            blocker = await dialed.open_stream()
            await blocker.send(b"x")
            await anyio.wait_all_tasks_blocked()
            # The backlog is full: the first try is refused, which is what makes the second safe.
            with pytest.raises(muxado.StreamRefusedError) as refused:
                await names["call"](dialed, b"question")
            assert refused.value.retry is muxado.Retry.REFUSED
            blocker.reset()
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(names["serve"], accepted)
            assert await names["call_twice_at_most"](dialed, b"question") == b"QUESTION"
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
async def test_a_server_of_asyncios_protocols_takes_streams(session_pair: SessionPair) -> None:
    class Upper(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data.upper())
            self.transport.close()

    names = executed("docs/how-to.md")
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        tasks.start_soon(names["serve_protocols"], accepted, Upper)
        stream = await dialed.open_stream()
        await stream.send(b"question")
        assert b"".join([piece async for piece in stream]) == b"QUESTION"
        tasks.cancel_scope.cancel()


async def test_the_report_says_why_a_stream_stands_still(session_pair: SessionPair) -> None:
    names = executed("docs/how-to.md")
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        stream = await dialed.open_stream()
        tasks.start_soon(stream.send, bytes(2**20))
        far = await accepted.accept_stream()
        with anyio.fail_after(10):
            while stream.statistics().send_window:
                await anyio.lowlevel.checkpoint()
        await dialed.ping()  # and all of it has come
        window = dialed.config.stream_window
        waiting = 2**20 - window
        assert names["report"](dialed) == [
            "1 streams, 0 bytes unread",
            f"stream {stream.id}: {waiting} bytes wait, the peer does not read",
        ]
        assert names["report"](accepted) == [
            f"1 streams, {window} bytes unread",
            f"stream {far.id}: nobody here reads {window} bytes",
        ]
        tasks.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["muxado", "yamux", "smux2"])
async def test_the_relay_takes_its_dialers_wire(tmp_path: Path, wire: str) -> None:
    names = executed("docs/wires.md")
    url = f"unix://{tmp_path}/relay.sock"
    found = []

    async def on_session(session: muxado.Session) -> None:
        found.append(session.config.wire)

    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(30):
            tasks.start_soon(names["relay"], url, on_session)
            while not found:
                with suppress(OSError):  # the relay does not listen yet, or is done with us
                    async with (
                        muxado.connect(url, config=muxado.Config(wire=wire)) as session,
                        await session.open_stream(),
                    ):
                        await session.wait()
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert found[0] == wire
