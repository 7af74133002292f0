"""Bodies: where the body of a message ends, and what is in it.

What it is.  One class for each way in which a body can be framed.  Each is fed what comes, gives back the content, and knows
when it is done; what came behind the end is its ``rest``.

The rule.  No more is held than a line of a chunk's size or the trailers, and both have a bound.  Chunks are read to the letter
and written anew, so extensions and odd sizes end here.

The trap.  The trailers of a request are read and thrown away, which RFC 9110 6.5.1 allows: some servers put them among the
fields of the head, where what a caller says of its own address would stand behind what the gateway says.  Those of an answer go
on, but for what may stand in a head only, and for names with an underscore, which a program may take for those with a hyphen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from .fields import (
    BadMessage,
    Filter,
    check_characters,
    is_end_to_end,
    read_fields,
    write_fields,
)

if TYPE_CHECKING:
    from .fields import Field

__all__ = ("Body", "Chunked", "Counted", "UntilEnd", "chunk", "last_chunk")

MAX_SIZE_LINE = 256
MAX_TRAILERS = 8 * 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e]*)?\r\n")
_NEVER_IN_TRAILERS = (b"authorization", b"cookie", b"host", b"set-cookie")


def _goes_on(key: bytes) -> bool:
    return is_end_to_end(key) and key not in _NEVER_IN_TRAILERS and b"_" not in key


_filter = Filter(_goes_on)


class Body(Protocol):
    """A body that comes."""

    done: bool
    """Whether it has come whole."""

    @property
    def rest(self) -> bytes:
        """What came behind it."""

    def feed(self, data: bytes) -> bytes:
        """What of ``data`` is content.

        :raises BadMessage: 400.
        """

    def end(self) -> None:
        """Nothing more comes.

        :raises EOFError: if it is not whole.
        """


class Counted:
    """A body of so many bytes."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self.done = not size
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        if len(data) >= self._missing:
            self.rest = data[self._missing :]
            data = data[: self._missing]
            self.done = True
        self._missing -= len(data)
        return data

    def end(self) -> None:
        if not self.done:
            raise EOFError


class UntilEnd:
    """A body that ends with the connection."""

    done = False
    rest = b""

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> None:
        self.done = True


class Chunked:
    """A body in chunks.

    :ivar trailers: the fields behind it that go on.
    """

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self.trailers: list[Field] = []
        self._held = b""  # a part of a line, or of the trailers
        self._missing = 0  # of a chunk, with the CRLF behind it
        self._in_trailers = False

    def feed(self, data: bytes) -> bytes:
        if self._held:
            data, self._held = self._held + data, b""
        content: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._missing:
                at = self._take(data, at, content)
            elif self._in_trailers:
                at = self._end_trailers(data, at)
            else:
                at = self._begin_chunk(data, at)
        if self.done:
            self.rest = data[at:]
        return content[0] if len(content) == 1 else b"".join(content)

    def end(self) -> None:
        if not self.done:
            raise EOFError

    def _take(self, data: bytes, at: int, content: list[bytes]) -> int:
        """Of a chunk, or of the CRLF behind it."""
        if self._missing > 2:
            piece = data[at : at + self._missing - 2]
            content.append(piece)
            self._missing -= len(piece)
            at += len(piece)
        if self._missing <= 2 and at < len(data):
            expected = b"\r\n"[2 - self._missing :]
            found = data[at : at + self._missing]
            if not expected.startswith(found):
                raise BadMessage(400, "A chunk is longer than it says.")
            self._missing -= len(found)
            at += len(found)
        return at

    def _begin_chunk(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at, at + MAX_SIZE_LINE)
        if end < 0:
            if len(data) - at >= MAX_SIZE_LINE:
                raise BadMessage(400, "The line before a chunk is too long.")
            self._held = data[at:]
            return len(data)
        line = _SIZE.fullmatch(data, at, end + 1)
        if line is None:
            raise BadMessage(400, "The line before a chunk has no size.")
        size = int(line[1], 16)
        if size:
            self._missing = size + 2
        else:
            self._in_trailers = True
        return end + 1

    def _end_trailers(self, data: bytes, at: int) -> int:
        if data.startswith(b"\r\n", at):
            self.done = True
            return at + 2
        end = data.find(b"\r\n\r\n", at, at + MAX_TRAILERS)
        if end < 0:
            if len(data) - at >= MAX_TRAILERS:
                raise BadMessage(431, "The trailers are too long.")
            self._held = data[at:]
            return len(data)
        block = data[at:end]
        check_characters(block)
        self.trailers = _filter(read_fields(block.split(b"\r\n")), [])
        self.done = True
        return end + 4


def chunk(content: bytes) -> bytes:
    """``content``, which is not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def last_chunk(trailers: list[Field]) -> bytes:
    """The end of a body in chunks."""
    return write_fields(b"0", trailers)
