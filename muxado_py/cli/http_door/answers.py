"""Answers: an agent's head in one reading, and the form in which a caller gets it.

What it is.  :func:`read_answer` makes an :class:`Answer` of a head; with the method it says how the body is framed, and
:meth:`Answer.for_caller` how it goes on.

The rule.  The caller's framing is ours: a length that the agent said stays, anything else becomes chunks, or the end of the
connection for HTTP/1.0.  So one answer is never longer or shorter for the caller than it was for us.  Of Upgrade the caller gets
what this door does, a websocket; of other protocols it is told nothing, even by a 426.

The trap.  An agent that says two lengths may have been made to say so by what a caller sent it.  It is not believed in
either.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .bodies import Body, Chunked, Counted, UntilEnd
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

__all__ = ("Answer", "read_answer")

_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_READ = frozenset((b"connection", b"content-length", b"transfer-encoding", b"upgrade"))
_NONE: list[bytes] = []
_filter = Filter(is_end_to_end)


class Answer(NamedTuple):
    """An agent's answer, without what was about its connection."""

    status: int
    phrase: bytes
    fields: list[Field]
    length: int | None
    is_chunked: bool
    is_websocket: bool
    """Whether it switches to that (101), or says that the request has to (426)."""

    @property
    def is_interim(self) -> bool:
        """Whether another follows."""
        return self.status < 200

    def body(self, method: bytes) -> Body:
        """The body that is to come."""
        if method == b"HEAD" or self.status in (204, 304):
            return Counted(0)
        if self.is_chunked:
            return Chunked()
        return UntilEnd() if self.length is None else Counted(self.length)

    def for_caller(self, *, in_chunks: bool, connection: bytes) -> bytes:
        """The head for a caller.

        :param in_chunks: whether a body follows, in chunks.
        :param connection: what to say of the connection, if anything.
        """
        own = []
        if in_chunks:
            own.append(b"Transfer-Encoding: chunked")
        elif self.length is not None and self.status != 204 and not self.is_interim:
            own.append(b"Content-Length: %d" % self.length)
        if self.is_websocket:
            own.append(b"Upgrade: websocket")
            connection = connection + b", Upgrade" if connection else b"Upgrade"
        if connection:
            own.append(b"Connection: " + connection)
        return write_fields(b"HTTP/1.1 %d %b" % (self.status, self.phrase), self.fields, *own)


def read_answer(head: bytes) -> Answer:
    """The answer of a whole head.

    :raises BadMessage: 502.
    """
    try:
        check_characters(head)
        line, *lines = head[:-4].split(b"\r\n")
        match = _LINE.fullmatch(line)
        if match is None:
            raise BadMessage(502, "The first line is no answer of HTTP/1.")
        fields = read_fields(lines)
        found = values_of(fields, _READ)
        connection = tokens(found.get(b"connection", _NONE), b"connection")
        length, is_chunked = _framing(found)
    except BadMessage as exc:
        raise BadMessage(502, f"The agent's answer cannot be read: {exc.text}") from None
    status = int(match[1])
    return Answer(
        status,
        match[2] or b"",
        _filter(fields, connection),
        length,
        is_chunked,
        _names_websocket(status, found.get(b"upgrade", _NONE)),
    )


def _names_websocket(status: int, upgrade: list[bytes]) -> bool:
    """Whether the answer says that to its caller, who goes on with nothing else through this door."""
    if status == 101:
        return [one.lower() for one in upgrade] == [b"websocket"]
    named = b",".join(upgrade).lower().split(b",")  # of which a caller may choose
    return status == 426 and b"websocket" in [one.strip(b" \t") for one in named]


def _framing(found: dict[bytes, list[bytes]]) -> tuple[int | None, bool]:
    lengths = found.get(b"content-length", _NONE)
    encodings = found.get(b"transfer-encoding", _NONE)
    if len(lengths) + len(encodings) > 1:
        raise BadMessage(502, "It says in two ways how long it is.")
    if encodings and encodings[0].lower() != b"chunked":
        raise BadMessage(502, "Its Transfer-Encoding is not chunked.")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise BadMessage(502, "Its Content-Length is no number.")
    return (int(lengths[0]) if lengths else None), bool(encodings)
