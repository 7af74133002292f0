"""What cannot be sent is refused at the call, by name, and nothing has changed then.

Each call is made with each wrong argument on a session that lives, and afterwards the session still does:
another stream is opened, carries bytes both ways, and ends as it should.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from anyio import create_task_group, fail_after

import muxado_py as muxado
from muxado_py.arguments import octets
from muxado_py.dialing.schemes import parse_url
from muxado_py.integrations import (
    aiohttp_connector,
    httpx_client,
    open_connection,
    pool_collector,
    requests_adapter,
    serve_asgi,
    serve_wsgi,
)

from .transports import memory_transports

if TYPE_CHECKING:
    from .conftest import SessionPair

pytestmark = pytest.mark.anyio

CODES: tuple[Any, ...] = (-1, 2**32, 10**30, "1", b"1", 1.0, None, True)
SECONDS: tuple[Any, ...] = (-1, float("nan"), "1", b"", True, [])
NO_BYTES: tuple[Any, ...] = (5, 0, "text", [1, 2], (1,), None, 1.5, object())
NO_PRIORITY: tuple[Any, ...] = (0, 3, "urgent", (1, 2), object())
NO_TYPE: tuple[Any, ...] = (-1, 2**32 - 1, 2**40, "1", 1.5, True, b"abcd")
NO_FUNCTION: tuple[Any, ...] = (5, "f", object())

Call = "Callable[[muxado.Session, muxado.Stream, Any], Any]"

SYNCHRONOUS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "reset": (lambda session, stream, wrong: stream.reset(wrong), CODES),
    "reset with a refusal": (lambda session, stream, wrong: stream.reset(wrong), (5, 9)),
    "go_away": (lambda session, stream, wrong: session.go_away(wrong), CODES),
    "go_away's text": (lambda session, stream, wrong: session.go_away(0, wrong), NO_BYTES),
    "send_nowait": (lambda session, stream, wrong: stream.send_nowait(wrong), NO_BYTES),
    "on_readable": (lambda session, stream, wrong: stream.set_callbacks(wrong, None), NO_FUNCTION),
    "on_writable": (lambda session, stream, wrong: stream.set_callbacks(None, wrong), NO_FUNCTION),
    "receive_nowait": (
        lambda session, stream, wrong: stream.receive_nowait(wrong),
        (0, -1, "1", 1.5),
    ),
    "priority": (lambda session, stream, wrong: setattr(stream, "priority", wrong), NO_PRIORITY),
    "httpx_client": (
        lambda session, stream, wrong: httpx_client(session, priority=wrong),
        NO_PRIORITY,
    ),
}


def _open(pool: Any) -> Any:
    async def enter(wrong: Any) -> None:
        async with pool(wrong):
            pass

    return enter


async def _connect(**wrong: Any) -> None:
    async with muxado.connect("tcp://127.0.0.1:1", **wrong):
        pass


async def _listen(**wrong: Any) -> None:
    async with muxado.listen("tcp://127.0.0.1:0", **wrong):
        pass


async def _enter(make: Any, config: Any) -> None:
    near, far = memory_transports()
    async with near, far, make(near, config):
        pass


ASYNCHRONOUS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "send": (lambda session, stream, wrong: stream.send(wrong), NO_BYTES),
    "receive": (lambda session, stream, wrong: stream.receive(wrong), (0, -1, "1", 1.5)),
    "ping": (lambda session, stream, wrong: session.ping(wrong), SECONDS),
    "wait_for_peer": (lambda session, stream, wrong: session.wait_for_peer(wrong), SECONDS),
    "drain": (lambda session, stream, wrong: session.drain(wrong), (*SECONDS, None)),
    "open_stream": (
        lambda session, stream, wrong: session.open_stream(priority=wrong),
        NO_PRIORITY,
    ),
    "net_dial": (lambda session, stream, wrong: session.net_dial(priority=wrong), NO_PRIORITY),
    "dial_socket": (
        lambda session, stream, wrong: session.dial_socket(priority=wrong),
        NO_PRIORITY,
    ),
    "forward": (
        lambda session, stream, wrong: muxado.forward(
            session, session.net_listener(), priority=wrong
        ),
        NO_PRIORITY,
    ),
    "serve": (lambda session, stream, wrong: session.net_listener().serve(wrong), NO_FUNCTION),
    "serve_asgi": (
        lambda session, stream, wrong: serve_asgi(
            print, session.net_listener(), graceful_timeout=wrong
        ),
        SECONDS,
    ),
    "serve_asgi's first byte": (
        lambda session, stream, wrong: serve_asgi(
            print, session.net_listener(), first_byte_timeout=wrong
        ),
        SECONDS,
    ),
    "serve_asgi's server": (
        lambda session, stream, wrong: serve_asgi(print, session.net_listener(), server=wrong),
        ("hypercorn", None),
    ),
    "serve_wsgi": (
        lambda session, stream, wrong: serve_wsgi(
            print, session.net_listener(), graceful_timeout=wrong
        ),
        SECONDS,
    ),
    "serve_wsgi's threads": (
        lambda session, stream, wrong: serve_wsgi(print, session.net_listener(), threads=wrong),
        (0, "8", 1.5, True),
    ),
    "connect": (lambda session, stream, wrong: _connect(config=wrong), ({}, 5, "yamux")),
    "connect's context": (lambda session, stream, wrong: _connect(ssl_context=wrong), (True, 5)),
    "listen": (lambda session, stream, wrong: _listen(config=wrong), ({}, 5, "yamux")),
    "listen's context": (lambda session, stream, wrong: _listen(ssl_context=wrong), (True, 5)),
    "client": (lambda session, stream, wrong: _enter(muxado.client, wrong), ({}, "yamux")),
    "server": (lambda session, stream, wrong: _enter(muxado.server, wrong), ({}, "yamux")),
}


async def still_lives(dialed: muxado.Session, accepted: muxado.Session) -> None:
    """A stream each way, with bytes, and its end."""
    for opener, acceptor in ((dialed, accepted), (accepted, dialed)):
        with fail_after(10):
            near = await opener.open_stream()
            await near.send(b"question")
            far = await acceptor.accept_stream()
            assert await far.receive() == b"question"
            await far.send(b"answer")
            await far.aclose()
            assert await near.receive() == b"answer"
            await near.aclose()


def refusal() -> Any:
    """What a caller gets: it says what was wrong, and not from the depths of a struct."""
    return pytest.raises(
        (TypeError, ValueError), match=r"must be|cannot be|only bytes|Priority|<|float"
    )


@pytest.mark.parametrize("name", [*SYNCHRONOUS, *ASYNCHRONOUS])
async def test_it_is_refused_at_the_call_and_nothing_has_changed(
    name: str, session_pair: SessionPair
) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"first")
        far = await accepted.accept_stream()
        assert await far.receive() == b"first"
        await far.send(b"unread")
        while not stream.is_readable:
            await dialed.ping()
        call, wrongs = (SYNCHRONOUS | ASYNCHRONOUS)[name]
        for wrong in wrongs:
            with fail_after(10), refusal():
                result = call(dialed, stream, wrong)
                if name in ASYNCHRONOUS:
                    await result
            await dialed.ping()
        await still_lives(dialed, accepted)
        await stream.send(b"second")
        assert await far.receive() == b"second"
        assert await stream.receive() == b"unread"
        await stream.aclose()


async def test_a_type_is_refused_where_it_is_given(session_pair: SessionPair) -> None:
    async with session_pair(muxado.Config(typed_streams=True)) as (dialed, accepted):
        for wrong in (*NO_TYPE, None):
            with pytest.raises((TypeError, ValueError), match=r"^stream_type"):
                await dialed.open_stream(stream_type=wrong)
            assert dialed.statistics().live_streams == 0
        stream = await dialed.open_stream(stream_type=7)
        await stream.send(b"x")
        far = await accepted.accept_stream()
        assert (far.stream_type, await far.receive()) == (7, b"x")


@pytest.mark.parametrize(
    "item",
    [
        bytearray(b"bytes"),
        memoryview(b"bytes"),
        memoryview(b"_b_y_t_e_s")[1::2],
        array("I", range(1000)),
        memoryview(array("I", range(1000))),
        memoryview(bytes(range(60))).cast("B", (3, 4, 5)),
        memoryview(b"").cast("c"),
    ],
    ids=["bytearray", "view", "strided", "array", "view of ints", "three dimensions", "empty"],
)
async def test_what_has_bytes_is_sent_whole_by_either_call(
    item: Any, session_pair: SessionPair
) -> None:
    """Its length in items says nothing of its bytes."""
    whole = memoryview(item).tobytes()
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b">")
        await stream.send(item)
        assert stream.send_nowait(item) == len(whole)
        await stream.send_eof()
        far = await accepted.accept_stream()
        assert b"".join([chunk async for chunk in far]) == b">" + whole + whole


def test_a_huge_int_takes_no_memory() -> None:
    with pytest.raises(TypeError, match="only bytes can be sent, got int 10000000000"):
        octets(10**10)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("typed_streams", "half_close", "cap_in_flight")
            for value in ("no", 0, 1, None)
        ),
        *(
            (name, True)
            for name in ("max_streams", "send_buffer", "heartbeat_interval", "close_timeout")
        ),
    ],
)
def test_a_flag_is_no_number_and_no_text(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be .*, got {value!r}$"):
        muxado.Config(**{name: value})


@pytest.mark.parametrize("value", [True, False, 1.0, "3", None])
def test_a_flag_is_no_urgency(value: Any) -> None:
    with pytest.raises(ValueError, match=f"^urgency must be an int from 0 to 7, got {value!r}$"):
        muxado.Priority(value)
    with pytest.raises(ValueError, match=f"^weight must be an int from 1 to 256, got {value!r}$"):
        muxado.Priority(weight=value)


NOT_ABLE: dict[str, tuple[Any, str]] = {
    "aiohttp_connector": (aiohttp_connector, "session must be a Session, or a pool"),
    "httpx_client": (httpx_client, "session must be a Session, or a pool"),
    "httpx_client that asks again": (
        partial(httpx_client, retry=muxado.RetryPolicy()),
        "session must be a Session, or a pool",
    ),
    "requests_adapter": (requests_adapter, "requests blocks, and takes a pool"),
    "pool_collector": (lambda wrong: pool_collector(wrong, "pool"), "pool must be a Pool"),
    "serve_asgi": (partial(serve_asgi, print), "listener must be a listener of streams"),
    "serve_wsgi": (partial(serve_wsgi, print), "listener must be a listener of streams"),
    "serve_calls": (lambda wrong: muxado.serve_calls(wrong, print), "listener must be a listener"),  # type: ignore[arg-type]
    "forward": (lambda wrong: muxado.forward(wrong, wrong), "session must be a Session, or a pool"),
    "bridge": (lambda wrong: muxado.bridge(wrong, wrong), "a must be a byte stream"),
    "open_connection": (open_connection, "stream must be a Stream"),
    "Caller": (muxado.Caller, "opener must be a Session"),
    "StreamConnectable": (muxado.StreamConnectable, "session must be a Session, or a Pool"),
    "traced_call": (lambda wrong: muxado.traced_call(wrong, "call", b""), "calls must be a Pool"),
    "client": (muxado.client, "transport must be a byte stream"),
    "server": (muxado.server, "transport must be a byte stream"),
    "accept_pool": (_open(muxado.accept_pool), "a listener must be what"),
    "connect_pool": (_open(muxado.connect_pool), "a target must be a URL or"),
}


@pytest.mark.parametrize(
    "wrong", [None, 5, object(), ...], ids=["None", "int", "object", "unentered"]
)
@pytest.mark.parametrize("name", NOT_ABLE)
async def test_what_cannot_do_what_is_wanted_is_refused_where_it_is_given(
    name: str, wrong: Any, anyio_backend_name: str
) -> None:
    """Most often it is what has not been entered yet."""
    if name == "open_connection" and anyio_backend_name == "trio":
        pytest.skip("asyncio's own")
    call, says = NOT_ABLE[name]
    if wrong is ...:
        wrong = muxado.connect("tcp://localhost:1")
    with pytest.raises(TypeError, match=f"^{says}.*, got "):
        found = call(wrong)
        if isinstance(found, Awaitable):
            await found


@pytest.mark.parametrize("url", [None, 5, b"tcp://localhost:1", ("localhost", 1)])
def test_what_is_no_text_is_no_url(url: Any) -> None:
    with pytest.raises(TypeError, match=r"^url must be a str, got"):
        parse_url(url)


# The codes that can be said.


@pytest.mark.parametrize("wire", ["muxado", "yamux", "smux1", "smux2", "muxado1"])
async def test_a_code_other_than_0_ends_the_session_on_both_sides(
    wire: str, session_pair: SessionPair
) -> None:
    """Alike on every wire: whoever waits for a stream, for the end, or in ``serve`` is told."""
    async with session_pair(muxado.Config(wire=wire)) as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"x")
        kept = await accepted.accept_stream()
        await kept.receive()
        with fail_after(10):
            async with create_task_group() as tasks:
                tasks.start_soon(accept_in_vain, accepted)
                tasks.start_soon(accepted.wait)
                tasks.start_soon(accepted.net_listener().serve, stream_ends)
                await dialed.ping() if wire in ("muxado", "yamux") else None
                accepted.go_away(2, b"broken")
                assert accepted.closed
            # Never an end of file: as the session's end, or where the wire cannot say why, as a reset.
            with pytest.raises((muxado.SessionError, muxado.StreamResetError)):
                await stream.receive()


async def test_what_a_code_gives_up_is_not_reported_as_lost(session_pair: SessionPair) -> None:
    """Whoever ends a session by a code does not care for what it held."""
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"x")
        await accepted.accept_stream()
        with fail_after(10):
            stream.send_nowait(bytes(100_000))
            dialed.go_away(2)
            await dialed.aclose()


async def accept_in_vain(session: muxado.Session) -> None:
    with pytest.raises(
        muxado.SessionClosedError, match=r"you ended the session, INTERNAL_ERROR\(2\)"
    ):
        await session.accept_stream()


async def stream_ends(stream: muxado.Stream) -> None:
    raise AssertionError("no stream is served")


@pytest.mark.parametrize("code", [0, 1, 77, 2**32 - 1])
async def test_every_code_of_32_bits_arrives(code: int, session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send(b"x")
        far = await accepted.accept_stream()
        assert await far.receive() == b"x"
        stream.reset(code)
        with pytest.raises(muxado.StreamResetError) as caught:
            await far.receive()
        assert caught.value.code == code


# What a peer says.

TEXT = "x\n06:00:00 INFO    agent connected\x1b[31m\x1b]0;title\x07\r\u202egnp\u2028\x85\x00\ufeffü€ end"


async def test_what_a_peer_says_is_one_line_of_plain_text(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        await dialed.ping()
        accepted.go_away(2, TEXT.encode())
        with pytest.raises(muxado.ProtocolError) as caught, fail_after(10):
            await dialed.wait()
        message = str(caught.value)
        assert message.isprintable(), message
        assert message.endswith(
            r"x\n06:00:00 INFO    agent connected\x1b[31m\x1b]0;title\x07\r\u202egnp\u2028\x85\x00\ufeffü€ end"
        )


async def test_nor_does_it_act_on_whoever_is_refused_a_stream(session_pair: SessionPair) -> None:
    async with session_pair() as (dialed, accepted):
        await dialed.ping()
        stream = await dialed.open_stream()
        accepted.go_away(0, TEXT.encode())
        await stream.send(b"x")
        with pytest.raises(muxado.MuxadoError) as caught, fail_after(10):
            await stream.receive()
        assert str(caught.value).isprintable()
