"""The side that dials: connect, attach the session to a server, connect again, elsewhere if that is possible.

What it is.  :func:`keep_connected` keeps one session, to one of the URLs that it knows, until it is told to stop.

The rules.  Where a session fails, the next URL is tried at once; only who has failed at all of them waits.  They are tried
in an order that is drawn, so that agents of one command line are spread over the gateways.  A peer that ends asks this
side to move: then another session is there before that one is left, and both are served until the peer has ended it.  A
lost session is an event in the log and not an error; only the end of all attempts is.  Whoever is stopping
dials no more, and reports the end that it caused itself as no loss.

The trap.  A certificate that either side does not trust looks like any other failure to connect, but waiting does not
mend it: before the first success it ends the command, when all URLs have failed so.
"""

from __future__ import annotations

import logging
import random
import re
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from .attempt import Attempt
from .running import ConnectionLost, NotStarted, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.abc import TaskGroup

    from .attempt import Attach
    from .backoff import Backoff

__all__ = ("keep_connected",)

logger = logging.getLogger("muxado.cli")

LASTING = 5.0
"""Seconds after which a session counts as a good one, and the back-off begins again."""

CONNECT_TIMEOUT = 5.0
"""Seconds to connect in, where there is another URL to try."""

MOVE_TIMEOUT = 2.0
"""Seconds in which a peer to move to must have taken this side: longer than it may take to register."""

MOVE_PAUSE = 0.1
"""Seconds between two rounds of trying to move: what a balancer may need to see that a gateway ends."""

UNKNOWN_ISSUER = (18, 19, 20, 21)
"""OpenSSL's codes (x509_vfy.h) for a chain that ends at no authority that is trusted here."""

REFUSAL = re.compile(r"ALERT_(\w*CERTIFICATE\w*|UNKNOWN_CA)\b")
"""What OpenSSL says where the peer's alert is about this side's certificate."""


async def keep_connected(
    urls: Sequence[str],
    attach: Attach,
    *,
    stop: anyio.Event,
    config: muxado.Config,
    ssl_context: ssl.SSLContext | None,
    backoff: Backoff,
    max_retries: int | None,
) -> None:
    """Dial one of ``urls``, give the session to ``attach`` until it is over, dial again; returns after ``stop``.

    :param attach: serves a session; it may be called again before it has returned.
    :param stop: once set, nothing is dialed any more; a session that is there goes on until it is over.
    :param ssl_context: for those of ``tls://``.
    :param max_retries: failures in a row, each at all URLs, that are retried; None for no end.
    :raises NotStarted: if it gave up before a peer ever answered.
    :raises ConnectionLost: if it gave up later.

    Cancellation: the sessions are closed with a short goodbye.
    """
    if len(urls) > 1:
        config = replace(config, connect_timeout=min(CONNECT_TIMEOUT, config.connect_timeout))
    ended: Exception | None = None
    async with anyio.create_task_group() as tasks:

        def dial(url: str) -> Attempt:
            attempt = Attempt(url, config, ssl_context)
            tasks.start_soon(attempt.run, attach, stop)
            return attempt

        keeper = _Keeper(_Rounds(urls, backoff, max_retries), dial, stop)
        try:
            await keeper.run(tasks)
        except (NotStarted, ConnectionLost) as exc:
            ended = exc
            tasks.cancel_scope.cancel()
    if ended is not None:
        raise ended


class _Rounds:
    """Which URL is next, and what there is to wait before.

    :ivar next: that URL.
    """

    def __init__(self, urls: Sequence[str], backoff: Backoff, max_retries: int | None) -> None:
        self._urls = random.sample(urls, len(urls))
        self._backoff = backoff
        self._max_retries = max_retries
        self._failed: set[str] = set()  # in this round
        self._distrusted: set[str] = set()
        self._ever_answered = False
        self.next = self._urls[0]

    def others(self, url: str) -> list[str]:
        """All of them, ``url`` last: what answers there may be another one by now."""
        index = self._urls.index(url) + 1
        return self._urls[index:] + self._urls[:index]

    def settled(self, attempt: Attempt) -> None:
        """It is good for now."""
        self._ever_answered = self._ever_answered or attempt.answered
        if attempt.lasted >= LASTING:
            self._backoff.reset()
            self._failed.clear()

    def failed(self, attempt: Attempt, cause: str) -> float:
        """Choose the next URL after ``attempt``; the seconds to wait before.

        :raises NotStarted: if there is no next one, and nobody ever answered.
        :raises ConnectionLost: if there is none, and somebody did.
        """
        self.settled(attempt)
        self._judge_trust(attempt)
        self._failed.add(attempt.url)
        self.next = next(
            (url for url in self.others(attempt.url) if url not in self._failed), self._urls[0]
        )
        if self.next not in self._failed:
            logger.warning("%s %s: %s; trying %s", attempt.event, attempt.url, cause, self.next)
            return 0.0
        self._failed.clear()
        delay = self._backoff.failed()
        failures = self._backoff.failures
        if self._max_retries is not None and failures > self._max_retries:
            ended = ConnectionLost if self._ever_answered else NotStarted
            point = "" if cause.endswith("?") else "."
            raise ended(
                f"{attempt.event} {attempt.url}: {cause}{point} Gave up after {failures} attempt(s)"
                f"{f' at each of {len(self._urls)} gateways' if len(self._urls) > 1 else ''}."
            )
        logger.warning(
            "%s %s: %s; trying again in %.1f s", attempt.event, attempt.url, cause, delay
        )
        return delay

    def _judge_trust(self, attempt: Attempt) -> None:
        """:raises NotStarted: if no URL is left with which there may be trust."""
        if self._ever_answered or attempt.failure is None:
            return
        distrust = _distrust(attempt.failure)
        if distrust is None:
            return
        self._distrusted.add(attempt.url)
        if self._distrusted.issuperset(self._urls):
            raise NotStarted(f"{attempt.url} {distrust}.") from attempt.failure


class _Keeper:
    """Keeps one session.

    :param dial: begins an attempt.
    """

    def __init__(self, rounds: _Rounds, dial: Callable[[str], Attempt], stop: anyio.Event) -> None:
        self._rounds = rounds
        self._dial = dial
        self._stop = stop

    async def run(self, tasks: TaskGroup) -> None:
        """Returns after ``stop``, when the last session is over that was not left.

        :param tasks: where those are waited for that were.
        """
        attempt = self._dial(self._rounds.next)
        while True:
            await attempt.told.wait()
            if not attempt.over.is_set() and (other := await self._move(attempt)) is not None:
                tasks.start_soon(_see_off, attempt)
                attempt = other
                continue
            await attempt.over.wait()
            if self._stop.is_set():
                _report_end(attempt)
                return
            delay = self._rounds.failed(attempt, _cause(attempt))
            with anyio.move_on_after(delay):
                await self._stop.wait()
            if self._stop.is_set():
                return
            attempt = self._dial(self._rounds.next)

    async def _move(self, attempt: Attempt) -> Attempt | None:
        """The attempt that takes the place of this one, which its peer wants to end; None if none does."""
        logger.info("%s ends, and asks to move", attempt.url)
        while not (self._stop.is_set() or attempt.over.is_set()):
            nobody_listens = True
            for url in self._rounds.others(attempt.url):
                other = self._dial(url)
                with anyio.move_on_after(MOVE_TIMEOUT):
                    await other.judged()
                if other.is_settled:
                    logger.info("moved from %s to %s", attempt.url, url)
                    self._rounds.settled(other)
                    attempt.has_moved()
                    return other
                other.give_up()
                await other.over.wait()
                logger.info("cannot move to %s: %s", url, _cause(other))
                nobody_listens = nobody_listens and _nobody_listens(other.failure)
            if nobody_listens:
                attempt.has_moved(why_not="nobody listens anywhere else")
                return None
            with anyio.move_on_after(MOVE_PAUSE):
                await attempt.over.wait()
        return None


async def _see_off(attempt: Attempt) -> None:
    """Say when the end has come of a session that was left."""
    await attempt.over.wait()
    _report_end(attempt)


def _report_end(attempt: Attempt) -> None:
    if attempt.failure is None:
        logger.info("no longer connected to %s", attempt.url)
    else:
        logger.info("no longer connected to %s: %s", attempt.url, _cause(attempt))


def _cause(attempt: Attempt) -> str:
    exc = attempt.failure
    if exc is None:
        return "the other side closed the session"
    return reason(exc) + (_no_tls(exc) or attempt.hint)


def _nobody_listens(exc: BaseException | None) -> bool:
    """Whether it was refused by the system, at all addresses: no balancer is there either."""
    if isinstance(exc, BaseExceptionGroup):
        return all(_nobody_listens(one) for one in exc.exceptions)
    if isinstance(exc, ConnectionRefusedError | FileNotFoundError):
        return True
    return type(exc) is OSError and _nobody_listens(exc.__cause__)


def _no_tls(exc: Exception) -> str | None:
    """What to look at when the peer's first bytes were none of TLS."""
    if isinstance(exc, ssl.SSLError) and exc.reason == "WRONG_VERSION_NUMBER":
        return "; it answered without TLS: does it want tcp://?"
    return None


def _distrust(exc: Exception) -> str | None:
    """Which side does not trust the other's certificate, and what mends it; None if it is not that."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        why = exc.verify_message.rstrip(".")
        if exc.verify_code in UNKNOWN_ISSUER:
            return f"shows a certificate that is not trusted: {why}. Name its authority with --ssl-ca-certs"
        return f"shows a certificate that does not hold: {why}"
    # With TLS 1.3 the peer judges when this side is done with its handshake, and the session hears of it.
    if isinstance(exc, ssl.SSLError | muxado.TransportError) and (
        alert := REFUSAL.search(str(exc))
    ):
        why = alert[1].replace("_", " ").lower()
        return f"does not let this side in: {why}. Show a certificate of its authority, with --ssl-certfile"
    return None
