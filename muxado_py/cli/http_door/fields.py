"""Fields: what heads and trailers consist of, in the one reading that all parsers share.

What it is.  The lines of an HTTP/1 head as fields, and which of them go no further than this connection.

The rule.  What two parsers could take for two different things is refused, and never mended: a line that ends in LF alone,
one that goes on in the next, a space before the colon, a control character anywhere.  What is left is written again
by us, so that whoever reads it next sees no byte whose place the caller chose.

The trap.  WSGI makes ``HTTP_X_A`` of ``X-A`` and of ``X_A``.  In a request a name with an underscore is therefore left out,
as nginx and gunicorn do it, or a caller could say what only this gateway may say.  In an answer it stays: who reads that
makes no variables of it, and it is the application's own word.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = (
    "MAX_FIELDS",
    "BadMessage",
    "Field",
    "check_characters",
    "end_to_end",
    "read_fields",
    "tokens",
    "values",
    "write_fields",
)

MAX_FIELDS = 100
"""Fields of one head."""

_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
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


class BadMessage(Exception):
    """A message that is not passed on.

    :ivar status: what its sender is answered, if it can be answered.
    :ivar text: why, for people.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


class Field(NamedTuple):
    """One field of a head."""

    key: bytes
    """The name in lower case."""
    name: bytes
    """The name as it came."""
    value: bytes


def read_fields(lines: list[bytes]) -> list[Field]:
    """The fields of these lines, which were split at CRLF.

    :raises BadMessage: 400 or 431.
    """
    if len(lines) > MAX_FIELDS:
        raise BadMessage(431, f"The head has more than {MAX_FIELDS} fields.")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name):
            raise BadMessage(400, _why_no_field(line))
        fields.append(Field(name.lower(), name, value.strip(b" \t")))
    return fields


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
    found = _FORBIDDEN.search(head)
    if found is None:
        return
    if found[0] == b"\n":
        raise BadMessage(400, "A line of the head ends with LF alone.")
    raise BadMessage(400, "There is a control character in the head.")


def tokens(fields: list[Field], key: bytes) -> list[bytes]:
    """What the list in the fields of this name has, in lower case.

    :raises BadMessage: 400, if it is no list of tokens.
    """
    found = []
    for field in fields:
        if field.key == key:
            for item in field.value.split(b","):
                token = item.strip(b" \t").lower()
                if token and not _TOKEN.fullmatch(token):
                    raise BadMessage(400, f"{key.decode().title()} is no list of tokens.")
                found.append(token)
    return found


def values(fields: list[Field], key: bytes) -> list[bytes]:
    """The values of the fields of this name."""
    return [field.value for field in fields if field.key == key]


def end_to_end(fields: list[Field], connection: list[bytes]) -> list[Field]:
    """Those that go on, without what ``connection`` names and what is about one connection only."""
    return [
        field
        for field in fields
        if field.key not in _HOP_BY_HOP
        and field.key not in connection
        and not field.key.startswith(b"proxy-")
    ]


def write_fields(start: bytes, fields: list[Field]) -> bytes:
    """A head: ``start`` is its first line."""
    lines = [start]
    lines += [b"%b: %b" % (field.name, field.value) for field in fields]
    lines += (b"", b"")
    return b"\r\n".join(lines)
