"""Fields: what heads and trailers consist of, in the one reading that all parsers share.

What it is.  The lines of an HTTP/1 head as fields, and which of them go no further than this connection.

The rule.  What two parsers could take for two different things is refused, and never mended: a line that ends in LF alone,
one that goes on in the next, a space before the colon, a control character anywhere.  What is left is written again
by us, so that whoever reads it next sees no byte whose place the caller chose.

How it is quick.  Each request is two heads, and each head many fields; nearly all have names that everybody uses, in one of
two spellings, and stand in the line as we would write them.  Those are looked up, and their lines taken as they are.

The trap.  WSGI makes ``HTTP_X_A`` of ``X-A`` and of ``X_A``.  In a request a name with an underscore is therefore left out,
as nginx and gunicorn do it, or a caller could say what only this gateway may say.  In an answer it stays: who reads that
makes no variables of it, and it is the application's own word.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = (
    "MAX_FIELDS",
    "BadMessage",
    "Field",
    "Filter",
    "check_characters",
    "is_end_to_end",
    "read_fields",
    "tokens",
    "values_of",
    "write_fields",
)

MAX_FIELDS = 100
"""Fields of one head."""

Field: TypeAlias = tuple[bytes, bytes, bytes]
"""One field of a head: its name in lower case, its value, and the line that is written for it."""

_ALLOWED = bytes((*b"\t\n\r", *range(0x20, 0x7F), *range(0x80, 0x100)))
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"content-length",  # and transfer-encoding: of the framing each side has its own
        b"http2-settings",
        b"keep-alive",
        b"proxy",  # which CGI makes HTTP_PROXY of
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)

_USUAL = (
    *("Accept", "Accept-Encoding", "Accept-Language", "Accept-Ranges", "Age", "Authorization"),
    *(
        "Cache-Control",
        "Connection",
        "Content-Encoding",
        "Content-Length",
        "Content-Type",
        "Cookie",
    ),
    *(
        "Date",
        "DNT",
        "ETag",
        "Expires",
        "Host",
        "If-Modified-Since",
        "If-None-Match",
        "Last-Modified",
    ),
    *("Location", "Origin", "Pragma", "Priority", "Range", "Referer", "Server", "Set-Cookie"),
    *("Strict-Transport-Security", "Transfer-Encoding", "Upgrade", "Upgrade-Insecure-Requests"),
    *("User-Agent", "Vary", "X-Request-ID", "X-Requested-With", "Sec-Fetch-Dest", "Sec-Fetch-Mode"),
    *("Sec-Fetch-Site", "Sec-Fetch-User", "Sec-CH-UA", "Sec-CH-UA-Mobile", "Sec-CH-UA-Platform"),
)
_KEYS = {spelt.encode(): name.lower().encode() for name in _USUAL for spelt in (name, name.lower())}


class BadMessage(Exception):
    """A message that is not passed on.

    :ivar status: what its sender is answered, if it can be answered.
    :ivar text: why, for people.
    :ivar retry_after: seconds after which it may come again, if that is known.
    """

    def __init__(self, status: int, text: str, retry_after: float | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.retry_after = retry_after


def read_fields(lines: list[bytes]) -> list[Field]:
    """The fields of these lines, which were split at CRLF.

    :raises BadMessage: 400 or 431.
    """
    if len(lines) > MAX_FIELDS:
        raise BadMessage(431, f"The head has more than {MAX_FIELDS} fields.")
    fields = []
    for line in lines:
        name, _, value = line.partition(b": ")
        key = _KEYS.get(name)
        if key is not None and value and value[0] > 0x20 and value[-1] > 0x20:
            fields.append((key, value, line))
        else:
            fields.append(_read_field(line))
    return fields


def _read_field(line: bytes) -> Field:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name):
        raise BadMessage(400, _why_no_field(line))
    value = value.strip(b" \t")
    return name.lower(), value, b"%b: %b" % (name, value)


def _why_no_field(line: bytes) -> str:
    if line.startswith((b" ", b"\t")):
        return "A field goes on in the next line."
    if re.match(rb"[^:]*[ \t]:", line):
        return "There is a space before a colon."
    return "A line of the head is no field."


def check_characters(head: bytes) -> None:
    """No control character is in ``head`` but tabs, and CR and LF only as a pair.

    :raises BadMessage: 400.
    """
    pairs = head.count(b"\r\n")
    if head.count(b"\n") != pairs:
        raise BadMessage(400, "A line of the head ends with LF alone.")
    if head.count(b"\r") != pairs or head.translate(None, _ALLOWED):
        raise BadMessage(400, "There is a control character in the head.")


def values_of(fields: list[Field], keys: Collection[bytes]) -> dict[bytes, list[bytes]]:
    """The values of those fields that have one of these names, by it."""
    found: dict[bytes, list[bytes]] = {}
    for key, value, _ in fields:
        if key in keys:
            if key in found:
                found[key].append(value)
            else:
                found[key] = [value]
    return found


def tokens(its: list[bytes], key: bytes) -> list[bytes]:
    """What the list in the fields of the name ``key`` has, whose values are these, in lower case.

    :raises BadMessage: 400, if it is no list of tokens.
    """
    found = []
    for value in its:
        for item in value.split(b","):
            token = item.strip(b" \t").lower()
            if token and not _TOKEN.fullmatch(token):
                raise BadMessage(400, f"{key.decode().title()} is no list of tokens.")
            found.append(token)
    return found


def is_end_to_end(key: bytes) -> bool:
    """Whether fields of this name are not about one connection only."""
    return key not in _HOP_BY_HOP and not key.startswith(b"proxy-")


class Filter:
    """Which fields go on.

    :param goes_on: whether those of one name, in lower case, do.
    """

    def __init__(self, goes_on: Callable[[bytes], bool]) -> None:
        self._goes_on = goes_on
        self._usual = {key: goes_on(key) for key in _KEYS.values()}

    def __call__(self, fields: list[Field], connection: list[bytes]) -> list[Field]:
        """Those that do, without what ``connection`` names."""
        usual, kept = self._usual, []
        for field in fields:
            key = field[0]
            goes_on = usual.get(key)
            if goes_on is None:
                goes_on = self._goes_on(key)
            if goes_on and key not in connection:
                kept.append(field)
        return kept


def write_fields(start: bytes, fields: list[Field], *own: bytes) -> bytes:
    """A head: ``start`` is its first line, ``own`` are lines behind those of ``fields``."""
    return b"\r\n".join((start, *[line for _, _, line in fields], *own, b"", b""))
