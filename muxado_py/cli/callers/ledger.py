"""Ledger: what is written down of each caller of the gateway, and the line in the log when it has left.

What it is.  An *entry* for each connection to a door, which those who serve it tell where it was led, what it was
answered and how it ended; once it is closed it is a line of the logger ``muxado.access``.

Where data comes from.  Nothing is counted on the way of the bytes: how many there were is asked of the caller's stream,
when all is over.  Where nobody wants the line, an entry is :data:`UNWRITTEN`, which takes everything and keeps nothing.

The rules.  Each caller has one line, also who was turned away at the door.  What is *refused* no application has seen;
what is *cut off* may have been executed.

The traps.  Who calls cannot be asked at the end, when the connection is gone; and the status is that of the first answer,
which is 100 where the caller asked to be told to go on.  A line for each connection is what a short connection costs
most, so it is made without what ``Logger.info`` finds out and no format of ours shows: where in the source it was called.
"""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from anyio.abc import SocketAttribute

from ...errors import escaped
from ...links.attributes import asked
from ...runtime.plain_sockets import PlainSocket
from ..log_lines import fields
from .latest import MAX_LINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import ByteStream

    from ..agents.agent import Passage
    from .latest import Latest

__all__ = (
    "UNWRITTEN",
    "End",
    "Entry",
    "Ledger",
    "Written",
    "address_text",
    "addresses_of",
    "is_wanted",
)

logger = logging.getLogger("muxado.access")


class End(StrEnum):
    """How a caller's connection ended."""

    ANSWERED = "answered"
    """In order, after what it and its agent had to say."""
    REFUSED = "refused"
    """By the gateway; no application has seen what it said."""
    CUT_OFF = "cut off"
    """By its agent, by a limit of the gateway's, or by the end of that."""
    GONE = "gone"
    """By itself: it broke off, or did not say or take what was due."""


def is_wanted() -> bool:
    """Whether anybody would see a line."""
    return logger.isEnabledFor(logging.INFO)


class Entry:
    """One caller of which nothing is written down."""

    __slots__ = ()

    def led(self, passage: Passage) -> None:
        """It has ``passage``, which is no other's, and no other any more."""

    def asking(self, said: bytes | bytearray) -> None:
        """It is asking in HTTP/1, and ``said`` is the head of its first request."""

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

    __slots__ = (
        "_client",
        "_door",
        "_ledger",
        "_passage",
        "_since",
        "end",
        "line",
        "name",
        "status",
    )

    def __init__(self, ledger: Ledger, connection: ByteStream, name: str | None) -> None:
        self._ledger = ledger
        self._since = ledger.now()
        self._passage: Passage | None = None
        self._client, self._door = addresses_of(connection)
        self.name = name
        """What it wanted."""
        self.end = End.CUT_OFF
        self.line = b""
        """The first of its request, if that is HTTP/1 and somebody is to see it."""
        self.status: int | None = None
        """Of the first answer, if that was HTTP/1."""

    @property
    def client(self) -> str | None:
        """Its address; None on a Unix socket."""
        return address_text(self._client)

    @property
    def door(self) -> str | None:
        """Where it came in; where its session did, if it is a stream."""
        return address_text(self._door)

    @property
    def agent(self) -> str | None:
        """Who had it last."""
        return None if self._passage is None else self._passage.agent.peer

    def led(self, passage: Passage) -> None:
        self._passage = passage

    def asking(self, said: bytes | bytearray) -> None:
        if self._ledger.latest is not None:
            self.line = bytes(said[: min(said.find(b"\n"), MAX_LINE)])

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
            "end": str(self.end),
            "status": self.status,
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
            "seconds": round(self._ledger.now() - self._since, 6),
        }


class Ledger:
    """The entries of a gateway.

    :param now: the time, in seconds, also where no task runs.
    :param writes: whether each is a line in the log.
    :param latest: where they are seen.
    """

    def __init__(
        self, now: Callable[[], float], *, writes: bool = True, latest: Latest | None = None
    ) -> None:
        self.now = now
        self._writes = writes
        self.latest = latest
        self.ends: Counter[tuple[str | None, End]] = Counter()
        """How many have left, by name and end."""
        self.sizes: Counter[tuple[str | None, str]] = Counter()
        """The bytes of those, by name and way, ``in`` or ``out``."""

    def open(self, connection: ByteStream, name: str | None, *, is_served: bool) -> Entry:
        """One caller has come.

        :param name: of what its door leads to.
        :param is_served: whether it is not turned away.
        """
        entry = Written(self, connection, name)
        if is_served and self.latest is not None:
            self.latest.came(entry)
        return entry

    def close(self, entry: Written) -> None:
        """It has left."""
        values = entry.values()
        self.ends[entry.name, entry.end] += 1
        self.sizes[entry.name, "in"] += values["bytes_in"]
        self.sizes[entry.name, "out"] += values["bytes_out"]
        if self.latest is not None:
            self.latest.left(entry)
            self.latest.asked(entry, entry.end, values["seconds"])
        if not self._writes:
            return
        agent, name = values["agent"] or "no agent", entry.name
        record = logging.getLogRecordFactory()(
            logger.name,
            logging.INFO,
            __file__,
            0,
            "%s at %s, %s: %s%s, %d bytes in, %d out, %.3f s",
            (
                values["client"] or "a caller",
                values["door"],
                agent if name is None else f"{name} of {agent}",
                values["end"],
                "" if entry.status is None else f" {entry.status}",
                values["bytes_in"],
                values["bytes_out"],
                values["seconds"],
            ),
            None,
        )
        record.__dict__.update(fields(**values))
        logger.handle(record)


def addresses_of(connection: ByteStream) -> tuple[Any, Any]:
    """Of the peer and of our side, as the kernel writes them; None for what cannot be known."""
    # Without the tables of questions that anyio makes each time.
    if isinstance(connection, PlainSocket):
        raw = connection.raw_socket
        try:
            return raw.getpeername(), raw.getsockname()
        except OSError:  # it is gone
            return None, None
    return (
        asked(connection, SocketAttribute.remote_address),
        asked(connection, SocketAttribute.local_address),
    )


def address_text(address: Any) -> str | None:
    """For the log; None if there is none, or an empty one, as of Unix sockets."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = address.decode(errors="replace") if isinstance(address, bytes) else address
    return escaped(f"unix://{path}") if path else None
