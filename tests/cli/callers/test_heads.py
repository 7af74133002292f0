"""What a caller began with: a request, a piece of one, or another protocol."""

from __future__ import annotations

import pytest

from muxado_py.cli.callers.heads import MOST_KEPT, Head, head_of

METHODS = (
    b"GET", b"HEAD", b"M-SEARCH", b"VERSION-CONTROL", b"BASELINE-CONTROL", b"UPDATEREDIRECTREF", b"PROPFIND", b"QUERY", b"X_1"
)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [b"/", b"*", b"http://app/x", b"app:443", b"/a%20b?c=[d]"])
def test_every_piece_of_a_request_is_one(method: bytes, target: bytes) -> None:
    line = method + b" " + target + b" HTTP/1.1\r\n"
    for length in range(1, len(line)):
        assert head_of(line[:length]) is Head.UNCERTAIN
    whole = line + b"Host: app\r\n\r\n"
    for length in range(len(line), len(whole)):
        assert head_of(whole[:length]) is Head.PART
    assert head_of(whole) is Head.WHOLE
    assert head_of(whole + b"body") is Head.WHOLE


@pytest.mark.parametrize(
    "said",
    [
        b"PRI * HTTP/2.0\r\n",
        b"NICK someone\r\n",
        b"EHLO host.example\r\n",
        b"GET /\r\n",
        b"\x16\x03\x01",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"*1\r\n$4\r\n",
        b"PING\r\n",
        b"get key",
        b" GET",
        b"\r\n",
        b"A" * 65,
        b"GET / SMTP",
        b"GET /" + b"x" * MOST_KEPT,
    ],
)
def test_what_is_not_certainly_a_request_is_another_protocol(said: bytes) -> None:
    assert head_of(said) is Head.OTHER
    assert head_of(said).is_settled


def test_nothing_is_nothing() -> None:
    assert head_of(b"") is Head.NOTHING


def test_a_head_without_end_is_whole_enough() -> None:
    head = b"GET / HTTP/1.1\r\nCookie: "
    assert head_of(head.ljust(MOST_KEPT - 1, b"x")) is Head.PART
    assert head_of(head.ljust(MOST_KEPT, b"x")) is Head.WHOLE
