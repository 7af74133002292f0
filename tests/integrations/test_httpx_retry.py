"""``httpx_client(retry=...)``: what is safe is sent again, on another session, and nothing is executed twice.

The peers count what they execute; what they do with a request is said for each of them in turn.
"""

from __future__ import annotations

import gc
import importlib
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import h11
import pytest
from anyio import create_task_group, fail_after

import muxado_py as muxado
from muxado_py import Config, Priority, Retry, RetryPolicy
from muxado_py.integrations import httpx_client, retry_verdict
from muxado_py.session.siblings import has_sibling

from ..helpers.blocked import all_tasks_blocked
from ..transports import Stuck, memory_transports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

pytestmark = pytest.mark.anyio

KIB = 1024
AT_ONCE = RetryPolicy(backoff=0.0)


@pytest.fixture(params=["httpx2", "httpx"])
def library(request: pytest.FixtureRequest) -> Any:
    """Each of the two libraries."""
    return importlib.import_module(request.param)


class Servers:
    """Some servers, one at the end of each session, and an opener that prefers the first that is not to be avoided.

    :ivar does: what each of them does with a request: "answer", "break off" when it has executed it, "give back" when it
        has read it, "refuse" it unseen.
    :ivar relents_after: how many requests are given back until one is answered.
    :ivar executed: the bodies of the requests that were executed.
    :ivar streams: those that were opened, in this order.
    :ivar told: what was said with each that was accepted.
    """

    def __init__(self, does: list[str], sessions: list[muxado.Session]) -> None:
        self.does = does
        self.sessions = sessions
        self.relents_after = -1
        self.executed: list[bytes] = []
        self.urgencies: list[int] = []
        self.told: list[dict[str, bytes]] = []
        self.streams: list[muxado.Stream] = []
        self.on_open: Callable[[muxado.Session, muxado.Stream], object] = lambda *_: None

    async def open_stream(
        self,
        *,
        priority: Priority | None = None,
        metadata: Mapping[str, bytes] | None = None,
        timeout: float | None = None,
        avoid: Collection[muxado.Stream] = (),
    ) -> muxado.Stream:
        refusal = muxado.GoneAwayError("no server is left", retry=Retry.NEVER_SENT)
        others: list[muxado.Stream] = []
        for session in self.sessions:
            try:
                stream = session.open_stream_nowait(priority=priority, metadata=metadata)
            except muxado.SessionError:
                continue
            if has_sibling(stream, avoid):
                others.append(stream)
                continue
            break
        else:
            if not others:
                raise refusal
            stream = others.pop(0)
        for one in others:
            one.reset()
        self.streams.append(stream)
        self.on_open(next(one for one in self.sessions if stream in one.streams()), stream)
        return stream

    async def serve(self, session: muxado.Session, number: int) -> None:
        if self.does[number] == "refuse":
            session.stop_accepting()
        else:
            with suppress(muxado.MuxadoError):
                await session.net_listener().serve(lambda stream: self._handle(stream, number))

    async def _handle(self, stream: muxado.Stream, number: int) -> None:
        """One connection; requests that come one after another are answered so."""
        self.told.append(dict(stream.metadata))
        connection = h11.Connection(h11.SERVER)
        body = b""
        with suppress(muxado.MuxadoError):
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    try:
                        connection.receive_data(await stream.receive())
                    except anyio.EndOfStream:
                        return
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    if self.does[number] == "give back":
                        stream.refuse()
                        self.relents_after -= 1
                        if not self.relents_after:
                            self.does[number] = "answer"
                        return
                    self.executed.append(body)
                    self.urgencies.append(stream.priority.urgency)
                    if self.does[number] == "break off":
                        stream.reset()
                        return
                    answer = connection.send(
                        h11.Response(status_code=200, headers=[("content-length", str(len(body)))])
                    )
                    await stream.send(answer or b"")
                    if self.does[number] == "begin":
                        await anyio.sleep_forever()
                    await stream.send(connection.send(h11.Data(data=body)) or b"")
                    connection.send(h11.EndOfMessage())
                    connection.start_next_cycle()
                    body = b""
                elif isinstance(event, h11.ConnectionClosed):
                    return


@asynccontextmanager
async def servers(*does: str, config: Config | None = None) -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(create_task_group())
        sessions: list[muxado.Session] = []
        those = Servers(list(does), sessions)
        for number in range(len(does)):
            near, far = memory_transports()
            sessions.append(await stack.enter_async_context(muxado.client(near, config)))
            accepted = await stack.enter_async_context(muxado.server(far, config))
            tasks.start_soon(those.serve, accepted, number)
            await sessions[-1].ping()
        yield those
        tasks.cancel_scope.cancel()


async def body_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


# What is sent again.


@pytest.mark.parametrize("first", ["refuse", "give back"])
@pytest.mark.parametrize("how", ["bytes", "iterator", "none"])
async def test_what_nobody_executed_is_sent_to_another_session_whatever_its_method(
    library: Any, first: str, how: str
) -> None:
    async with (
        servers(first, "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        content = {"bytes": b"ab" * 20_000, "iterator": body_of(b"a" * 30_000, b"b"), "none": None}
        answer = await client.post("http://app/", content=content[how])
        expected = {"bytes": b"ab" * 20_000, "iterator": b"a" * 30_000 + b"b", "none": b""}[how]
        assert answer.content == expected
        assert those.executed == [expected]
        assert len(those.streams) == 2


async def test_what_never_left_is_sent_again(library: Any) -> None:
    async with (
        servers("answer", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):

        def abort(session: muxado.Session, stream: muxado.Stream) -> None:
            if len(those.streams) == 1:
                session.abort()

        those.on_open = abort
        assert (await client.post("http://app/", content=b"once")).content == b"once"
        assert those.executed == [b"once"]


@pytest.mark.parametrize(
    ("method", "says", "times"),
    [
        ("POST", None, 1),
        ("POST", True, 2),
        ("PATCH", None, 1),
        ("PUT", None, 2),
        ("DELETE", None, 2),
        ("GET", None, 2),
        ("GET", False, 1),
    ],
)
async def test_what_may_have_been_executed_is_sent_again_only_if_it_is_idempotent(
    library: Any, method: str, says: bool | None, times: int
) -> None:
    extensions = {} if says is None else {"idempotent": says}
    async with (
        servers("break off", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        if times == 1:
            with pytest.raises(library.ReadError) as failed:
                await client.request(method, "http://app/", content=b"x", extensions=extensions)
            assert retry_verdict(failed.value) is Retry.UNKNOWN
        else:
            answer = await client.request(
                method, "http://app/", content=b"x", extensions=extensions
            )
            assert answer.status_code == 200
        assert those.executed == [b"x"] * times


async def test_what_asks_for_another_protocol_is_not_sent_again(library: Any) -> None:
    async with (
        servers("break off", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        headers = {"connection": "upgrade", "upgrade": "websocket"}
        with pytest.raises(library.TransportError):
            await client.get("http://app/", headers=headers)
        assert len(those.streams) == 1


async def test_no_more_than_so_many_refuse_one_request(library: Any) -> None:
    async with (
        servers(*["refuse"] * 5, "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        with pytest.raises(library.ConnectError) as failed:
            await client.post("http://app/", content=b"x")
        assert retry_verdict(failed.value) is Retry.REFUSED
        assert len(those.streams) == 3


async def test_the_verdict_is_that_of_all_attempts(library: Any) -> None:
    async with (
        servers("break off", "refuse", "refuse", "refuse") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        with pytest.raises(library.ConnectError) as failed:
            await client.get("http://app/")
        assert retry_verdict(failed.value) is Retry.UNKNOWN
        assert len(those.streams) == 4


async def test_the_only_session_is_asked_again_after_a_while(library: Any) -> None:
    async with servers("give back") as those:
        those.relents_after = 2
        async with httpx_client(
            those.sessions[0], module=library, retry=RetryPolicy(backoff=0.001)
        ) as client:
            assert (await client.post("http://app/", content=b"x")).content == b"x"
            assert those.executed == [b"x"]
            those.does[0], those.relents_after = "give back", 3
            with pytest.raises(library.ConnectError) as failed:
                await client.post("http://app/", content=b"y")
            assert retry_verdict(failed.value) is Retry.REFUSED
            assert those.executed == [b"x"]


async def test_without_a_policy_each_request_is_sent_once(library: Any) -> None:
    async with servers("refuse", "answer") as those, httpx_client(those, module=library) as client:
        with pytest.raises(library.ConnectError) as failed:
            await client.get("http://app/")
        assert retry_verdict(failed.value) is Retry.REFUSED
        assert len(those.streams) == 1


# What is kept for it.


@pytest.mark.parametrize("size", [64 * KIB, 64 * KIB + 1])
async def test_a_body_is_kept_up_to_its_bound(library: Any, size: int) -> None:
    pieces = [bytes(16 * KIB)] * (size // (16 * KIB)) + [bytes(size % (16 * KIB))]
    async with (
        servers("give back", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        if size > 64 * KIB:
            with pytest.raises(library.ConnectError) as failed:
                await client.post("http://app/", content=body_of(*pieces))
            assert retry_verdict(failed.value) is Retry.REFUSED
            assert those.executed == []
        else:
            await client.post("http://app/", content=body_of(*pieces))
            assert those.executed == [bytes(size)]
        those.does[0] = "answer"
        long = bytes(1024 * KIB)
        assert (await client.post("http://app/", content=body_of(long))).content == long


async def test_all_bodies_together_are_bounded(library: Any) -> None:
    """The bodies of others that are not answered yet leave no room for this one's."""
    policy = RetryPolicy(backoff=0.0, replay_limit=1000, replay_total=1500)
    async with (
        servers("begin", "give back", "answer") as those,
        httpx_client(those, module=library, retry=policy) as client,
        create_task_group() as tasks,
    ):

        async def upload() -> AsyncIterator[bytes]:
            yield bytes(1000)
            await anyio.sleep_forever()

        tasks.start_soon(lambda: client.post("http://app/", content=upload()))
        await all_tasks_blocked()
        those.does[0] = "give back"
        with pytest.raises(library.ConnectError):
            await client.post("http://app/", content=bytes(600))
        tasks.cancel_scope.cancel()
        assert those.executed == []
    async with (
        servers("give back", "answer") as those,
        httpx_client(those, module=library, retry=policy) as client,
    ):
        for _ in range(3):  # what was kept is let go
            assert (await client.post("http://app/", content=bytes(900))).content == bytes(900)


async def test_a_mistake_in_a_body_is_the_callers(library: Any) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        raise LookupError("no more")

    async with (
        servers("answer", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        with pytest.raises(LookupError):
            await client.put("http://app/", content=body())
        assert len(those.streams) == 1
        assert those.executed == []


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("name", ["ReadError", "RemoteProtocolError"])
async def test_a_body_that_breaks_off_is_never_sent_as_a_whole_one(
    library: Any, name: str, method: str
) -> None:
    """What is passed on from another server fails with the exceptions of the library."""

    async def body() -> AsyncIterator[bytes]:
        yield b"the first part"
        raise failure

    failure = getattr(library, name)("the other server broke off")
    async with (
        servers("answer", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        with pytest.raises(type(failure), match="the other server broke off"):
            await client.request(method, "http://app/", content=body())
        assert len(those.streams) == 1
        assert those.executed == []
        assert (await client.get("http://app/")).status_code == 200


async def test_an_attempt_that_fails_in_the_middle_of_a_body_leaves_nothing_to_clean_up(
    library: Any,
) -> None:
    """Trio tells of a generator that the collector finds in the middle."""

    async def body() -> AsyncIterator[bytes]:
        yield b"one, "
        those.sessions[0].abort()
        yield b"two, "
        yield b"three"

    async with (
        servers("answer", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        assert (await client.put("http://app/", content=body())).content == b"one, two, three"
        gc.collect()
        await anyio.lowlevel.checkpoint()
    assert len(those.streams) == 2


async def test_the_request_keeps_its_own_body(library: Any) -> None:
    async with (
        servers("refuse", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        request = client.build_request("POST", "http://app/", content=b"mine")
        stream = request.stream
        await client.send(request)
        assert request.stream is stream
        assert (await client.send(request)).content == b"mine"


# How much is sent again.


async def test_a_budget_that_is_empty_says_so(library: Any) -> None:
    policy = RetryPolicy(budget_share=0.0, budget_per_second=0.1)
    async with (
        servers("refuse", "answer") as those,
        httpx_client(those, module=library, retry=policy) as client,
    ):
        assert (await client.post("http://app/", content=b"a")).content == b"a"
        with pytest.raises(library.ConnectError, match="do not send it again above") as failed:
            await client.post("http://app/", content=b"b")
        assert isinstance(failed.value.__cause__, muxado.RetryBudgetError)
        assert retry_verdict(failed.value) is Retry.REFUSED
        assert those.executed == [b"a"]


async def test_what_never_left_costs_no_budget(library: Any) -> None:
    policy = RetryPolicy(budget_share=0.0, budget_per_second=0.0, backoff=0.0)
    async with (
        servers("answer", "answer", "answer") as those,
        httpx_client(those, module=library, retry=policy) as client,
    ):

        def abort(session: muxado.Session, stream: muxado.Stream) -> None:
            if len(those.streams) < 3:
                session.abort()

        those.on_open = abort
        assert (await client.post("http://app/", content=b"x")).content == b"x"


# Each request by itself.


@pytest.mark.parametrize("retry", [None, AT_ONCE])
async def test_a_request_has_a_priority_of_its_own(library: Any, retry: RetryPolicy | None) -> None:
    async with (
        servers("answer") as those,
        httpx_client(those, module=library, retry=retry, priority=Priority(5)) as client,
    ):
        for urgency in (None, 1, 6, None):
            wanted = {} if urgency is None else {"priority": Priority(urgency)}
            await client.get("http://app/", extensions=wanted)
        assert those.urgencies == [5, 1, 6, 5]
        assert len(those.streams) == (1 if retry is None else 4)
        with pytest.raises(TypeError, match="Priority"):
            await client.get("http://app/", extensions={"priority": 3})


async def test_an_answer_to_the_request_before_is_none_to_this_one(library: Any) -> None:
    async with servers("answer") as those, httpx_client(those, module=library) as client:
        await client.post("http://app/", content=b"first")
        those.does[0] = "break off"
        with pytest.raises(library.ReadError) as failed:
            await client.post("http://app/", content=b"second")
        assert len(those.streams) == 1
        assert retry_verdict(failed.value) is Retry.UNKNOWN


@pytest.mark.parametrize("retry", [None, AT_ONCE])
@pytest.mark.parametrize("patience", ["deadline", "timeout"])
async def test_patience_that_ends_before_anything_left_loses_no_verdict(
    library: Any, retry: RetryPolicy | None, patience: str
) -> None:
    near, far = memory_transports()
    stuck = Stuck(near)
    async with muxado.client(stuck) as session, muxado.server(far) as accepted:
        await session.ping()
        stuck.hold()
        before = await session.open_stream()
        await before.send(b"in the way")
        await all_tasks_blocked()
        async with httpx_client(session, module=library, retry=retry) as client:
            if patience == "deadline":
                kind, options = library.ReadTimeout, {"extensions": {"deadline": 0.05}}
            else:
                kind, options = library.ConnectTimeout, {"timeout": library.Timeout(30, read=0.05)}
            with pytest.raises(kind) as failed:
                await client.post("http://app/", content=b"x", **options)
            assert retry_verdict(failed.value) is Retry.NEVER_SENT
        stuck.release()
        with fail_after(20):
            far_stream = await accepted.accept_stream()
            assert await far_stream.receive() == b"in the way"
        await session.ping()
        assert accepted.statistics().peer_streams == 1
        before.reset()
        far_stream.reset()


@pytest.mark.parametrize("retry", [None, AT_ONCE])
async def test_a_deadline_is_for_all_of_a_request(library: Any, retry: RetryPolicy | None) -> None:
    async with (
        servers("begin") as those,
        httpx_client(those, module=library, retry=retry, timeout=30) as client,
    ):
        with pytest.raises(library.ReadTimeout, match=r"no answer in 0\.5 s") as failed:
            await client.post("http://app/", content=b"body", extensions={"deadline": 0.5})
        assert retry_verdict(failed.value) is Retry.PROCESSED  # it had begun
        assert those.executed == [b"body"]

        async def slow() -> AsyncIterator[bytes]:
            yield b"a"
            await anyio.sleep_forever()

        with pytest.raises(library.ReadTimeout) as failed:
            await client.put("http://app/", content=slow(), extensions={"deadline": 0.5})
        assert retry_verdict(failed.value) is Retry.UNKNOWN
        those.does[0] = "answer"
        response = await client.post(
            "http://app/", content=b"body", extensions={"deadline": 30, "priority": Priority(1)}
        )
        assert response.content == b"body"
        with pytest.raises(TypeError, match="deadline"):
            await client.get("http://app/", extensions={"deadline": "soon"})


async def test_each_attempt_tells_its_number_and_what_is_left_of_the_deadline(
    library: Any,
) -> None:
    async with (
        servers("give back", "give back", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        await client.post("http://app/", content=b"x", extensions={"deadline": 50})
        assert [one.get("attempt") for one in those.told] == [None, b"2", b"3"]
        left = [int(one["time-left"]) for one in those.told]
        assert 50_001 >= left[0] >= left[1] >= left[2] > 0
        those.told.clear()
        await client.post("http://app/", content=b"x")
        assert those.told == [{}, {"attempt": b"2"}, {"attempt": b"3"}]


async def test_what_cannot_be_is_said_at_the_call(library: Any) -> None:
    async with servers("answer") as those:
        with pytest.raises(ValueError, match="HTTP/2"):
            httpx_client(those, module=library, retry=AT_ONCE, http2=True)
        with pytest.raises(TypeError, match="RetryPolicy"):
            httpx_client(those, module=library, retry=3)  # type: ignore[call-overload]
        async with httpx_client(those, module=library, retry=AT_ONCE) as client:
            with pytest.raises(TypeError, match="idempotent"):
                await client.get("http://app/", extensions={"idempotent": 1})


# Under way while servers go.


@pytest.mark.slow
async def test_servers_that_drain_lose_no_post_and_execute_none_twice(library: Any) -> None:
    """Each server drains in turn, over and over, while POSTs are under way through the others."""
    executed: list[bytes] = []
    limit = library.Limits(max_connections=20)
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(create_task_group())
        sessions: list[muxado.Session] = []
        those = Servers(["answer"] * 3, sessions)
        those.executed = executed
        ends: list[anyio.Event] = []

        async def keep(number: int, ready: anyio.Event) -> None:
            while True:
                near, far = memory_transports()
                async with muxado.client(near) as dialed, muxado.server(far) as accepted:
                    end = ends[number] = anyio.Event()
                    sessions.insert(0, dialed)  # the newest, so every drain meets requests
                    async with create_task_group() as serving:
                        serving.start_soon(those.serve, accepted, number)
                        ready.set()
                        await end.wait()
                        await accepted.drain(20)
                        serving.cancel_scope.cancel()
                sessions.remove(dialed)

        for number in range(3):
            ready = anyio.Event()
            ends.append(anyio.Event())
            tasks.start_soon(keep, number, ready)
            await ready.wait()
        client = await stack.enter_async_context(
            httpx_client(those, module=library, retry=AT_ONCE, limits=limit, timeout=60)
        )
        done = 0

        async def post(first: int) -> None:
            nonlocal done
            for number in range(first, first + 40):
                body = b"%d" % number
                assert (await client.post("http://app/", content=body)).content == body
                done += 1
                if done % 25 == 0:
                    ends[done // 25 % 3].set()

        async with create_task_group() as posting:
            for first in range(0, 400, 40):
                posting.start_soon(post, first)
        tasks.cancel_scope.cancel()
    assert sorted(executed, key=int) == [b"%d" % number for number in range(400)]


# What is not sent at all.


async def test_where_all_are_refused_most_requests_are_not_sent_and_are_told_so(
    library: Any,
) -> None:
    async with (
        servers("refuse") as those,
        httpx_client(those, module=library, retry=RetryPolicy(max_refusals=1)) as client,
    ):
        verdicts: list[Retry | None] = []
        for _ in range(200):
            with pytest.raises(library.ConnectError) as failed:
                await client.post("http://app/", content=b"?")
            verdicts.append(muxado.retry_verdict(failed.value))
            if verdicts[-1] is Retry.NEVER_SENT:
                assert isinstance(failed.value.__cause__, muxado.RetryBudgetError)
                assert str(failed.value).startswith("most requests are refused")
    assert set(verdicts) == {Retry.REFUSED, Retry.NEVER_SENT}
    assert verdicts[:10] == [Retry.REFUSED] * 10
    assert len(those.streams) == verdicts.count(Retry.REFUSED)
    assert verdicts.count(Retry.NEVER_SENT) > 50


# A body whose source fails.


@pytest.mark.parametrize("retry", [None, AT_ONCE])
@pytest.mark.parametrize("other", [Retry.NEVER_SENT, Retry.REFUSED, Retry.PROCESSED])
@pytest.mark.parametrize("sent", [True, False])
async def test_what_the_source_of_a_body_raises_says_nothing_of_the_request(
    library: Any, retry: RetryPolicy | None, other: Retry, sent: bool
) -> None:
    """It may be the error of another call, as in a relay; it stays what it was, too."""
    failure = muxado.StreamRefusedError("of another call", retry=other)

    async def body() -> AsyncIterator[bytes]:
        if sent:
            yield b"half of an order"
            while not those.told:
                await anyio.lowlevel.checkpoint()
        raise failure

    async with (
        servers("answer") as those,
        httpx_client(those, module=library, retry=retry) as client,
    ):
        with pytest.raises(muxado.StreamRefusedError) as failed:
            await client.post("http://app/", content=body())
        assert failed.value is failure
        assert failure.retry is other
        verdict = retry_verdict(failure)
        if sent:
            assert verdict is Retry.UNKNOWN
        else:
            assert verdict in (Retry.NEVER_SENT, Retry.UNKNOWN)  # its head may have gone
        assert len(those.streams) <= 1


async def test_a_source_that_raises_the_librarys_own_error_is_not_sent_again(library: Any) -> None:
    failure = library.ConnectError("of another server")
    failure.__cause__ = cause = muxado.StreamRefusedError("there", retry=Retry.REFUSED)

    async def body() -> AsyncIterator[bytes]:
        yield b"half of an order"
        while not those.told:
            await anyio.lowlevel.checkpoint()
        raise failure

    async with (
        servers("answer", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        with pytest.raises(library.ConnectError) as failed:
            await client.post("http://app/", content=body())
        assert retry_verdict(failed.value) is Retry.UNKNOWN
        assert cause.retry is Retry.REFUSED
        assert len(those.streams) == 1


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_a_source_may_fill_its_buffer_again(library: Any, kind: Any) -> None:
    buffer = bytearray(4)

    async def body() -> AsyncIterator[Any]:
        for letter in b"abc":
            buffer[:] = bytes([letter]) * 4
            yield kind(buffer)

    async with (
        servers("give back", "answer") as those,
        httpx_client(those, module=library, retry=AT_ONCE) as client,
    ):
        assert (await client.post("http://app/", content=body())).content == b"aaaabbbbcccc"
        assert those.executed == [b"aaaabbbbcccc"]


# One that was given up.


class Endless:
    """A body; no generator, of which trio says that nobody closed it."""

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> bytes:
        return bytes(50 * KIB)


@pytest.mark.parametrize("retry", [None, AT_ONCE])
async def test_a_request_that_is_given_up_leaves_no_stream_behind(
    library: Any, retry: RetryPolicy | None
) -> None:
    """Its bytes are of no use to anybody, and would keep the stream, and its slot, until they have gone."""

    near, far = memory_transports()
    async with (
        muxado.client(near) as session,
        muxado.server(far) as accepted,
        httpx_client(session, module=library, retry=retry) as client,
    ):
        for _ in range(3):
            with pytest.raises(library.TimeoutException):
                await client.post("http://app/", content=Endless(), timeout=0.1)
            await accepted.accept_stream()  # nobody reads what it was sent
        await session.ping()
        assert session.open_streams == 0
