"""The side that dials, and dials again."""

from __future__ import annotations

import logging
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme
from anyio.abc import SocketAttribute

import muxado_py as muxado
from muxado_py.cli.backoff import Backoff
from muxado_py.cli.dialing import keep_connected
from muxado_py.cli.running import ConnectionLost, NotStarted
from muxado_py.config import WIRE_NAMES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

pytestmark = pytest.mark.anyio


async def test_it_dials_again_until_it_may_not(caplog: pytest.LogCaptureFixture) -> None:
    """Two sessions, each closed at once, are two failures: none of them lasted."""
    caplog.set_level(logging.INFO, "muxado.cli")

    async def leave(session: muxado.Session) -> None:
        await session.wait_for_peer()
        await session.aclose()

    with anyio.fail_after(20):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, muxado.Session.wait)
            with pytest.raises(ConnectionLost, match=r"Gave up after 2 attempt"):
                await keep_connected(
                    listener.url,
                    leave,
                    stop=anyio.Event(),
                    config=muxado.Config(),
                    ssl_context=None,
                    backoff=Backoff(first=0.01),
                    max_retries=1,
                )
            tasks.cancel_scope.cancel()
    assert caplog.text.count("connected to tcp://") == 2
    assert caplog.text.count("trying again in") == 1


async def test_what_was_never_connected_has_not_started() -> None:
    async def attach(session: muxado.Session) -> None:
        raise AssertionError("nobody is there")

    with pytest.raises(
        NotStarted, match=r"cannot connect to tcp://127\.0\.0\.1:1: Connection refused"
    ):
        await keep_connected(
            "tcp://127.0.0.1:1",
            attach,
            stop=anyio.Event(),
            config=muxado.Config(),
            ssl_context=None,
            backoff=Backoff(first=0.01),
            max_retries=2,
        )


async def wait(session: muxado.Session) -> None:
    await session.wait()


def keep(
    url: str,
    *,
    attach: Callable[[muxado.Session], Awaitable[None]] = wait,
    stop: anyio.Event | None = None,
    ssl_context: ssl.SSLContext | None = None,
    recognize_timeout: float = 10.0,
    max_retries: int | None = 0,
) -> partial[Coroutine[Any, Any, None]]:
    """``keep_connected`` with one try, unless it is stopped before."""
    return partial(
        keep_connected,
        url,
        attach,
        stop=stop or anyio.Event(),
        config=muxado.Config(recognize_timeout=recognize_timeout, heartbeat_interval=None),
        ssl_context=ssl_context,
        backoff=Backoff(first=0.01),
        max_retries=max_retries,
    )


async def test_a_silent_peer_is_not_called_connected(caplog: pytest.LogCaptureFixture) -> None:
    """A balancer without a backend: it takes the connection, says nothing, and hangs up much later."""
    caplog.set_level(logging.INFO, "muxado.cli")
    warned = anyio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "says nothing" in record.getMessage():
                warned.set()

    watch = Watch()
    logging.getLogger("muxado.cli").addHandler(watch)

    async def say_nothing(transport: anyio.abc.SocketStream) -> None:
        async with transport:
            await warned.wait()

    try:
        with anyio.fail_after(20):
            async with (
                await anyio.create_tcp_listener(local_host="127.0.0.1") as silent,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(silent.serve, say_nothing)
                port = silent.extra(SocketAttribute.local_port)
                with pytest.raises(
                    NotStarted, match=r"never said a word: does it want tls://.*--wire\? Gave up"
                ):
                    await keep(f"tcp://127.0.0.1:{port}", recognize_timeout=0.1)()
                tasks.cancel_scope.cancel()
    finally:
        logging.getLogger("muxado.cli").removeHandler(watch)
    assert "connected to" not in caplog.text


@pytest.mark.parametrize("wire", WIRE_NAMES[:-1])
async def test_what_said_no_frame_was_never_connected_on_any_wire(wire: str) -> None:
    """A web server, say, which ends the connection."""

    async def hang_up(transport: anyio.abc.SocketStream) -> None:
        await transport.aclose()

    with anyio.fail_after(20):
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, hang_up)
            port = listener.extra(SocketAttribute.local_port)
            with pytest.raises(NotStarted, match="cannot connect to"):
                await keep_connected(
                    f"tcp://127.0.0.1:{port}",
                    wait,
                    stop=anyio.Event(),
                    config=muxado.Config(wire=wire),
                    ssl_context=None,
                    backoff=Backoff(first=0.01),
                    max_retries=0,
                )
            tasks.cancel_scope.cancel()


async def test_who_is_stopping_dials_no_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")
    stop = anyio.Event()
    sessions = 0

    async def stop_and_close(session: muxado.Session) -> None:
        await session.wait_for_peer()
        stop.set()
        await session.aclose()

    async def count(session: muxado.Session) -> None:
        nonlocal sessions
        sessions += 1
        await session.wait()

    with anyio.fail_after(20):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, count)
            await keep(listener.url, attach=stop_and_close, stop=stop)()
            tasks.cancel_scope.cancel()
    assert sessions == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert "other side" not in caplog.text  # it was this side


async def test_who_is_stopped_while_it_waits_to_try_again_returns() -> None:
    stop = anyio.Event()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                partial(
                    keep_connected,
                    "tcp://127.0.0.1:1",
                    wait,
                    stop=stop,
                    config=muxado.Config(),
                    ssl_context=None,
                    backoff=Backoff(first=3600.0),
                    max_retries=None,
                )
            )
            await anyio.wait_all_tasks_blocked()
            stop.set()


async def test_advice_fits_the_certificate() -> None:
    """Its authority is named only where that would help."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("app.example").configure_cert(server)
    knowing = ssl.create_default_context()
    authority.configure_trust(knowing)
    with anyio.fail_after(20):
        async with (
            muxado.listen("tls://127.0.0.1:0", ssl_context=server) as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, wait)
            with pytest.raises(NotStarted) as mismatch:
                await keep(listener.url, ssl_context=knowing)()
            with pytest.raises(NotStarted) as unknown:
                await keep(listener.url, ssl_context=ssl.create_default_context())()
            tasks.cancel_scope.cancel()
    assert "not valid for '127.0.0.1'." in str(mismatch.value)
    assert "--ssl-ca-certs" not in str(mismatch.value)
    assert "--ssl-ca-certs" in str(unknown.value)
    assert ".." not in str(mismatch.value) + str(unknown.value)


async def test_an_address_without_tls_is_told_from_one_that_is_not_trusted() -> None:
    with anyio.fail_after(20):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, wait)
            with pytest.raises(
                NotStarted, match=r"answered without TLS: does it want tcp://\? Gave up"
            ):
                await keep(listener.url.replace("tcp", "tls"), max_retries=0)()
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("shown", [False, True], ids=["none", "a stranger's"])
async def test_an_agent_without_the_certificate_that_is_wanted_is_told(
    shown: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """At once: waiting mends nothing."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context()
    authority.configure_trust(client)
    if shown:
        trustme.CA().issue_cert("agent.example").configure_cert(client)
    with anyio.fail_after(20):
        async with (
            muxado.listen("tls://127.0.0.1:0", ssl_context=server) as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, wait)
            with pytest.raises(NotStarted) as told:
                await keep(listener.url, ssl_context=client, max_retries=None)()
            tasks.cancel_scope.cancel()
    why = "unknown ca" if shown else "certificate required"
    assert f"does not let this side in: {why}. Show a certificate" in str(told.value)
    heard = "certificate that is not trusted here: " if shown else "did not return a certificate"
    assert heard in caplog.text
