"""The agent's side: nothing is served before the gateway has taken the names, and the log says why it has not."""

from __future__ import annotations

import logging
import math
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py.cli.agents.agents import Agents
from muxado_py.cli.agents.registration import Lines, Registration, RegistrationError, line
from muxado_py.cli.running import ConnectionLost
from muxado_py.cli.serving.dialing import Uplink
from muxado_py.cli.serving.registering import ANSWER_TIMEOUT, Registrant
from muxado_py.frames import WIRES
from muxado_py.service.backoff import Backoff
from muxado_py.service.dialed import Dialed

from ... import virtual_time
from ...helpers.blocked import all_tasks_blocked
from ...transports import memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from anyio.abc import TaskGroup

pytestmark = pytest.mark.anyio

BLOG = Registration(("blog",))
ALONE = Registration(("blog",), exclusive=True)


@pytest.fixture(params=virtual_time.BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_time.backend(request.param)


def attempt() -> Dialed:
    """Of which nobody asks what becomes of it."""
    return Dialed("tcp://127.0.0.1:1", partial(muxado.connect, "tcp://127.0.0.1:1"))


async def attach(
    registrant: Registrant,
    session: muxado.Session,
    serve: Callable[[muxado.Session], Awaitable[None]] = muxado.Session.wait,
) -> None:
    """As a pool does."""
    async with registrant.greet(session, attempt()):
        await serve(session)


@asynccontextmanager
async def connected(
    wire: str = "muxado",
) -> AsyncIterator[tuple[muxado.Session, muxado.Session, TaskGroup]]:
    """An agent's session, that of its gateway, and tasks that end before them."""
    near, far = memory_transports(64)
    config = muxado.Config(wire=wire)
    async with (
        muxado.client(near, config) as agent,
        muxado.server(far, config) as gateway,
        anyio.create_task_group() as tasks,
    ):
        yield agent, gateway, tasks
        tasks.cancel_scope.cancel()


async def register(
    gateway: Callable[[muxado.Session], Coroutine[Any, Any, object]], wire: str = "muxado"
) -> None:
    """Register at ``gateway``, and serve nobody."""
    async with connected(wire) as (agent, session, tasks):
        tasks.start_soon(gateway, session)
        failure = None
        try:
            with anyio.fail_after(3600):
                await attach(Registrant(BLOG, anyio.Event()), agent)
        except RegistrationError as exc:
            failure = exc
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


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        (5, 5.0),
        (0.5, 0.5),
        (None, None),
        (True, None),
        ("5", None),
        (-1, None),
        (float("inf"), None),
        (float("nan"), None),
        (10**400, None),
    ],
)
async def test_a_refusal_may_say_when_to_come_again(said: Any, understood: float | None) -> None:
    async def refuse(session: muxado.Session) -> None:
        stream = await session.accept_stream()
        await Lines(stream).next()
        await stream.send(line(refused="no room", retry_after=said))
        await session.wait()

    with pytest.raises(RegistrationError, match="it refused: no room") as refused:
        await register(refuse)
    assert refused.value.retry_after == understood


@pytest.mark.parametrize("wire", WIRES)
async def test_who_comes_before_the_answer_is_served_after_it(wire: str) -> None:
    served: list[bytes] = []

    async def serve(session: muxado.Session) -> None:
        async def handle(stream: muxado.Stream) -> None:
            served.append(await stream.receive())

        await session.net_listener().serve(handle)

    async with connected(wire) as (agent, gateway, tasks):
        tasks.start_soon(attach, Registrant(BLOG, anyio.Event()), agent, serve)
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


@pytest.mark.parametrize("wire", WIRES)
async def test_who_stops_gives_its_names_back_first(wire: str) -> None:
    agents, stop = Agents(), anyio.Event()
    async with connected(wire) as (agent, gateway, tasks):
        tasks.start_soon(agents.serve, gateway)
        tasks.start_soon(attach, Registrant(BLOG, stop), agent)
        blog = agents.destination("blog")
        while not blog.agents:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.1)
        stop.set()
        while blog.agents:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.1)
        assert not agent.closed


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_it_is_tried_again_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "muxado.cli")

    async def older(session: muxado.Session) -> None:
        session.stop_accepting()
        await session.wait()

    stop = anyio.Event()

    async with (
        muxado.listen("tcp://127.0.0.1:0") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, older)
        with pytest.raises(ConnectionLost, match=r"cannot register at tcp://.* after 2 attempt"):
            await Uplink(
                [listener.url],
                stop,
                config=muxado.Config(),
                ssl_context=None,
                proxy=None,
                greet=Registrant(BLOG, stop).greet,
                backoff=partial(Backoff, first=0.01),
                max_retries=1,
            ).keep()
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
        async with connected() as (agent, gateway, tasks):
            tasks.start_soon(agents.serve, gateway)
            tasks.start_soon(attach, registrant, agent)
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
    assert caplog.text.count(r"192.0.2.1\x1b[31m serves blog now, alone") == 1
    assert registrant.replaced is None
    assert [name for name in ("blog", "shop", "never ours", "") if registrant.serves(name)] == [
        "shop"
    ]


async def test_who_loses_its_last_name_stops() -> None:
    agents, stop = Agents(), anyio.Event()
    registrant = Registrant(BLOG, stop)
    async with connected() as (agent, gateway, tasks):
        tasks.start_soon(agents.serve, gateway)
        tasks.start_soon(attach, registrant, agent)
        blog = agents.destination("blog")
        while not blog.agents:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.1)
        control = blog.agents[0].control
        assert control is not None
        control.send_nowait(line(taken=["blog"], by="newer"))
        await stop.wait()
    assert registrant.replaced == "the newer agent newer serves blog now, alone"


async def until_served(agents: Agents, name: str) -> None:
    while not agents.destination(name).agents:  # noqa: ASYNC110 - nothing tells of it
        await anyio.sleep(0.1)


async def test_who_was_cut_off_hears_when_it_comes_back_that_a_newer_one_has_its_name() -> None:
    """It would take the name back else, though it has been out of the way for long."""
    agents, stop = Agents(), anyio.Event()
    older = Registrant(ALONE, stop, now=anyio.current_time)
    async with connected() as (agent, gateway, tasks):
        tasks.start_soon(agents.serve, gateway)
        tasks.start_soon(attach, older, agent)
        await until_served(agents, "blog")
        await anyio.sleep(60)
    await anyio.sleep(10)
    async with connected() as (agent, gateway, tasks):
        tasks.start_soon(agents.serve, gateway)
        newer = Registrant(ALONE, anyio.Event(), now=anyio.current_time)
        tasks.start_soon(attach, newer, agent)
        await until_served(agents, "blog")
        (owner,) = agents.destination("blog").agents
        await anyio.sleep(3600)
        async with connected() as (again, its_gateway, others):
            others.start_soon(agents.serve, its_gateway)
            failure = None
            try:
                with anyio.move_on_after(10):
                    await attach(older, again)
            except RegistrationError as exc:
                failure = exc
        assert "it refused: the newer agent (unnamed) serves blog, alone" in str(failure)
        assert stop.is_set()
        assert older.replaced == "the newer agent (unnamed) serves blog now, alone"
        assert agents.destination("blog").agents == [owner]
        assert newer.serves("blog")


async def test_who_was_cut_off_goes_on_with_the_names_that_it_has_left() -> None:
    registrant = Registrant(BLOG._replace(names=("blog", "shop")), anyio.Event())
    said: list[dict[str, Any]] = []

    async def answer(session: muxado.Session) -> None:
        stream = await session.accept_stream()
        said.append(await Lines(stream).next())
        taken = "blog" in said[-1]["register"]
        await stream.send(
            line(refused="no", taken=["blog"], by="newer") if taken else line(registered=["shop"])
        )
        await session.wait()

    async with connected() as (agent, gateway, tasks):
        tasks.start_soon(answer, gateway)
        failure = None
        try:
            with anyio.move_on_after(10):
                await attach(registrant, agent)
        except RegistrationError as exc:
            failure = exc
        assert failure is not None
    async with connected() as (agent, gateway, tasks):
        tasks.start_soon(answer, gateway)
        tasks.start_soon(attach, registrant, agent)
        await anyio.sleep(1)
    assert [one["register"] for one in said] == [["blog", "shop"], ["shop"]]


@pytest.mark.parametrize(
    ("registration", "wire", "slept", "had"),
    [
        (ALONE, "muxado", 0.0, pytest.approx(10, abs=1.1)),
        (ALONE, "muxado", 3600.0, pytest.approx(3610, abs=1.1)),
        (ALONE, "smux2", 0.0, None),  # nobody answers pings there
        (BLOG, "muxado", 0.0, None),
    ],
)
async def test_who_comes_back_says_when_it_knew_last_that_it_is_alone(
    registration: Registration,
    wire: str,
    slept: float,
    had: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the machine sleeps before an answer is read, that answer is old."""
    said: list[dict[str, Any]] = []
    clock = 0.0

    async def take(session: muxado.Session) -> None:
        stream = await session.accept_stream()
        said.append(await Lines(stream).next())
        await stream.send(line(registered=["blog"]))
        await session.wait()

    async def ping(session: muxado.Session, timeout: float | None = None) -> float:
        nonlocal clock
        round_trip = await answered(session, timeout)
        if timeout == math.inf and anyio.current_time() > began + 60:
            clock = slept
        return round_trip

    answered = muxado.Session.ping
    monkeypatch.setattr(muxado.Session, "ping", ping)
    registrant = Registrant(registration, anyio.Event(), now=lambda: anyio.current_time() + clock)
    for lasts in (61.5, 1.0):
        began = anyio.current_time()
        async with connected(wire) as (agent, gateway, tasks):
            tasks.start_soon(take, gateway)
            tasks.start_soon(attach, registrant, agent)
            await anyio.sleep(lasts)
        await anyio.sleep(10)
    assert [one.get("had") for one in said] == [None, had]
