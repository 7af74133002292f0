"""Connect beside: a service of connectrpc behind a session, called by an HTTP client of ours, and by its own client.

What it serves and calls is the block of ``docs/how-to.md``, as it stands there.  connectrpc (extra ``interop``) wants a newer
OpenTelemetry than the floor of our extra ``otel``, so it is not among what the other tests need.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute

import muxado_py as muxado
from tests.test_documents import executed

from .conftest import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(2 * PATIENCE, func_only=True)]


@pytest.fixture(autouse=True)
def _connectrpc() -> None:
    if find_spec("connectrpc") is None:
        assert os.environ.get("MUXADO_INTEROP") != "require", "connectrpc is not installed"
        pytest.skip("connectrpc is not installed")


def greet() -> Any:
    """The method, as the plugin of connectrpc would write it."""
    from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
    from protobuf.wkt.google.protobuf.wrappers_pb import StringValue

    return MethodInfo(
        name="Greet",
        service_name="greet.v1.Greeter",
        input=StringValue,
        output=StringValue,
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=StreamType.UNARY,
    )


def service() -> Any:
    """A service with that method; nobody can be greeted who has no name."""
    from connectrpc.code import Code
    from connectrpc.errors import ConnectError
    from connectrpc.server import ConnectASGIApplication, Endpoint

    method = greet()

    async def answer(message: Any, context: Any) -> Any:
        if not message.value:
            raise ConnectError(Code.INVALID_ARGUMENT, "nobody to greet")
        return method.output(value=f"Hello, {message.value}!")

    class Greeter(ConnectASGIApplication[None]):  # type: ignore[misc]
        path = "/greet.v1.Greeter"

    endpoints = {"/greet.v1.Greeter/Greet": Endpoint.unary(method, answer)}
    return Greeter(service=None, endpoints=lambda _: endpoints)


@asynccontextmanager
async def served() -> AsyncIterator[muxado.Pool]:
    """A pool to the service."""
    async with muxado.listen("tcp://127.0.0.1:0") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(muxado.serve_asgi, service(), listener.net_listener())
        with anyio.fail_after(PATIENCE):
            async with muxado.connect_pool(listener.url) as pool:
                yield pool
        tasks.cancel_scope.cancel()


async def test_a_service_of_connectrpc_answers_an_http_client_of_ours() -> None:
    names = executed("docs/how-to.md")
    async with served() as pool:
        assert await names["greet_by_connect"](pool, "Ada") == "Hello, Ada!"
        with pytest.raises(RuntimeError, match=r'400: .*"invalid_argument".*"nobody to greet"'):
            await names["greet_by_connect"](pool, "")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # its client has no time-outs on trio
async def test_its_own_client_reaches_it_through_a_forwarded_port() -> None:
    from connectrpc.client import ConnectClient
    from connectrpc.errors import ConnectError

    method = greet()
    async with (
        served() as pool,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as port,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(muxado.forward, pool, port)
        address = f"http://127.0.0.1:{port.extra(SocketAttribute.local_port)}"
        async with ConnectClient(address, timeout_ms=20_000) as client:
            ask = method.input(value="Ada")
            answer = await client.execute_unary(request=ask, method=method)
            assert answer.value == "Hello, Ada!"
            with pytest.raises(ConnectError, match="nobody to greet"):
                await client.execute_unary(request=method.input(), method=method)
        tasks.cancel_scope.cancel()
