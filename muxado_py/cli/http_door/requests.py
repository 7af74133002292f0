"""Requests: a caller's head, in one reading or refused, and the form in which an agent gets it.

What it is.  :func:`read_request` makes a :class:`Request` of a head, :meth:`Request.for_agent` the bytes that an agent's
parser sees.  Between the two nothing of the caller's own spelling is left but names and values of fields, and the target.

The rules.  Of what decides about the body, the name or the connection there is one field or none: no two lengths, no length
with an encoding, no two hosts, no encoding but chunked, no target that names another host.  What is about the
caller's connection is taken out *first*, with what Connection names; then comes what the gateway says of the caller, of
which the caller itself can say nothing, unless it is a proxy that is trusted.

The trap.  Whatever Connection may name, it must not undo what the gateway sets: so that is added afterwards.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .bodies import Body, Chunked, Counted
from .fields import (
    BadMessage,
    Field,
    Filter,
    check_characters,
    is_end_to_end,
    read_fields,
    tokens,
    values_of,
    write_fields,
)

__all__ = ("MAX_HEAD", "Request", "head_end", "read_request")

MAX_HEAD = 32 * 1024
"""Bytes of a head."""

MAX_LINE = 8 * 1024
"""Bytes of a request's first line."""

_LINE = re.compile(rb"([A-Z][A-Z0-9_-]{0,31}) ([\x21-\x7e]+) HTTP/1\.([01])")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)([/?].*)?", re.IGNORECASE)
_HOST = re.compile(rb"(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_KEY = re.compile(rb"[0-9A-Za-z+/]{22}==")

_ONCE = frozenset(
    (
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"transfer-encoding",
    )
)
"""What is there once or not at all: who finds two takes one of them, and who took the other sees another request."""

_READ = _ONCE | {b"connection", b"upgrade", b"x-forwarded-for", b"x-forwarded-proto"}
_NONE: list[bytes] = []


class Request(NamedTuple):
    """A request, without what was about the caller's connection."""

    method: bytes
    target: bytes
    """With a slash at its beginning."""
    minor: int
    """Of the caller's version, HTTP/1.1 or HTTP/1.0."""
    host: bytes
    fields: list[Field]
    """Those that go on, without Host."""
    length: int | None
    is_chunked: bool
    keeps_alive: bool
    """Whether the caller may have another request."""
    expects: bool
    """Whether it waits for a word before it sends the body."""
    wants_websocket: bool
    forwarded_for: list[bytes]
    """What the caller says of who asks, which counts of a trusted front alone (:mod:`.fronts`)."""
    forwarded_proto: list[bytes]
    """The same of how that asked."""

    def body(self) -> Body:
        """The body that is to come."""
        return Chunked() if self.is_chunked else Counted(self.length or 0)

    def for_agent(self, client: str | None, scheme: str) -> bytes:
        """The head for an agent: one request, after which it closes.

        :param client: the address of the caller, if it has one.
        """
        host = self.host
        own = []
        if client is not None:
            own.append(b"X-Forwarded-For: " + client.encode())
        own.append(b"X-Forwarded-Proto: " + scheme.encode())
        own.append(b"X-Forwarded-Host: " + host)
        if self.is_chunked:
            own.append(b"Transfer-Encoding: chunked")
        elif self.length is not None:
            own.append(b"Content-Length: %d" % self.length)
        if self.expects:
            own.append(b"Expect: 100-continue")
        if self.wants_websocket:
            own.append(b"Upgrade: websocket")
            own.append(b"Connection: Upgrade")
        else:
            own.append(b"Connection: close")
        start = b"%b %b HTTP/1.1\r\nHost: %b" % (self.method, self.target, host)
        return write_fields(start, self.fields, *own)


def head_end(said: bytes | bytearray, begin: int = 0) -> int:
    """Where the head ends that ``said`` begins with; 0 if it goes on.

    :param begin: where to look from.
    :raises BadMessage: 431.
    """
    # Behind an empty line, whose own end, and that of the line before, may be LF alone: that is refused where it is read.
    end = said.find(b"\n\r\n", begin, MAX_HEAD)
    bare = said.find(b"\n\n", begin, MAX_HEAD if end < 0 else end + 1)
    if bare >= 0:
        return bare + 2
    if end >= 0:
        return end + 3
    if len(said) >= MAX_HEAD:
        raise BadMessage(431, f"The head of the request is longer than {MAX_HEAD} bytes.")
    return 0


def read_request(head: bytes) -> Request:
    """The request of a whole head.

    :raises BadMessage: 400, 417 or 431.
    """
    check_characters(head)
    line, *lines = head[:-4].split(b"\r\n")
    if len(line) > MAX_LINE:
        raise BadMessage(431, f"The first line is longer than {MAX_LINE} bytes.")
    match = _LINE.fullmatch(line)
    if match is None:
        raise BadMessage(400, "The first line is no request of HTTP/1.1 or HTTP/1.0.")
    method, target, minor = match[1], match[2], int(match[3])
    if method == b"CONNECT":  # whose answer has no body, whatever its length
        raise BadMessage(400, "CONNECT asks for a tunnel, and here is none.")
    fields = read_fields(lines)
    found = values_of(fields, _READ)
    for key, its in found.items():
        if len(its) > 1 and key in _ONCE:
            raise BadMessage(400, f"There are two fields {key.decode().title()}.")
    host = _host(found.get(b"host", _NONE))
    connection = tokens(found.get(b"connection", _NONE), b"connection")
    length, is_chunked = _framing(found, minor)
    has_body = is_chunked or bool(length)
    return Request(
        method,
        _path(target, host),
        minor,
        host,
        _filter(fields, connection),
        length,
        is_chunked,
        b"close" not in connection and (minor == 1 or b"keep-alive" in connection),
        b"expect" in found and _expects(found[b"expect"]) and has_body and minor == 1,
        b"upgrade" in found and _wants_websocket(method, minor, found, connection, has_body),
        found.get(b"x-forwarded-for", _NONE),
        found.get(b"x-forwarded-proto", _NONE),
    )


def _is_set_here(key: bytes) -> bool:
    return key in (b"host", b"expect", b"forwarded", b"x-real-ip") or key.startswith(
        b"x-forwarded-"
    )


def _goes_on(key: bytes) -> bool:
    return is_end_to_end(key) and b"_" not in key and not _is_set_here(key)


_filter = Filter(_goes_on)


def _host(host: list[bytes]) -> bytes:
    if not host:
        raise BadMessage(400, "There is no field Host.")
    if not _HOST.fullmatch(host[0]):
        raise BadMessage(400, "Host is no name of a host.")
    return host[0]


def _path(target: bytes, host: bytes) -> bytes:
    """The target, with a slash at its beginning."""
    if b"#" in target:
        raise BadMessage(400, "The target has a fragment.")
    if target.startswith(b"/"):
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise BadMessage(400, "The target is no path.")
    if absolute[1].lower() != host.lower():
        raise BadMessage(400, "The target names another host than Host.")
    path = absolute[2] or b""
    return path if path.startswith(b"/") else b"/" + path


def _framing(found: dict[bytes, list[bytes]], minor: int) -> tuple[int | None, bool]:
    """The length of the body, if it is said, and whether it comes in chunks."""
    lengths = found.get(b"content-length", _NONE)
    encodings = found.get(b"transfer-encoding", _NONE)
    if lengths and encodings:
        raise BadMessage(400, "There is a Content-Length beside a Transfer-Encoding.")
    if encodings:
        if encodings[0].lower() != b"chunked":
            raise BadMessage(400, "Transfer-Encoding is not chunked.")
        if not minor:
            raise BadMessage(400, "HTTP/1.0 has no Transfer-Encoding.")
        return None, True
    if not lengths:
        return None, False
    if not _LENGTH.fullmatch(lengths[0]):
        raise BadMessage(400, "Content-Length is no number.")
    return int(lengths[0]), False


def _expects(expected: list[bytes]) -> bool:
    if expected[0].lower() != b"100-continue":
        raise BadMessage(417, "Only 100-continue can be expected.")
    return True


def _wants_websocket(
    method: bytes,
    minor: int,
    found: dict[bytes, list[bytes]],
    connection: list[bytes],
    has_body: bool,
) -> bool:
    """Whether it is the handshake of a websocket; any other upgrade is not passed on."""
    upgrade = [value.lower() for value in found[b"upgrade"]]
    if upgrade != [b"websocket"] or b"upgrade" not in connection or not minor:
        return False
    key = found.get(b"sec-websocket-key")
    if method != b"GET" or has_body or not key or not _KEY.fullmatch(key[0]):
        raise BadMessage(400, "The handshake of a websocket is not whole.")
    return True
