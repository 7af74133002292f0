"""Requests that somebody could read in two ways, and what the door does with each."""

from __future__ import annotations

from typing import NamedTuple

import h11
import httptools
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]
from waitress.parser import HTTPRequestParser  # type: ignore[import-untyped]

__all__ = ("REQUESTS", "Reading", "Sent", "read_by_h11", "read_by_httptools", "read_by_waitress")


class Sent(NamedTuple):
    """What a caller says, and what it is answered if that goes no further."""

    raw: bytes
    refused: int | None = None


def _get(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: app.test") -> bytes:
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def _post(*lines: bytes, body: bytes = b"", minor: int = 1) -> bytes:
    return _get(*lines, start=b"POST / HTTP/1.%d" % minor) + body


CHUNKED = b"Transfer-Encoding: chunked"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="

REQUESTS = {
    # The first line.
    "plain": Sent(_get()),
    "query": Sent(_get(start=b"GET /a/b?c=d&e=%20f HTTP/1.1")),
    "odd characters": Sent(_get(start=b'GET /a|b{c}"<>^`\\?[x]=1 HTTP/1.1')),
    "two slashes": Sent(_get(start=b"GET //other.test/a HTTP/1.1")),
    "dots": Sent(_get(start=b"GET /../a/./b HTTP/1.1")),
    "percent": Sent(_get(start=b"GET /%00%7a%2F%2f HTTP/1.1")),
    "HTTP/1.0": Sent(_get(start=b"GET / HTTP/1.0")),
    "empty line before": Sent(b"\r\n" + _get()),
    "two empty lines before": Sent(b"\r\n\r\n" + _get(), 400),
    "LF before": Sent(b"\n" + _get(), 400),
    "HTTP/1.2": Sent(_get(start=b"GET / HTTP/1.2"), 400),
    "HTTP/2.0": Sent(_get(start=b"GET / HTTP/2.0"), 400),
    "HTTP/0.9": Sent(b"GET /\r\n\r\n", 400),
    "version in lower case": Sent(_get(start=b"GET / http/1.1"), 400),
    "method in lower case": Sent(_get(start=b"get / HTTP/1.1"), 400),
    "no token for a method": Sent(_get(start=b"G(T / HTTP/1.1"), 400),
    "two spaces": Sent(_get(start=b"GET  / HTTP/1.1"), 400),
    "tab": Sent(_get(start=b"GET\t/ HTTP/1.1"), 400),
    "space in the target": Sent(_get(start=b"GET /a b HTTP/1.1"), 400),
    "space at the end": Sent(_get(start=b"GET / HTTP/1.1 "), 400),
    "space before": Sent(_get(start=b" GET / HTTP/1.1"), 400),
    "8 bits in the target": Sent(_get(start=b"GET /\xc3\xa4 HTTP/1.1"), 400),
    "fragment": Sent(_get(start=b"GET /a#b HTTP/1.1"), 400),
    "no slash": Sent(_get(start=b"GET a HTTP/1.1"), 400),
    "asterisk": Sent(_get(start=b"OPTIONS * HTTP/1.1"), 400),
    "CONNECT": Sent(_get(start=b"CONNECT app.test:80 HTTP/1.1"), 400),
    "CONNECT of a path": Sent(_get(start=b"CONNECT /a HTTP/1.1"), 400),
    "absolute": Sent(_get(start=b"GET http://app.test/a?b HTTP/1.1")),
    "absolute without a path": Sent(_get(start=b"GET HTTP://APP.test?b HTTP/1.1")),
    "absolute and another host": Sent(_get(start=b"GET http://other.test/ HTTP/1.1"), 400),
    "absolute and another port": Sent(_get(start=b"GET http://app.test:81/ HTTP/1.1"), 400),
    "absolute with a user": Sent(_get(start=b"GET http://a@app.test/ HTTP/1.1"), 400),
    "absolute and no host": Sent(_get(start=b"GET http://app.test/ HTTP/1.1", host=b""), 400),
    "absolute of another scheme": Sent(_get(start=b"GET ftp://app.test/ HTTP/1.1"), 400),
    "LF behind the first line": Sent(b"GET / HTTP/1.1\nHost: app.test\r\n\r\n", 400),
    # Host.
    "port": Sent(_get(host=b"Host: app.test:8080")),
    "upper case": Sent(_get(host=b"HOST:APP.TEST")),
    "dot at the end": Sent(_get(host=b"Host: app.test.")),
    "no host": Sent(_get(host=b""), 400),
    "no host, HTTP/1.0": Sent(_get(start=b"GET / HTTP/1.0", host=b""), 400),
    "empty host": Sent(_get(host=b"Host: "), 400),
    "two hosts": Sent(_get(b"Host: other.test"), 400),
    "the same host twice": Sent(_get(b"host: app.test"), 400),
    "hosts in a list": Sent(_get(host=b"Host: app.test, other.test"), 400),
    "host with a path": Sent(_get(host=b"Host: app.test/a"), 400),
    "host with a user": Sent(_get(host=b"Host: other@app.test"), 400),
    "host with 8 bits": Sent(_get(host=b"Host: app.test\xa0"), 400),
    "another host": Sent(_get(host=b"Host: app.test.other"), 404),
    "the domain itself": Sent(_get(host=b"Host: test"), 404),
    "a name below a name": Sent(_get(host=b"Host: a.app.test"), 404),
    # The form of fields.
    "no space behind the colon": Sent(_get(b"A:b")),
    "spaces around": Sent(_get(b"A: \t b c \t ")),
    "empty": Sent(_get(b"A:")),
    "8 bits in a value": Sent(_get(b"A: \xc3\xa4\xff\xa0")),
    "colons in a value": Sent(_get(b"A: b:c:d")),
    "all of a token": Sent(_get(b"!#$%&'*+-.^`|~09AZaz: b")),
    "twice": Sent(_get(b"A: b", b"a: c")),
    "underscore": Sent(_get(b"X_Forwarded_For: 6.6.6.6", b"A_B: c")),
    "space before a colon": Sent(_get(b"A : b"), 400),
    "tab before a colon": Sent(_get(b"Content-Length\t: 5"), 400),
    "no colon": Sent(_get(b"A"), 400),
    "no name": Sent(_get(b": b"), 400),
    "space before a name": Sent(_get(b" A: b"), 400),
    "goes on in the next line": Sent(_get(b"A: b", b" c"), 400),
    "goes on behind a tab": Sent(_get(b"A: b", b"\tTransfer-Encoding: chunked"), 400),
    "8 bits in a name": Sent(_get(b"\xc3\xa4: b"), 400),
    "quotes in a name": Sent(_get(b'"A": b'), 400),
    "NUL in a value": Sent(_get(b"A: b\x00c"), 400),
    "NUL in a name": Sent(_get(b"A\x00: b"), 400),
    "escape in a value": Sent(_get(b"A: \x1b[2J"), 400),
    "DEL in a value": Sent(_get(b"A: \x7f"), 400),
    "vertical tab in a value": Sent(_get(b"Content-Length: \x0b5"), 400),
    "CR in a value": Sent(_get(b"A: b\rTransfer-Encoding: chunked"), 400),
    "CR CR LF": Sent(_get(b"A: b\r"), 400),
    "LF in a value": Sent(_get(b"A: b\nTransfer-Encoding: chunked"), 400),
    "LF at the end of the head": Sent(b"GET / HTTP/1.1\r\nHost: app.test\n\n", 400),
    "LF and CR LF at the end": Sent(b"GET / HTTP/1.1\r\nHost: app.test\n\r\n", 400),
    "many fields": Sent(_get(*(b"A%d: b" % i for i in range(90)))),
    "too many fields": Sent(_get(*(b"A%d: b" % i for i in range(120))), 431),
    "long": Sent(_get(b"A: " + b"b" * 30_000)),
    "too long": Sent(_get(b"A: " + b"b" * 40_000), 431),
    "long target": Sent(_get(start=b"GET /%b HTTP/1.1" % (b"a" * 9_000)), 431),
    "two authorizations": Sent(_get(b"Authorization: a", b"Authorization: b"), 400),
    "two types": Sent(_get(b"Content-Type: a/b", b"Content-Type: c/d"), 400),
    # Lengths.
    "length": Sent(_post(b"Content-Length: 5", body=b"hello")),
    "length of a GET": Sent(_get(b"Content-Length: 5") + b"hello"),
    "no length": Sent(_post()),
    "length 0": Sent(_post(b"Content-Length: 0")),
    "length 0005": Sent(_post(b"Content-Length: 0005", body=b"hello")),
    "length +5": Sent(_post(b"Content-Length: +5", body=b"hello"), 400),
    "length -1": Sent(_post(b"Content-Length: -1"), 400),
    "length 0x5": Sent(_post(b"Content-Length: 0x5", body=b"hello"), 400),
    "length 5.0": Sent(_post(b"Content-Length: 5.0", body=b"hello"), 400),
    "length 1_0": Sent(_post(b"Content-Length: 1_0", body=b"0123456789"), 400),
    "length 5 5": Sent(_post(b"Content-Length: 5 5", body=b"hello"), 400),
    "length in other digits": Sent(_post(b"Content-Length: \xb2", body=b"he"), 400),
    "length in a list": Sent(_post(b"Content-Length: 5, 5", body=b"hello"), 400),
    "length of 30 digits": Sent(_post(b"Content-Length: " + b"9" * 30), 400),
    "no digits": Sent(_post(b"Content-Length:"), 400),
    "the same length twice": Sent(_post(*[b"Content-Length: 5"] * 2, body=b"hello"), 400),
    "two lengths": Sent(_post(b"Content-Length: 5", b"content-length: 0", body=b"hello"), 400),
    "length named by Connection": Sent(
        _post(b"Content-Length: 5", b"Connection: content-length", body=b"hello")
    ),
    # Chunks.
    "chunks": Sent(_post(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n")),
    "chunked in upper case": Sent(
        _post(b"TRANSFER-ENCODING: CHUNKED", body=b"5\r\nhello\r\n0\r\n\r\n")
    ),
    "no chunk": Sent(_post(CHUNKED, body=b"0\r\n\r\n")),
    "extensions": Sent(_post(CHUNKED, body=b'05;a=b;c="d e"\r\nhello\r\n000;x\r\n\r\n')),
    "trailers": Sent(
        _post(CHUNKED, body=b"5\r\nhello\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\nA: b\r\n\r\n")
    ),
    "chunked and a length": Sent(_post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"), 400),
    "a length and chunked": Sent(_post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"), 400),
    "chunked twice": Sent(_post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), 400),
    "chunked in a list": Sent(
        _post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), 400
    ),
    "gzip, chunked": Sent(_post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
    "identity": Sent(_post(b"Transfer-Encoding: identity"), 400),
    "xchunked": Sent(_post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 400),
    "chunked;a": Sent(_post(b"Transfer-Encoding: chunked;a", body=b"0\r\n\r\n"), 400),
    "quoted chunked": Sent(_post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), 400),
    "no encoding": Sent(_post(b"Transfer-Encoding:"), 400),
    "chunked, HTTP/1.0": Sent(_post(CHUNKED, body=b"0\r\n\r\n", minor=0), 400),
    "encoding with an underscore": Sent(
        _post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello")
    ),
    "chunked named by Connection": Sent(
        _post(CHUNKED, b"Connection: transfer-encoding", body=b"5\r\nhello\r\n0\r\n\r\n")
    ),
    "LF behind a size": Sent(_post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"), 400),
    "LF behind a chunk": Sent(_post(CHUNKED, body=b"5\r\nhello\n0\r\n\r\n"), 400),
    "nothing behind a chunk": Sent(_post(CHUNKED, body=b"5\r\nhello0\r\n\r\n"), 400),
    "two other bytes behind a chunk": Sent(_post(CHUNKED, body=b"5\r\nhelloXX0\r\n\r\n"), 400),
    "size 0x5": Sent(_post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    "size +5": Sent(_post(CHUNKED, body=b"+5\r\nhello\r\n0\r\n\r\n"), 400),
    "size -1": Sent(_post(CHUNKED, body=b"-1\r\nhello\r\n0\r\n\r\n"), 400),
    "space before a size": Sent(_post(CHUNKED, body=b" 5\r\nhello\r\n0\r\n\r\n"), 400),
    "space behind a size": Sent(_post(CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n"), 400),
    "no size": Sent(_post(CHUNKED, body=b";a\r\nhello\r\n0\r\n\r\n"), 400),
    "size of 20 digits": Sent(_post(CHUNKED, body=b"F" * 20 + b"\r\nhello"), 400),
    "LF in an extension": Sent(_post(CHUNKED, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"), 400),
    "CR in an extension": Sent(_post(CHUNKED, body=b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 400),
    "long extension": Sent(_post(CHUNKED, body=b"5;" + b"a" * 300 + b"\r\nhello"), 400),
    "LF in trailers": Sent(_post(CHUNKED, body=b"0\r\nA: b\nC: d\r\n\r\n"), 400),
    "trailers that are no fields": Sent(
        _post(CHUNKED, body=b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400
    ),
    # What is about this connection only, and what is said of the caller.
    "Connection names others": Sent(
        _get(b"Connection: keep-alive, A, X-Forwarded-For, Host, Cookie", b"A: b", b"Cookie: c")
    ),
    "hop by hop": Sent(
        _get(
            b"Keep-Alive: 5",
            b"Proxy-Authorization: a",
            b"Proxy-Connection: close",
            b"Proxy: 6.6.6.6",
            b"TE: trailers",
            b"Trailer: A",
        )
    ),
    "said of the caller": Sent(
        _get(
            b"X-Forwarded-For: 6.6.6.6",
            b"x-forwarded-proto: https",
            b"X-Forwarded-Host: other.test",
            b"X-Forwarded-Prefix: /a",
            b"X-Real-IP: 6.6.6.6",
            b"Forwarded: for=6.6.6.6",
        )
    ),
    "Connection is no list": Sent(_get(b"Connection: a b"), 400),
    "upgrade to h2c": Sent(
        _get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    ),
    "upgrade to TLS": Sent(_get(b"Connection: Upgrade", b"Upgrade: TLS/1.0")),
    "upgrade that Connection does not name": Sent(_get(b"Upgrade: websocket", KEY)),
    "upgrade of a POST": Sent(_post(b"Connection: Upgrade", b"Upgrade: websocket", KEY), 400),
    "upgrade with a body": Sent(
        _get(b"Connection: Upgrade", b"Upgrade: websocket", KEY, b"Content-Length: 5") + b"hello",
        400,
    ),
    "upgrade without a key": Sent(_get(b"Connection: Upgrade", b"Upgrade: websocket"), 400),
    "upgrade with two keys": Sent(
        _get(b"Connection: Upgrade", b"Upgrade: websocket", KEY, KEY), 400
    ),
    "expects another thing": Sent(_post(b"Expect: 200-ok", b"Content-Length: 0"), 417),
    "expects, and has no body": Sent(_post(b"Expect: 100-continue", b"Content-Length: 0")),
}
"""By what is odd about each.  Those that are not refused have the name ``app``, below the domain ``test``."""


class Reading(NamedTuple):
    """What an application would see."""

    method: str
    target: str
    environ: dict[str, str]
    """The fields, as WSGI has them."""
    body: bytes


def read_by_h11(raw: bytes) -> Reading:
    """The one request that is all of ``raw``."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    connection.receive_data(raw)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert not event.headers
    assert connection.trailing_data == (b"", False)
    fields = [(bytes(name), bytes(value)) for name, value in request.headers]
    return Reading(request.method.decode(), request.target.decode(), _environ(fields), body)


class _Callbacks:
    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.messages = 0

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


def read_by_httptools(raw: bytes) -> Reading:
    """The same."""
    seen = _Callbacks()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade as exc:
        assert exc.args[0] == len(raw)  # noqa: PT017 - what is left is another request
    assert seen.messages == 1
    return Reading(
        parser.get_method().decode(), seen.target.decode(), _environ(seen.fields), seen.body
    )


def read_by_waitress(raw: bytes) -> Reading:
    """The same."""
    parser = HTTPRequestParser(Adjustments())
    rest = raw
    while not parser.completed:
        taken = parser.received(rest)
        assert taken
        rest = rest[taken:]
    assert not rest
    assert parser.error is None, parser.error
    environ = {name: value for name, value in parser.headers.items() if name != "CONTENT_LENGTH"}
    body = parser.get_body_stream().read()
    return Reading(parser.command, parser.request_uri, environ, body)


def _environ(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The framing is left out: waitress says how long a body in chunks was."""
    environ: dict[str, str] = {}
    for name, value in fields:
        key = name.decode().upper().replace("-", "_")
        if key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]}, {text}" if key in environ else text
    return environ
