"""Heads of answers: how long the body is, and what a caller gets of them."""

from __future__ import annotations

import pytest

from muxado_py.cli.http_door.answers import read_answer
from muxado_py.cli.http_door.bodies import Body, Chunked, Counted, UntilEnd
from muxado_py.cli.http_door.fields import BadMessage


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 " + status, *lines, b"", b""))


@pytest.mark.parametrize(
    ("raw", "method", "kind", "done"),
    [
        (head(b"Content-Length: 5"), b"GET", Counted, False),
        (head(b"Content-Length: 0"), b"GET", Counted, True),
        (head(b"Content-Length: 5"), b"HEAD", Counted, True),
        (head(b"Content-Length: 5", status=b"304 Not Modified"), b"GET", Counted, True),
        (head(status=b"204 No Content"), b"GET", Counted, True),
        (head(b"Transfer-Encoding: chunked"), b"GET", Chunked, False),
        (head(b"Transfer-Encoding: chunked"), b"HEAD", Counted, True),
        (head(), b"GET", UntilEnd, False),
        (head(status=b"200"), b"GET", UntilEnd, False),
        (head(status=b"200 "), b"GET", UntilEnd, False),
    ],
)
def test_how_long_the_body_is(raw: bytes, method: bytes, kind: type[Body], *, done: bool) -> None:
    body = read_answer(raw).body(method)
    assert isinstance(body, kind)
    assert body.done is done


@pytest.mark.parametrize(
    "raw",
    [
        head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        head(b"Content-Length: 5", b"Content-Length: 5"),
        head(b"Content-Length: +5"),
        head(b"Transfer-Encoding: gzip"),
        head(b"A : b"),
        head(b"A: b\nC: d"),
        head(b"A: b", b" c"),
        head(status=b"20 OK"),
        head(status=b"099 Too Little"),
        b"HTTP/2 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_not_passed_on(raw: bytes) -> None:
    with pytest.raises(BadMessage) as refused:
        read_answer(raw)
    assert refused.value.status == 502


def test_a_caller_gets_our_framing_and_nothing_of_the_agents_connection() -> None:
    raw = head(
        b"Connection: close, A", b"A: b", b"Keep-Alive: 5", b"Server: x", b"Content-Length: 007"
    )
    answer = read_answer(raw)
    assert answer.for_caller(in_chunks=False, connection=b"") == head(
        b"Server: x", b"Content-Length: 7"
    )
    assert answer.for_caller(in_chunks=True, connection=b"close") == head(
        b"Server: x", b"Transfer-Encoding: chunked", b"Connection: close"
    )


def test_a_field_of_an_answer_may_have_an_underscore() -> None:
    """In requests it is left out, since servers make variables of them."""
    raw = head(b"X_Request_Id: 7", b"Content-Length: 0")
    assert read_answer(raw).for_caller(in_chunks=False, connection=b"") == raw


@pytest.mark.parametrize("said", [b"websocket", b"h2c, WebSocket", b"HTTP/3 ,websocket,"])
@pytest.mark.parametrize(("connection", "told"), [(b"", b"Upgrade"), (b"close", b"close, Upgrade")])
def test_who_has_to_upgrade_is_told_to_what(said: bytes, connection: bytes, told: bytes) -> None:
    """RFC 9110, 15.5.22: a 426 without an Upgrade says nothing that a client could do."""
    status = b"426 Upgrade Required"
    version = b"Sec-WebSocket-Version: 13"
    raw = head(
        b"Upgrade: " + said,
        b"Connection: upgrade, close",
        version,
        b"Content-Length: 0",
        status=status,
    )
    assert read_answer(raw).for_caller(in_chunks=False, connection=connection) == head(
        version, b"Content-Length: 0", b"Upgrade: websocket", b"Connection: " + told, status=status
    )


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (b"426 Upgrade Required", b"h2c, TLS/1.0"),
        (b"426 Upgrade Required", b"websockets"),
        (b"200 OK", b"websocket"),
    ],
)
def test_nobody_is_told_of_a_protocol_that_the_door_does_not_pass_on(
    status: bytes, said: bytes
) -> None:
    raw = head(b"Upgrade: " + said, b"Connection: Upgrade", b"Content-Length: 0", status=status)
    assert read_answer(raw).for_caller(in_chunks=False, connection=b"") == head(
        b"Content-Length: 0", status=status
    )


def test_nothing_is_said_of_the_length_of_a_body_that_cannot_be() -> None:
    answer = read_answer(head(b"Content-Length: 5", status=b"204 No Content"))
    assert b"Length" not in answer.for_caller(in_chunks=False, connection=b"")
