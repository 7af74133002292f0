"""Accounts: what is written down of the callers of the HTTP door, and the line in the log for each request.

What it is.  An *account* for each caller, which those who serve it tell what it asks, where that was led and how it ended.
Each request is then a line of the logger ``muxado.access``, like that of a caller of a published port
(:mod:`..callers.ledger`), one of the last requests (:mod:`..callers.latest`), and a part of the sums for Prometheus.

Where data comes from.  How many bytes went each way is asked of the request's stream, when all is over.  Where nobody
wants to know, an account is :data:`NO_ACCOUNT`, which takes everything and keeps nothing.

The rules.  Of a request only its method and its path are told: what stands behind the question mark is the caller's secret as
often as not (a token, a signature), and lines are kept for long and read by many.  What is *refused* no application has seen.

The trap.  Callers make up names, and who may register makes up some too.  The sums are by names that an agent has had a request
of, and by no more than :data:`MAX_NAMES`: all others are one.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from ..callers.latest import MAX_LINE, read_line
from ..callers.ledger import End, address_text, addresses_of
from ..log_lines import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...runtime.plain_sockets import PlainSocket
    from ..agents.agent import Passage
    from ..callers.latest import Latest

__all__ = ("BUCKETS", "NO_ACCOUNT", "Account", "Accounts", "Sums", "Written")

logger = logging.getLogger("muxado.access")

MAX_NAMES = 500
"""Names whose requests are summed up each for itself."""

OTHERS = "(others)"
"""What the sums of all other names are under; no name can be that."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds of a request, at most; those of Prometheus' clients, and up to when answers are given up."""


class Account:
    """One caller of which nothing is written down."""

    __slots__ = ()

    def begin(self, said: bytes | bytearray) -> None:
        """It has a request, and ``said`` begins with that."""

    def asked_by(self, client: str | None) -> None:
        """That is not its own: a proxy says whose it is, as far as it knows."""

    def wants(self, name: str) -> None:
        """That is for ``name``."""

    def led(self, passage: Passage) -> None:
        """That is led to ``passage``, which is no other's, and to no other any more."""

    def answering(self, status: int) -> None:
        """That is answered so."""

    def ended(self, end: End) -> None:
        """That has ended so, if nobody said before how it did."""

    def close(self) -> None:
        """The caller has left."""


NO_ACCOUNT = Account()


class Written(Account):
    """One caller."""

    __slots__ = (
        "_accounts",
        "_passage",
        "_peer",
        "client",
        "door",
        "line",
        "name",
        "since",
        "status",
    )

    def __init__(self, accounts: Accounts, connection: PlainSocket) -> None:
        self._accounts = accounts
        self._passage: Passage | None = None
        self._peer, self.door = (address_text(one) for one in addresses_of(connection))
        self.client = self._peer
        """Who it is, or whose its request is."""
        self.since: float | None = None
        """When its request came; None if it has none."""
        self.line = b""
        """The first of that, or of the last."""
        self.name: str | None = None
        """What that wants, as far as it is a name below the domain; agents need not serve it."""
        self.status: int | None = None
        """What that was answered."""

    @property
    def agent(self) -> str | None:
        """Who had its request last."""
        return None if self._passage is None else self._passage.agent.peer

    def begin(self, said: bytes | bytearray) -> None:
        end = said.find(b"\n", 0, MAX_LINE)
        self.line = bytes(said[: MAX_LINE if end < 0 else end])
        self.since = self._accounts.now()
        self.name = self.status = self._passage = None
        self.client = self._peer

    def asked_by(self, client: str | None) -> None:
        self.client = client

    def wants(self, name: str) -> None:
        self.name = name

    def led(self, passage: Passage) -> None:
        self._passage = passage

    def answering(self, status: int) -> None:
        self.status = status

    def ended(self, end: End) -> None:
        if self.since is not None:
            self._accounts.add(self, end, self._accounts.now() - self.since)
            self.since = None

    def close(self) -> None:
        self._accounts.close(self)

    def sizes(self) -> tuple[int, int]:
        """Bytes of its request that went to the agent, and of the answer that came."""
        if self._passage is None:
            return 0, 0
        statistics = self._passage.stream.statistics()
        return statistics.bytes_sent + statistics.unsent, statistics.bytes_received


class Sums:
    """Those of the requests of one name.

    :ivar statuses: how many there were, by the first digit of the status; 0: they were not answered.
    :ivar buckets: how many there were that took no longer than the :data:`BUCKETS` say, each only in the first that holds it,
        and longer.
    """

    __slots__ = ("buckets", "bytes_in", "bytes_out", "seconds", "statuses")

    def __init__(self) -> None:
        self.statuses = [0] * 10
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.bytes_in = self.bytes_out = 0


class Accounts:
    """Those of one door.

    :param now: the time, in seconds, also where no task runs.
    :param writes: whether each request is a line in the log.
    :param latest: where callers and requests are seen.
    """

    def __init__(
        self, now: Callable[[], float], *, writes: bool = True, latest: Latest | None = None
    ) -> None:
        self.now = now
        self._writes = writes
        self._latest = latest
        self.sums: dict[str, Sums] = {"": Sums()}
        """By name; under none those that no agent had."""

    def open(self, connection: PlainSocket, *, is_served: bool) -> Account:
        """A caller has come.

        :param is_served: whether it is not turned away.
        """
        account = Written(self, connection)
        if is_served and self._latest is not None:
            self._latest.came(account)
        return account

    def close(self, account: Written) -> None:
        """It has left."""
        if self._latest is not None:
            self._latest.left(account)

    def add(self, account: Written, end: End, seconds: float) -> None:
        """A request is over."""
        agent, status = account.agent, account.status
        bytes_in, bytes_out = account.sizes()
        sums = self._sums_of("" if agent is None else account.name or "")
        sums.statuses[0 if status is None else status // 100] += 1
        sums.buckets[bisect_left(BUCKETS, seconds)] += 1
        sums.seconds += seconds
        sums.bytes_in += bytes_in
        sums.bytes_out += bytes_out
        if self._latest is not None:
            self._latest.asked(account, end, seconds)
        if self._writes:
            _write(account, agent, end, bytes_in, bytes_out, seconds)

    def _sums_of(self, name: str) -> Sums:
        found = self.sums.get(name)
        if found is None:
            if len(self.sums) > MAX_NAMES:
                name = OTHERS
            found = self.sums.setdefault(name, Sums())
        return found


def _write(
    account: Written, agent: str | None, end: End, bytes_in: int, bytes_out: int, seconds: float
) -> None:
    method, path = read_line(account.line)
    values: dict[str, Any] = {
        "client": account.client,
        "door": account.door,
        "name": account.name,
        "agent": agent,
        "method": method,
        "path": path,
        "end": end.value,
        "status": account.status,
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "seconds": round(seconds, 6),
    }
    to = agent or "no agent"
    record = logging.getLogRecordFactory()(
        logger.name,
        logging.INFO,
        __file__,
        0,
        "%s at %s, %s: %s%s%s, %d bytes in, %d out, %.3f s",
        (
            account.client or "a caller",
            account.door,
            to if account.name is None else f"{account.name} of {to}",
            f"{method} {path} " if method else "",
            end.value,
            "" if account.status is None else f" {account.status}",
            bytes_in,
            bytes_out,
            seconds,
        ),
        None,
    )
    record.__dict__.update(fields(**values))
    logger.handle(record)
