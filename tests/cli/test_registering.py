"""The agent's side: nothing is served before the gateway has taken the names, and the log says why it has not."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli.agents import Agents
from muxado_py.cli.attempt import Attempt
from muxado_py.cli.backoff import Backoff
from muxado_py.cli.dialing import keep_connected
from muxado_py.cli.registering import ANSWER_TIMEOUT, Registrant
from muxado_py.cli.registration import Lines, Registration, RegistrationError, line
from muxado_py.cli.running import ConnectionLost
from muxado_py.frames import WIRES

from .. import virtual_time
from ..helpers.blocked import all_tasks_blocked
from ..transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

pytestmark = pytest.mark.anyio

BLOG = Registration(("blog",))


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


def attempt() -> Attempt:
    """Of which nobody asks what becomes of it."""
    return Attempt("tcp://127.0.0.1:1", muxado.Config(), None)


async def register(
    gateway: Callable[[muxado.Session], Coroutine[Any, Any, object]], wire: str = "muxado"
) -> None:
    """Register at ``gateway``, and serve nobody."""

    async def attach(session: muxado.Session) -> None:
        await session.wait()

    near, far = memory_transports(64)
    config = muxado.Config(wire=wire)
    async with (
        muxado.client(near, config) as agent,
        muxado.server(far, config) as session,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(gateway, session)
        failure = None
        try:
            with anyio.fail_after(3600):
                await Registrant(BLOG, anyio.Event()).attach(agent, attempt(), attach)
        except RegistrationError as exc:
            failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


@pytest.mark.parametrize("wire", WIRES)
async def test_a_gateway_that_refuses_streams_knows_no_names(wire: str) -> None:
    """Those before this one did so."""

    async def older(session: muxado.Session) -> None:
        session.stop_accepting()
        await session.wait()

    with pytest.raises(RegistrationError, match="no gateway that knows names: it ended"):
        await register(older, wire)


async def test_a_gateway_that_says_nothing_hangs_or_knows_no_names() -> None:
    began = anyio.current_time()
    with pytest.raises(RegistrationError, match=r"within 1 s: it hangs, or is no gateway"):
        await register(muxado.Session.wait)
    assert anyio.current_time() - began == pytest.approx(ANSWER_TIMEOUT, abs=0.1)


async def test_an_echo_is_no_answer() -> None:
    async def echo(session: muxado.Session) -> None:
        stream = await session.accept_stream()
        await stream.send(b"hello\n")
        await session.wait()

    with pytest.raises(RegistrationError, match="knows names: this is no line of JSON"):
        await register(echo)


async def test_a_refusal_is_passed_on_and_cannot_hurt_a_terminal() -> None:
    async def refuse(session: muxado.Session) -> None:
        stream = await session.accept_stream()
        await Lines(stream).next()
        await stream.send(line(refused="no \x1b[31m"))
        await session.wait()

    with pytest.raises(RegistrationError, match=r"it refused: no \\x1b\[31m"):
        await register(refuse)


@pytest.mark.parametrize("wire", WIRES)
async def test_who_comes_before_the_answer_is_served_after_it(wire: str) -> None:
    served: list[bytes] = []

    async def attach(session: muxado.Session) -> None:
        async def handle(stream: muxado.Stream) -> None:
            served.append(await stream.receive())

        await session.net_listener().serve(handle)

    near, far = memory_transports(64)
    config = muxado.Config(wire=wire)
    async with (
        muxado.client(near, config) as agent,
        muxado.server(far, config) as gateway,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(Registrant(BLOG, anyio.Event()).attach, agent, attempt(), attach)
        early = await gateway.open_stream()
        await early.send(b"early")
        control = await gateway.accept_stream()
        await Lines(control).next()
        await all_tasks_blocked()
        assert not served
        await control.send(line(registered=["blog"]))
        while not served:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.1)
        assert served == [b"early"]
        early.reset()
        control.reset()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("wire", WIRES)
async def test_who_stops_gives_its_names_back_first(wire: str) -> None:
    agents, stop = Agents(), anyio.Event()
    near, far = memory_transports(64)
    config = muxado.Config(wire=wire)
    async with (
        muxado.client(near, config) as agent,
        muxado.server(far, config) as gateway,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(agents.serve, gateway)
        tasks.start_soon(Registrant(BLOG, stop).attach, agent, attempt(), muxado.Session.wait)
        blog = agents.destination("blog")
        while not blog.agents:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.1)
        stop.set()
        while blog.agents:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.1)
        assert not agent.closed
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_it_is_tried_again_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")

    async def older(session: muxado.Session) -> None:
        session.stop_accepting()
        await session.wait()

    stop = anyio.Event()

    async def attach(session: muxado.Session, attempt: Attempt) -> None:
        await Registrant(BLOG, stop).attach(session, attempt, muxado.Session.wait)

    async with (
        muxado.listen("tcp://127.0.0.1:0") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, older)
        with pytest.raises(ConnectionLost, match=r"cannot register at tcp://.* after 2 attempt"):
            await partial(
                keep_connected,
                stop=stop,
                config=muxado.Config(),
                ssl_context=None,
                backoff=Backoff(first=0.01),
                max_retries=1,
            )([listener.url], attach)
        tasks.cancel_scope.cancel()
    assert "cannot register at tcp://" in caplog.text
    assert "trying again in" in caplog.text


async def test_who_loses_a_name_keeps_the_others_and_does_not_ask_for_it_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    both, stop = Registration(("blog", "shop")), anyio.Event()
    registrant = Registrant(both, stop)
    agents = Agents()
    for asked in (("blog", "shop"), ("shop",)):
        near, far = memory_transports(64)
        async with (
            muxado.client(near) as agent,
            muxado.server(far) as gateway,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(agents.serve, gateway)
            tasks.start_soon(registrant.attach, agent, attempt(), muxado.Session.wait)
            while not agents.destination("shop").agents:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.1)
            (served,) = agents.destination("shop").agents
            assert served.registration is not None
            assert served.registration.names == asked
            assert served.control is not None
            served.control.send_nowait(
                line(taken=["blog", "never ours", 7], by="192.0.2.1\x1b[31m")
            )
            await anyio.sleep(1)
            assert not stop.is_set()
            tasks.cancel_scope.cancel()
    assert caplog.text.count(r"192.0.2.1\x1b[31m serves blog now, alone") == 1
    assert registrant.replaced is None
    assert [name for name in ("blog", "shop", "never ours", "") if registrant.serves(name)] == [
        "shop"
    ]


async def test_who_loses_its_last_name_stops() -> None:
    agents, stop = Agents(), anyio.Event()
    registrant = Registrant(BLOG, stop)
    near, far = memory_transports(64)
    async with (
        muxado.client(near) as agent,
        muxado.server(far) as gateway,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(agents.serve, gateway)
        tasks.start_soon(registrant.attach, agent, attempt(), muxado.Session.wait)
        blog = agents.destination("blog")
        while not blog.agents:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.1)
        control = blog.agents[0].control
        assert control is not None
        control.send_nowait(line(taken=["blog"], by="newer"))
        await stop.wait()
        tasks.cancel_scope.cancel()
    assert registrant.replaced == "the newer agent newer serves blog now, alone"
