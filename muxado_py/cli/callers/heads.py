"""Heads: what a caller began to say, told apart as far as a gateway of bytes has to.

What it is.  A published address copies bytes, whatever they mean.  Two things need to know whether they are
HTTP/1: who waits for the rest of a request's head, which no application can use in part; and who has no
agent for the caller, and could tell it so.

The rule.  What is not certainly the beginning of a request is another protocol, and gets its stream at once:
waiting for more could be waiting for ever.

The trap.  Other protocols begin with a word in capitals too (IRC, SMTP), so only a whole request line, with its
version, is proof.
"""

from __future__ import annotations

import re
from enum import Enum

__all__ = ("MOST_KEPT", "Head", "head_of")

MOST_KEPT = 64 * 1024
"""Bytes in which a head is looked for, and that are kept to be sent to another agent."""

_METHOD = rb"(?!PRI )[A-Z][A-Z0-9_-]{0,63}"  # "PRI * HTTP/2.0" understands no answer in HTTP/1
_LINE = re.compile(_METHOD + rb" \S+ HTTP/1\.\d\r?\n")
_LINE_SO_FAR = re.compile(rb"(?:[A-Z][A-Z0-9_-]{0,63}(?: \S*(?: [HTP/\d.]{0,8}\r?)?)?)?")
_END = re.compile(rb"\n\r?\n")


class Head(Enum):
    """What the bytes of a caller are, so far."""

    NOTHING = "nothing"
    """Nothing yet."""

    UNCERTAIN = "uncertain"
    """A piece of what may become a request line."""

    PART = "part"
    """An HTTP/1 request whose head goes on."""

    WHOLE = "whole"
    """An HTTP/1 request with all of its head, or with so much of it that nobody need wait for more."""

    OTHER = "other"
    """Another protocol."""

    def __init__(self, name: str) -> None:
        self.is_http = name in ("part", "whole")
        self.is_settled = name in ("whole", "other")
        """Whether nothing that comes later changes it."""


def head_of(said: bytes | bytearray) -> Head:
    """What ``said`` begins with."""
    if not said:
        return Head.NOTHING
    if _LINE.match(said):
        return Head.WHOLE if len(said) >= MOST_KEPT or _END.search(said) else Head.PART
    if len(said) < MOST_KEPT and _LINE_SO_FAR.fullmatch(said):
        return Head.UNCERTAIN
    return Head.OTHER
