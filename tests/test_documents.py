"""What README and docs/ show runs: each Python block is executed, and used."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import grpclib
import grpclib.client
import grpclib.const
import grpclib.server
import pytest
import trustme
from google.protobuf.wrappers_pb2 import StringValue
from prometheus_client import CollectorRegistry

import muxado_py as muxado

from .check_byte_stream import receive_all
from .dialing.proxy_servers import connect_proxy
from .helpers.blocked import all_tasks_blocked
from .transports import tls_contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


async def test_a_question_is_answered_or_told_why_not(session_pair: SessionPair) -> None:
    names = executed("docs/how-to.md")
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        with anyio.fail_after(30):
            tasks.start_soon(names["serve_finders"], accepted)
            assert await names["ask"](dialed, b"blog") == b"10.0.0.7"
            with pytest.raises(muxado.CallError, match="no such name"):
                await names["ask"](dialed, b"shop")
        tasks.cancel_scope.cancel()


async def test_a_pool_and_its_calls_are_watched(tmp_path: Path) -> None:
    names = executed("docs/how-to.md")
    registry = CollectorRegistry()
    with anyio.fail_after(30):
        async with (
            muxado.listen(f"unix://{tmp_path}/finders") as listener,
            muxado.connect_pool(listener.url) as pool,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, names["serve_in_spans"])
            names["watch"](pool, registry)
            assert await names["ask_in_a_span"](pool, b"blog") == b"10.0.0.7"
            tasks.cancel_scope.cancel()
    labels = {"pool": "finders", "outcome": "answered"}
    assert registry.get_sample_value("muxado_calls_total", labels) == 1


async def test_a_websocket_with_a_token_is_let_in(session_pair: SessionPair) -> None:
    names = executed("docs/how-to.md")
    near_ssl, far_ssl = tls_contexts()
    async with (
        names["listen_for_websockets"]("wss://localhost:0/tunnel", far_ssl) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, names["serve"])
        with anyio.fail_after(30):
            async with names["dial_a_websocket"](listener.url, near_ssl, "secret") as session:
                assert await names["call"](session, b"question") == b"QUESTION"
            with pytest.raises(muxado.UpgradeRefusedError, match="401"):
                async with names["dial_a_websocket"](listener.url, near_ssl, "guessed"):
                    pytest.fail("was let in")
        tasks.cancel_scope.cancel()


async def test_a_proxy_passes_what_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = executed("docs/how-to.md")
    near_ssl, far_ssl = tls_contexts()
    async with (
        muxado.listen("tls://localhost:0", ssl_context=far_ssl) as listener,
        connect_proxy(credentials="Basic dXM6c2VjcmV0") as proxy,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, names["serve"])
        there = f"http://us:secret@127.0.0.1:{proxy.port}"
        with anyio.fail_after(30):
            async with names["through_a_proxy"](listener.url, near_ssl, there) as session:
                assert await names["call"](session, b"question") == b"QUESTION"
            monkeypatch.setenv("HTTPS_PROXY", there)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            async with names["as_the_environment_says"]("tcp://127.0.0.1:1"):
                while len(proxy.heads) < 2:
                    await anyio.lowlevel.checkpoint()
        assert proxy.heads[0].startswith("CONNECT localhost:")
        with pytest.raises(FileNotFoundError):
            names["with_an_authority_of_its_own"](listener.url, there, f"{tmp_path}/none")
        tasks.cancel_scope.cancel()


async def test_a_tunnel_goes_through_a_proxy_to_a_websocket_with_a_token() -> None:
    names = executed("docs/how-to.md")
    near_ssl, far_ssl = tls_contexts()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def ask() -> bytes:
        async with await anyio.connect_tcp("127.0.0.1", port) as connection:
            await connection.send(b"question")
            await connection.send_eof()
            return await receive_all(connection)

    async with (
        names["listen_for_websockets"]("wss://localhost:0/tunnel", far_ssl) as listener,
        connect_proxy() as proxy,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, names["serve"])
        options = {"ssl_context": near_ssl, "proxy": f"http://127.0.0.1:{proxy.port}"}
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tunnels:
                begin = partial(names["keep_a_tunnel"], listener.url, "secret", port, **options)
                tunnels.start_soon(begin)
                while True:
                    try:
                        assert await ask() == b"QUESTION"
                        break
                    except OSError:  # it does not listen yet
                        await anyio.sleep(0.01)
                tunnels.cancel_scope.cancel()
            begin = partial(names["begin_blocking_tunnel"], listener.url, "secret", port, **options)
            pool = await anyio.to_thread.run_sync(begin)
            assert await ask() == b"QUESTION"
            await anyio.to_thread.run_sync(pool.close)
        assert len(proxy.heads) == 2
        tasks.cancel_scope.cancel()


async def test_three_lines_keep_sessions_up(tmp_path: Path) -> None:
    """Two targets, of which one comes late; both change sides between those who call and those who serve."""
    names = executed("docs/how-to.md")
    urls = [f"unix://{tmp_path}/{name}" for name in ("a", "b")]
    served: list[bytes] = []

    async def ask(session: muxado.Session) -> None:
        async with muxado.httpx_client(session) as http:
            served.append((await http.get("http://app/")).content)
        await session.wait()

    with anyio.fail_after(30):
        async with (
            muxado.listen(urls[0]) as first,
            muxado.listen(urls[1]) as second,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(first.serve, names["serve"])
            tasks.start_soon(second.serve, ask)
            questions = [b"one", b"two"]
            answers = await names["call_all_in_turn"](questions, urls[0])
            assert answers == [b"ONE", b"TWO"]
            tasks.start_soon(names["serve_for_ever"], hello, urls[1])
            while not served:
                await anyio.lowlevel.checkpoint()
            async with muxado.connect_pool(urls[0]) as pool:
                assert await names["ask_one_of"](pool, b"three") == b"THREE"
            tasks.cancel_scope.cancel()
    assert served == [b"hello through the tunnel"]


async def test_a_pool_shows_a_token_before_its_sessions_are_used() -> None:
    names = executed("docs/how-to.md")

    async def let_in(session: muxado.Session) -> None:
        async with await session.accept_stream() as stream:
            known = await stream.receive() == b"secret"
            await stream.send(b"y" if known else b"n")
            await names["serve"](session)

    with anyio.fail_after(30):
        async with muxado.listen("tcp://127.0.0.1:0") as door, anyio.create_task_group() as tasks:
            tasks.start_soon(door.serve, let_in)
            async with names["connect_with_token"](b"secret", door.url) as pool:
                assert await names["ask_one_of"](pool, b"question") == b"QUESTION"
            async with names["connect_with_token"](b"guessed", door.url) as pool:
                with pytest.raises(muxado.PoolTimeoutError, match="does not take the token"):
                    await pool.open_stream(timeout=1)
            tasks.cancel_scope.cancel()


async def test_all_who_dial_in_are_served_by_one_and_asked_by_one(tmp_path: Path) -> None:
    names = executed("docs/how-to.md")
    url = f"unix://{tmp_path}/gateway"
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(names["serve_all_who_dial_in"], hello, url)
            async with (
                muxado.connect_pool(url, sessions=3) as pool,
                muxado.httpx_client(cast("Any", pool)) as http,
            ):
                assert (await http.get("http://app/")).content == b"hello through the tunnel"
            tasks.cancel_scope.cancel()
        async with (
            muxado.connect_pool(url) as pool,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(names["serve"], pool)
            assert await names["ask_whoever_dials_in"](b"question", url) == b"QUESTION"
            tasks.cancel_scope.cancel()


async def test_a_port_of_the_other_side_is_reached_by_tasks_and_by_threads() -> None:
    names = executed("docs/how-to.md")

    async def echo(connection: anyio.abc.ByteStream) -> None:
        async with connection:
            with suppress(anyio.BrokenResourceError):
                async for said in connection:
                    await connection.send(said)

    async def say(port: int) -> None:
        async with await anyio.connect_tcp("127.0.0.1", port) as connection:
            await connection.send(b"through")
            answers.append(await connection.receive())

    def say_and_wait(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(b"through")
            answers.append(connection.recv(100))

    answers: list[bytes] = []
    with anyio.fail_after(60):
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as inside,
            muxado.listen("tcp://127.0.0.1:0") as sandbox,
            anyio.create_task_group() as tasks,
        ):
            port = inside.extra(anyio.abc.SocketAttribute.local_port)
            tasks.start_soon(inside.serve, echo)
            tasks.start_soon(sandbox.serve, lambda one: names["lead_to_port"](one, port))
            await names["tunnel"](sandbox.url, say)
            in_a_thread = anyio.to_thread.run_sync
            await in_a_thread(names["tunnel_for_threads"], sandbox.url, say_and_wait)
            answers.append(await in_a_thread(names["say_from_a_thread"], sandbox.url, b"through"))
            tasks.cancel_scope.cancel()
        async with (
            muxado.listen("tcp://127.0.0.1:0") as finders,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(finders.serve, names["serve_finders"])
            found = await in_a_thread(names["ask_from_a_thread"], finders.url, b"blog")
            tasks.cancel_scope.cancel()
    assert answers == [b"through"] * 3
    assert found == b"10.0.0.7"


async def test_aiohttp_and_requests_reach_the_other_side(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    if anyio_backend_name == "trio":
        return
    names = executed("docs/how-to.md")
    url = f"unix://{tmp_path}/app"
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(names["serve_all_who_dial_in"], hello, url)
            assert await names["order_with_aiohttp"]([url], b"a book") == 200
            order = partial(names["order_with_requests"], url, b"a book")
            assert await anyio.to_thread.run_sync(order) == 200
            tasks.cancel_scope.cancel()


async def test_the_endpoint_keeps_its_sessions() -> None:
    names = executed("docs/how-to.md")
    heard: list[Any] = []
    headers = [(b"authorization", b"Bearer secret")]
    scope = {"type": "websocket", "path": "/tunnel", "headers": headers}

    async def receive() -> Any:
        await anyio.lowlevel.checkpoint()
        if heard:
            while not names["there"]:
                await anyio.lowlevel.checkpoint()
            return {"type": "websocket.disconnect", "code": 1000}
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(message["type"])

    with anyio.fail_after(30):
        await names["endpoint"](scope, receive, send)
    assert heard[0] == "websocket.accept"
    assert not names["there"]


async def test_a_schema_sits_on_top_of_calls(session_pair: SessionPair) -> None:
    names = executed("docs/how-to.md")

    async def double(asked: Any) -> Any:
        if isinstance(asked, names["Order"]):
            return names["Order"](asked.item, asked.count * 2)
        return asked.model_copy(update={"weight": asked.weight * 2})

    @asynccontextmanager
    async def served(handler: Any) -> AsyncIterator[muxado.Caller]:
        async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
            tasks.start_soon(muxado.serve_calls, accepted.net_listener(), handler)
            yield muxado.Caller(dialed)
            tasks.cancel_scope.cancel()

    with anyio.fail_after(30):
        async with served(names["typed"](names["Order"], double)) as caller:
            answer = await names["send_order"](caller, names["Order"]("book", 2))
            assert answer == names["Order"]("book", 4)
            # An array where an object is expected, the beginning of one, a field of a wrong type, text that is no UTF-8.
            for wrong in (
                b"\x90",
                b"\x82",
                b"\x82\xa4item\x01",
                b"\x82\xa4item\xa1\xff\xa5count\x01",
            ):
                with pytest.raises(muxado.CallError) as told:
                    await caller.call(wrong)
                assert told.value.status == muxado.CallStatus.INVALID_ARGUMENT
        async with served(names["modelled"](names["Parcel"], double)) as caller:
            parcel = names["Parcel"](to="Ada", weight=1.5)
            assert (await names["send_parcel"](caller, parcel)).weight == 3
            for wrong in (
                b"[]",
                b'{"to"',
                b'{"to": "\xff", "weight": 1}',
                b'{"to": "Ada", "weight": 0}',
            ):
                with pytest.raises(muxado.CallError) as told:
                    await caller.call(wrong)
                assert told.value.status == muxado.CallStatus.INVALID_ARGUMENT
            [fault] = json.loads(told.value.details)
            assert fault["loc"] == ["weight"]


async def test_a_call_in_pieces(session_pair: SessionPair) -> None:
    names = executed("docs/how-to.md")
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        with anyio.fail_after(30):
            tasks.start_soon(names["serve_numbers"], accepted)
            lines = await names["numbered"](muxado.Caller(dialed), [b"a", b"b"])
            assert lines == [b"1 a", b"2 b"]
            many = await names["numbered"](muxado.Caller(dialed), [bytes(10_000)] * 300)
            assert [len(line) for line in many] == [10_002] * 9 + [10_003] * 90 + [10_004] * 201
        tasks.cancel_scope.cancel()


class Greeter:
    """A service of gRPC, and its stub, as the plugin of grpclib would write them."""

    GREET = "/greet.v1.Greeter/Greet"

    def __init__(self, channel: grpclib.client.Channel | None = None) -> None:
        if channel is not None:
            self.Greet = grpclib.client.UnaryUnaryMethod(
                channel, self.GREET, StringValue, StringValue
            )

    async def _greet(self, stream: grpclib.server.Stream[StringValue, StringValue]) -> None:
        message = await stream.recv_message()
        assert message is not None
        if not message.value:
            raise grpclib.GRPCError(grpclib.Status.INVALID_ARGUMENT, "nobody to greet")
        await stream.send_message(StringValue(value=f"Hello, {message.value}!"))

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        unary = grpclib.const.Cardinality.UNARY_UNARY
        return {self.GREET: grpclib.const.Handler(self._greet, unary, StringValue, StringValue)}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # grpclib knows no other
async def test_grpc_runs_beside() -> None:
    names = executed("docs/how-to.md")
    service = grpclib.server.Server([Greeter()])
    with socket.create_server(("127.0.0.1", 0)) as listening, anyio.fail_after(30):
        await service.start(sock=listening)
        port = listening.getsockname()[1]
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, partial(names["lead_to_port"], port=port))
            ask = partial(names["greet_by_grpc"], listener.url, Greeter)
            assert await ask(StringValue(value="Ada")) == [StringValue(value="Hello, Ada!")]
            with pytest.raises(ExceptionGroup) as failed:
                await ask(StringValue())
            assert failed.group_contains(grpclib.GRPCError, match="nobody to greet", depth=None)
            tasks.cancel_scope.cancel()
        service.close()
        await service.wait_closed()


async def test_connect_runs_beside(session_pair: SessionPair) -> None:
    """What connectrpc answers to the same, ``interop/test_connect.py`` shows."""
    names = executed("docs/how-to.md")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        asked.append((scope["method"], scope["path"], dict(scope["headers"])))
        name = json.loads((await receive())["body"])
        status = 200 if name else 400
        answer = json.dumps(f"Hello, {name}!") if name else '{"code": "invalid_argument"}'
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": answer.encode()})

    asked: list[tuple[str, str, dict[bytes, bytes]]] = []
    async with session_pair() as (dialed, accepted), anyio.create_task_group() as tasks:
        with anyio.fail_after(30):
            tasks.start_soon(muxado.serve_asgi, app, accepted.net_listener())
            assert await names["greet_by_connect"](dialed, "Ada") == "Hello, Ada!"
            with pytest.raises(RuntimeError, match="invalid_argument"):
                await names["greet_by_connect"](dialed, "")
        tasks.cancel_scope.cancel()
    method, path, headers = asked[0]
    assert (method, path) == ("POST", "/greet.v1.Greeter/Greet")
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"connect-protocol-version"] == b"1"


async def test_a_client_and_agents_with_names_are_a_few_lines(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to.md").read_text()
    names = executed("docs/how-to.md")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for name, most in (("ask_them", 12), ("be_agent", 15)):
        (block,) = [one for one in blocks if f"async def {name}(" in one]
        assert sum(1 for line in block.splitlines() if line.strip()) <= most
    url = f"unix://{tmp_path}/socket"

    async def upper(request: muxado.CallRequest) -> bytes:
        return request.payload.upper()

    async def welcome(session: muxado.Session) -> None:
        await names["welcome"](session, b"secret")

    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(30):
            async with muxado.listen(url) as listener:
                tasks.start_soon(listener.serve, welcome)
                tasks.start_soon(names["be_agent"], url, b"wrong", b"thief", upper)
                tasks.start_soon(names["be_agent"], url, b"secret", b"blog", upper)
                while not names["agents"]:
                    await anyio.lowlevel.checkpoint()
                assert await names["agents"][b"blog"].call(b"question") == b"QUESTION"
                assert names["agents"].keys() == {b"blog"}
                tasks.cancel_scope.cancel()
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(30):
            async with muxado.listen(url) as listener:
                tasks.start_soon(listener.serve, names["serve_finders"])
                assert await names["ask_them"](b"blog", url) == b"10.0.0.7"
                assert await names["ask_them"](b"shop", url) is None
                tasks.cancel_scope.cancel()


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
            await all_tasks_blocked()
            # The backlog is full: the first try is refused, which is what makes the second safe.
            with pytest.raises(muxado.StreamRefusedError) as refused:
                await names["call"](dialed, b"question")
            assert refused.value.retry is muxado.Retry.REFUSED
            blocker.reset()
            await all_tasks_blocked()
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
