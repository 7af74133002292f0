"""Heads of requests: refused, or passed on in one reading."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.cli.http_door.fields import BadMessage, read_fields
from muxado_py.cli.http_door.requests import Request, head_end, read_request

from .heads import REQUESTS, Sent, read_by_h11, read_by_httptools, read_by_waitress

CLIENT = "192.0.2.7"


def asked(raw: bytes) -> tuple[Request, bytes]:
    """The request that ``raw`` is, and its body.

    :raises BadMessage: if it is not passed on.
    """
    raw = raw.removeprefix(b"\r\n")
    end = head_end(raw)
    request = read_request(raw[:end])
    body = request.body()
    content = body.feed(raw[end:])
    assert body.done
    assert not body.rest
    return request, content


def rewritten(raw: bytes) -> bytes:
    """What an agent gets for ``raw``, with the whole body as one chunk."""
    request, content = asked(raw)
    head = request.for_agent(CLIENT, "http")
    if request.is_chunked:
        return head + (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + b"0\r\n\r\n"
    return head + content


def test_there_are_many() -> None:
    assert len(REQUESTS) >= 60


@pytest.mark.parametrize("sent", REQUESTS.values(), ids=REQUESTS)
def test_each_is_refused_or_read_in_one_way(sent: Sent) -> None:
    if sent.refused in (400, 417, 431):
        with pytest.raises(BadMessage) as refused:
            asked(sent.raw)
        assert refused.value.status == sent.refused
        return
    raw = rewritten(sent.raw)
    reading = read_by_h11(raw)
    assert read_by_httptools(raw) == reading
    assert read_by_waitress(raw) == reading
    environ = dict(reading.environ)
    assert environ.pop("X_FORWARDED_FOR") == CLIENT
    assert environ.pop("X_FORWARDED_PROTO") == "http"
    assert environ.pop("X_FORWARDED_HOST") == environ.pop("HOST")
    assert environ.pop("CONNECTION") == "close"
    assert not {name for name in environ if "FORWARDED" in name or "IP" in name.split("_")}
    assert not environ.keys() & {"UPGRADE", "TE", "KEEP_ALIVE", "TRAILER", "PROXY", "EXPECT"}


@pytest.mark.parametrize("sent", REQUESTS.values(), ids=REQUESTS)
def test_what_is_passed_on_is_passed_on_again_as_it_is(sent: Sent) -> None:
    """So there is one form, and the door's own reading of it is the same."""
    if sent.refused in (400, 417, 431):
        return
    once = rewritten(sent.raw)
    assert rewritten(once) == once


FRAGMENTS = st.sampled_from(
    (
        *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"_", b"\x00", b"\x0b", b"\xa0", b"abc"),
        *(b"Host: app.test", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"A: b"),
        *(b"0\r\n\r\n", b"3\r\nabc\r\n", b"GET / HTTP/1.1", b"POST /a HTTP/1.1"),
        *(b"Connection: close", b"Upgrade: websocket"),
    )
)


@given(st.lists(FRAGMENTS, max_size=8), st.lists(FRAGMENTS, max_size=4))
def test_whatever_is_put_together_is_refused_or_read_in_one_way(
    lines: list[bytes], rest: list[bytes]
) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: app.test\r\n" + b"".join(lines) + b"\r\n\r\n" + b"".join(rest)
    try:
        end = head_end(raw)
        request = read_request(raw[:end])
        body = request.body()
        content = body.feed(raw[end:])
        if not body.done:
            return
    except BadMessage:
        return
    again = request.for_agent(CLIENT, "http")
    if request.is_chunked:
        again += (b"%x\r\n%b\r\n" % (len(content), content) if content else b"") + b"0\r\n\r\n"
    else:
        again += content
    reading = read_by_h11(again)
    assert reading.body == content
    assert read_by_httptools(again) == reading
    assert read_by_waitress(again) == reading


def test_without_an_address_nothing_is_said_of_it() -> None:
    request, _ = asked(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
    assert b"Forwarded-For" not in request.for_agent(None, "http")


def test_a_head_ends_where_it_is_whole() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for size in range(len(head)):
        assert head_end(head[:size]) == 0
    assert head_end(head + b"\r\n\r\n") == len(head)


@pytest.mark.parametrize(
    ("line", "minor", "keeps_alive"),
    [
        (b"A: b", 1, True),
        (b"Connection: close", 1, False),
        (b"Connection: A, CLOSE", 1, False),
        (b"A: b", 0, False),
        (b"Connection: Keep-Alive", 0, True),
        (b"Connection: keep-alive, close", 1, False),
    ],
)
def test_who_may_ask_again(line: bytes, minor: int, *, keeps_alive: bool) -> None:
    raw = b"GET / HTTP/1.%d\r\nHost: a\r\n%b\r\n\r\n" % (minor, line)
    assert asked(raw)[0].keeps_alive is keeps_alive


def test_the_handshake_of_a_websocket_is_passed_on() -> None:
    lines = (
        b"GET /chat HTTP/1.1",
        b"Host: a",
        b"Upgrade: WebSocket",
        b"Connection: keep-alive, Upgrade",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
    )
    request, _ = asked(b"\r\n".join((*lines, b"", b"")))
    assert request.wants_websocket
    head = request.for_agent(None, "https")
    assert b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" in head
    assert b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" in head


LINES = st.lists(
    st.sampled_from(
        (b"Host: a", b"host: a", b"Host:a", b"Host:  a", b"Host: a ", b"Host: \ta\t", b"Host:")
    )
    | st.builds(
        lambda name, space, value: name + b":" + space + value,
        st.sampled_from((b"Accept", b"accept", b"ACCEPT", b"X-Odd", b"A", b"Cookie")),
        st.sampled_from((b"", b" ", b"  ", b"\t", b" \t ")),
        st.binary(max_size=6).map(lambda value: bytes(one for one in value if one > 0x1F)),
    ),
    max_size=8,
)


@given(LINES)
def test_a_line_that_is_taken_as_it_is_is_what_would_be_written(lines: list[bytes]) -> None:
    fields = read_fields(lines)
    for line, (key, value, written) in zip(lines, fields, strict=True):
        name, _, rest = line.partition(b":")
        assert key == name.lower()
        assert value == rest.strip(b" \t")
        assert written == name + b": " + value


ENDS = st.lists(st.sampled_from((b"\r", b"\n", b"a")), max_size=12).map(b"".join)


@given(ENDS, st.integers(0, 12))
def test_a_head_ends_behind_the_first_empty_line_whatever_ends_that(raw: bytes, begin: int) -> None:
    found = re.compile(rb"\n\r?\n").search(raw, begin)
    assert head_end(raw, begin) == (found.end() if found else 0)
