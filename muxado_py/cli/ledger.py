"""Ledger: what is written down of each caller of the gateway, and the line in the log when it has left.

What it is.  An *entry* for each connection to a door, which those who serve it tell where it was led, what it was
answered and how it ended; once it is closed it is a line of the logger ``muxado.access``.

Where data comes from.  Nothing is counted on the way of the bytes: how many there were is asked of the caller's stream,
when all is over.  Where nobody wants the line, an entry is :data:`UNWRITTEN`, which takes everything and keeps nothing.

The rules.  Each caller has one line, also who was turned away at the door.  What is *refused* no application has seen;
what is *cut off* may have been executed.

The trap.  Who calls cannot be asked at the end, when the connection is gone; and the status is that of the first answer,
which is 100 where the caller asked to be told to go on.
"""

from __future__ import annotations

import logging
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Any

from anyio.abc import SocketAttribute

from ..errors import escaped
from .log_lines import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import ByteStream

    from .agent import Passage

__all__ = ("UNWRITTEN", "End", "Entry", "Ledger", "Written", "is_wanted")

logger = logging.getLogger("muxado.access")


class End(Enum):
    """How a caller's connection ended."""

    ANSWERED = "answered"
    """In order, after what it and its agent had to say."""
    REFUSED = "refused"
    """By the gateway; no application has seen what it said."""
    CUT_OFF = "cut off"
    """By its agent, or by the end of the gateway."""
    GONE = "gone"
    """By itself: it broke off, or had said nothing."""


def is_wanted() -> bool:
    """Whether anybody would see a line."""
    return logger.isEnabledFor(logging.INFO)


class Entry:
    """One caller of which nothing is written down."""

    __slots__ = ()

    def led(self, passage: Passage) -> None:
        """It has ``passage``, which is no other's, and no other any more."""

    def answering(self, data: bytes) -> None:
        """It is answered, and ``data`` is the beginning."""

    def ended(self, end: End, status: int | None = None) -> None:
        """It ends like that; if nobody says so, it is cut off.

        :param status: what the gateway answers, if it does.
        """

    def close(self) -> None:
        """It has left."""


UNWRITTEN = Entry()


class Written(Entry):
    """One caller."""

    __slots__ = ("_ledger", "_passage", "_since", "client", "door", "end", "name", "status")

    def __init__(self, ledger: Ledger, connection: ByteStream, name: str | None) -> None:
        self._ledger = ledger
        self._since = ledger.now()
        self._passage: Passage | None = None
        self.client = _address(connection, SocketAttribute.remote_address)
        """Its address; None on a Unix socket."""
        self.door = _address(connection, SocketAttribute.local_address)
        """Where it came in; where its session did, if it is a stream."""
        self.name = name
        """What it wanted."""
        self.end = End.CUT_OFF
        self.status: int | None = None
        """Of the first answer, if that was HTTP/1."""

    @property
    def agent(self) -> str | None:
        """Who had it last."""
        return None if self._passage is None else self._passage.agent.peer

    def led(self, passage: Passage) -> None:
        self._passage = passage

    def answering(self, data: bytes) -> None:
        status = data[9:12]
        if data.startswith(b"HTTP/1.") and len(status) == 3 and status.isdigit():
            self.status = int(status)

    def ended(self, end: End, status: int | None = None) -> None:
        self.end = end
        if status is not None:
            self.status = status

    def close(self) -> None:
        self._ledger.close(self)

    def values(self) -> dict[str, Any]:
        """What it says, once all is over."""
        bytes_in = bytes_out = 0
        if self._passage is not None:
            statistics = self._passage.stream.statistics()
            bytes_in = statistics.bytes_sent + statistics.unsent
            bytes_out = statistics.bytes_received
        return {
            "client": self.client,
            "door": self.door,
            "name": self.name,
            "agent": self.agent,
            "end": self.end.value,
            "status": self.status,
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            "seconds": round(self._ledger.now() - self._since, 6),
        }


class Ledger:
    """The entries of a gateway.

    :param now: the time, in seconds, also where no task runs.
    :param writes: whether each is a line in the log.
    """

    def __init__(self, now: Callable[[], float], *, writes: bool = True) -> None:
        self.now = now
        self._writes = writes
        self.ends: Counter[tuple[str | None, End]] = Counter()
        """How many have left, by name and end."""
        self.sizes: Counter[tuple[str | None, str]] = Counter()
        """The bytes of those, by name and way, ``in`` or ``out``."""

    def open(self, connection: ByteStream, name: str | None) -> Entry:
        """One caller has come.

        :param name: of what its door leads to.
        """
        return Written(self, connection, name)

    def close(self, entry: Written) -> None:
        """It has left."""
        values = entry.values()
        self.ends[entry.name, entry.end] += 1
        self.sizes[entry.name, "in"] += values["bytes_in"]
        self.sizes[entry.name, "out"] += values["bytes_out"]
        if not self._writes:
            return
        status = "" if entry.status is None else f" {entry.status}"
        logger.info(
            "%s at %s, %s: %s%s, %d bytes in, %d out, %.3f s",
            entry.client or "a caller",
            entry.door,
            _destination(entry),
            entry.end.value,
            status,
            values["bytes_in"],
            values["bytes_out"],
            values["seconds"],
            extra=fields(**values),
        )


def _destination(entry: Written) -> str:
    agent = "no agent" if entry.agent is None else entry.agent
    return agent if entry.name is None else f"{entry.name} of {agent}"


def _address(connection: ByteStream, attribute: Any) -> str | None:
    try:
        found = connection.extra(attribute, None)
    except OSError:  # it is gone
        return None
    if isinstance(found, tuple):
        host, port = found[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = found.decode(errors="replace") if isinstance(found, bytes) else found
    return escaped(f"unix://{path}") if path else None
