"""The side that dials, and dials again."""

from __future__ import annotations

import logging
import ssl
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import pytest
import trustme
from anyio.abc import SocketAttribute

import muxado_py as muxado
from muxado_py.cli.running import ConnectionLost, NotStarted
from muxado_py.cli.serving.dialing import Uplink
from muxado_py.config import WIRE_NAMES
from muxado_py.service import dialed as dialed_module
from muxado_py.service.backoff import Backoff

from ...helpers.blocked import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from muxado_py.service.pool_sessions import Greet

pytestmark = pytest.mark.anyio


def keep(
    *urls: str,
    greet: Greet | None = None,
    stop: anyio.Event | None = None,
    ssl_context: ssl.SSLContext | None = None,
    recognize_timeout: float = 10.0,
    wire: str = "muxado",
    first: float = 0.01,
    max_retries: int | None = 0,
) -> Callable[[], Coroutine[Any, Any, None]]:
    """``Uplink.keep`` with one try, unless it is stopped before.

    :param first: the ceiling of the first back-off.
    """
    config = muxado.Config(wire=wire, recognize_timeout=recognize_timeout, heartbeat_interval=None)
    return Uplink(
        urls,
        stop or anyio.Event(),
        config=config,
        ssl_context=ssl_context,
        proxy=None,
        greet=greet,
        backoff=partial(Backoff, first=first),
        max_retries=max_retries,
    ).keep


async def test_it_dials_again_until_it_may_not(caplog: pytest.LogCaptureFixture) -> None:
    """Two sessions, each closed at once, are two failures: none of them lasted."""
    caplog.set_level(logging.INFO, "muxado.pool")

    @asynccontextmanager
    async def leave(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        await session.wait_for_peer()
        await session.aclose()
        yield

    with anyio.fail_after(20):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, muxado.Session.wait)
            with pytest.raises(ConnectionLost, match=r"Gave up after 2 attempt"):
                await keep(listener.url, greet=leave, max_retries=1)()
            tasks.cancel_scope.cancel()
    assert caplog.text.count("connected to tcp://") == 2
    assert caplog.text.count("trying again in") == 1


async def test_what_was_never_connected_has_not_started() -> None:
    def greet(session: muxado.Session, dialed: muxado.Dialed) -> NoReturn:
        raise AssertionError("nobody is there")

    with pytest.raises(
        NotStarted, match=r"cannot connect to tcp://127\.0\.0\.1:1: Connection refused"
    ):
        await keep("tcp://127.0.0.1:1", greet=greet, max_retries=2)()


async def test_a_silent_peer_is_not_called_connected(caplog: pytest.LogCaptureFixture) -> None:
    """A balancer without a backend: it takes the connection, says nothing, and hangs up much later."""
    caplog.set_level(logging.INFO, "muxado.pool")
    warned = anyio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "says nothing" in record.getMessage():
                warned.set()

    watch = Watch()
    logging.getLogger("muxado.pool").addHandler(watch)

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
        logging.getLogger("muxado.pool").removeHandler(watch)
    assert "connected to" not in caplog.text


async def test_a_command_that_ends_without_a_word_is_not_asked_for_tls() -> None:
    with pytest.raises(
        NotStarted, match=r"never said a word: does it want another --wire\? Gave up"
    ):
        await keep("exec:true", recognize_timeout=5)()


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
                await keep(f"tcp://127.0.0.1:{port}", wire=wire)()
            tasks.cancel_scope.cancel()


async def test_who_is_stopping_dials_no_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "muxado.pool")
    stop = anyio.Event()
    sessions = 0

    @asynccontextmanager
    async def stop_and_close(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        await session.wait_for_peer()
        stop.set()
        await session.aclose()
        yield

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
            await keep(listener.url, greet=stop_and_close, stop=stop)()
            tasks.cancel_scope.cancel()
    assert sessions == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert "other side" not in caplog.text  # it was this side


async def test_who_is_stopped_while_it_waits_to_try_again_returns() -> None:
    stop = anyio.Event()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep("tcp://127.0.0.1:1", stop=stop, first=3600.0, max_retries=None))
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
            tasks.start_soon(listener.serve, muxado.Session.wait)
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
            tasks.start_soon(listener.serve, muxado.Session.wait)
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
            tasks.start_soon(listener.serve, muxado.Session.wait)
            with pytest.raises(NotStarted) as told:
                await keep(listener.url, ssl_context=client, max_retries=None)()
            tasks.cancel_scope.cancel()
    why = "unknown ca" if shown else "certificate required"
    assert f"does not let this side in: {why}. Show a certificate" in str(told.value)
    heard = "certificate that is not trusted here: " if shown else "did not return a certificate"
    assert heard in caplog.text


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs are tried as they are given."""
    monkeypatch.setattr("random.sample", lambda urls, number: list(urls)[:number])


NOBODY = "tcp://127.0.0.1:1"


@pytest.mark.usefixtures("in_order")
async def test_where_one_gateway_fails_the_next_is_tried_at_once() -> None:
    @asynccontextmanager
    async def leave(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        await session.wait_for_peer()
        stop.set()
        await session.aclose()
        yield

    stop = anyio.Event()
    with anyio.fail_after(20):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, muxado.Session.wait)
            await keep(
                NOBODY, listener.url, greet=leave, stop=stop, first=3600.0, max_retries=None
            )()
            tasks.cancel_scope.cancel()


@pytest.mark.usefixtures("in_order")
async def test_who_has_failed_everywhere_waits(caplog: pytest.LogCaptureFixture) -> None:
    other = "tcp://127.0.0.1:2"
    with pytest.raises(NotStarted, match=r"Gave up after 3 attempt\(s\) at each of 2 gateways"):
        await keep(NOBODY, other, max_retries=2)()
    assert caplog.text.count(f"trying {other}") == 3
    assert caplog.text.count("trying again in") == 2


async def test_gateways_are_tried_in_an_order_that_is_drawn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Or all agents of one command line would be at one gateway."""
    urls = [f"tcp://127.0.0.1:{port}" for port in (1, 2)]
    for _ in range(64):
        with pytest.raises(NotStarted):
            await keep(*urls)()
    assert {record.getMessage().split()[3] for record in caplog.records} == {
        f"{url}:" for url in urls
    }


async def test_a_certificate_that_is_not_trusted_ends_nothing_while_there_is_another_gateway() -> (
    None
):
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    with anyio.fail_after(20):
        async with (
            muxado.listen("tls://127.0.0.1:0", ssl_context=server) as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, muxado.Session.wait)
            with pytest.raises(NotStarted, match="Gave up after 1 attempt"):
                await keep(listener.url, NOBODY)()
            tasks.cancel_scope.cancel()


@pytest.mark.usefixtures("in_order")
async def test_who_moves_has_the_new_session_before_the_old_one_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "muxado.pool")
    stop, moved, ended = anyio.Event(), anyio.Event(), anyio.Event()
    there: list[str] = []

    @asynccontextmanager
    async def greet(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        there.append(dialed.url)
        async with anyio.create_task_group() as tasks:
            if len(there) == 1:
                tasks.start_soon(move, dialed)
            yield

    async def move(dialed: muxado.Dialed) -> None:
        assert await dialed.move() is None
        assert there == [first.url, second.url]
        moved.set()

    async def until_asked(session: muxado.Session) -> None:
        await ended.wait()

    with anyio.fail_after(20):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as first,
            muxado.listen("tcp://127.0.0.1:0") as second,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(first.serve, until_asked)
            tasks.start_soon(second.serve, until_asked)
            tasks.start_soon(keep(first.url, second.url, greet=greet, stop=stop))
            await moved.wait()
            assert "no longer connected" not in caplog.text
            stop.set()
            ended.set()
            await until(lambda: caplog.text.count("no longer connected") == 2)
            tasks.cancel_scope.cancel()


async def test_who_can_move_nowhere_stays_and_dials_again_when_that_session_is_over() -> None:
    """With one gateway, say, which does not listen any more."""
    stop, ended = anyio.Event(), anyio.Event()
    why: list[str | None] = []

    @asynccontextmanager
    async def greet(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        await listener.aclose()
        why.append(await dialed.move())
        ended.set()
        yield

    async def until_told(session: muxado.Session) -> None:
        await ended.wait()

    with anyio.fail_after(20):
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, until_told)
            with pytest.raises(ConnectionLost, match="Gave up after 2 attempt"):
                await keep(listener.url, greet=greet, stop=stop, max_retries=1)()
            tasks.cancel_scope.cancel()
    assert why == ["nobody listens anywhere else"]


async def test_a_peer_that_has_nothing_to_say_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    """On yamux a gateway says nothing until there is something; it is connected all the same."""
    caplog.set_level(logging.INFO, "muxado.pool")
    with anyio.fail_after(20):
        async with (
            muxado.listen("tcp://127.0.0.1:0", config=muxado.Config(wire="yamux")) as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, muxado.Session.wait)
            tasks.start_soon(keep(listener.url, wire="yamux", max_retries=None))
            await until(lambda: "connected to tcp://" in caplog.text)
            tasks.cancel_scope.cancel()
    assert "says nothing" not in caplog.text


def test_the_log_says_soon_that_a_peer_is_silent() -> None:
    """Whoever has just started an agent looks at it for some seconds."""
    assert 3 <= dialed_module.SPEAKS_WITHIN <= 10
    assert muxado.Config().recognize_timeout > dialed_module.SPEAKS_WITHIN
