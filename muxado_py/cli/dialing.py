"""The side that dials: connect, attach the session to a server, connect again.

What it is.  :func:`keep_connected` keeps one session to one URL until it is told to stop.

The rules.  A lost session is an event in the log and not an error; only the end of all attempts is.  "Connected"
is said when the peer has shown that it speaks this wire: a balancer without a backend and a process that hangs
take connections too.  Whoever is stopping dials no more, and reports the end that it caused itself as no loss.

The trap.  A certificate that either side does not trust looks like any other failure to connect, but waiting does not
mend it: before the first success it ends the command.
"""

from __future__ import annotations

import logging
import math
import re
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from .registration import RegistrationError
from .running import ConnectionLost, NotStarted, reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .backoff import Backoff

__all__ = ("CONNECT_ERRORS", "keep_connected")

logger = logging.getLogger("muxado.cli")

LASTING = 5.0
"""Seconds after which a session counts as a good one, and the back-off begins again."""

CONNECT_ERRORS = (OSError, muxado.MuxadoError, anyio.BrokenResourceError, anyio.EndOfStream)

SILENT = "a Go or Rust peer that opens no stream may be silent, a muxado gateway is not"

UNKNOWN_ISSUER = (18, 19, 20, 21)
"""OpenSSL's codes (x509_vfy.h) for a chain that ends at no authority that is trusted here."""

REFUSAL = re.compile(r"ALERT_(\w*CERTIFICATE\w*|UNKNOWN_CA)\b")
"""What OpenSSL says where the peer's alert is about this side's certificate."""


async def keep_connected(
    url: str,
    attach: Callable[[muxado.Session], Awaitable[None]],
    *,
    stop: anyio.Event,
    config: muxado.Config,
    ssl_context: ssl.SSLContext | None,
    backoff: Backoff,
    max_retries: int | None,
) -> None:
    """Dial ``url``, give the session to ``attach`` until it is over, dial again; returns after ``stop``.

    :param stop: once set, nothing is dialed any more; a session that is there goes on until it is over.
    :param max_retries: failures in a row that are retried; None for no end.
    :raises NotStarted: if it gave up before a peer ever answered.
    :raises ConnectionLost: if it gave up later.

    Cancellation: the session is closed with a short goodbye.
    """
    ever_answered = False
    while not stop.is_set():
        attempt = _Attempt(url, config, ssl_context)
        try:
            await attempt.run(attach, stop)
            if stop.is_set():
                logger.info("no longer connected to %s", url)
                return
            cause = "the other side closed the session"
        except CONNECT_ERRORS as exc:
            if not ever_answered and (distrust := _distrust(exc)):
                raise NotStarted(f"{url} {distrust}.") from exc
            cause = reason(exc) + (_no_tls(exc) or attempt.hint)
        ever_answered = ever_answered or attempt.answered
        if stop.is_set():
            logger.info("no longer connected to %s: %s", url, cause)
            return
        if attempt.lasted >= LASTING:
            backoff.reset()
        event = "lost the connection to" if attempt.answered else "cannot connect to"
        if attempt.unregistered:
            event = "cannot register at"
        delay = backoff.failed()
        if max_retries is not None and backoff.failures > max_retries:
            ended = ConnectionLost if ever_answered else NotStarted
            point = "" if cause.endswith("?") else "."
            raise ended(
                f"{event} {url}: {cause}{point} Gave up after {backoff.failures} attempt(s)."
            )
        logger.warning("%s %s: %s; trying again in %.1f s", event, url, cause, delay)
        with anyio.move_on_after(delay):
            await stop.wait()


class _Attempt:
    """One session, or what came of dialing for it."""

    def __init__(self, url: str, config: muxado.Config, ssl_context: ssl.SSLContext | None) -> None:
        self._url = url
        self._config = config
        self._ssl_context = ssl_context
        self._since: float | None = None  # when the connection was there
        self._heard = False  # whether the peer said a byte, of whatever wire
        self.answered = False
        """Whether the peer showed that it speaks this wire."""

        self.unregistered = False
        """Whether it ended because the peer did not take what this side registered."""

    @property
    def lasted(self) -> float:
        """Seconds that the session was there."""
        return 0.0 if self._since is None else anyio.current_time() - self._since

    @property
    def hint(self) -> str:
        """What to look at when a peer took the connection and never said a word."""
        if self._since is None or self._heard:
            return ""
        wants = (
            "a certificate (--ssl-certfile) that it knows"
            if self._url.startswith("tls://")
            else "tls://"
        )
        return f"; it never said a word: does it want {wants}, or another --wire?"

    async def run(
        self, attach: Callable[[muxado.Session], Awaitable[None]], stop: anyio.Event
    ) -> None:
        connecting = muxado.connect(self._url, config=self._config, ssl_context=self._ssl_context)
        async with connecting as session:
            if stop.is_set():
                return  # it came too late to serve anybody
            self._since = anyio.current_time()
            ended = await self._attached(session, attach)
            self.answered = self.answered or session.heard
            self._heard = session.statistics().bytes_received > 0
            self.unregistered = isinstance(ended, RegistrationError)
            if ended is not None:
                raise ended

    async def _attached(
        self, session: muxado.Session, attach: Callable[[muxado.Session], Awaitable[None]]
    ) -> Exception | None:
        """What ended it, as a value: a task group would wrap it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._announce, session)
            try:
                await attach(session)
            except CONNECT_ERRORS as exc:
                return exc
            finally:
                tasks.cancel_scope.cancel()
        return None

    async def _announce(self, session: muxado.Session) -> None:
        config = self._config
        patience = config.recognize_timeout + (config.heartbeat_interval or 0.0)
        with suppress(muxado.SessionError):  # whoever serves the session says why
            try:
                await session.wait_for_peer(patience)
            except muxado.PeerTimeoutError:
                if session.closed:
                    return
                logger.warning("%s took the connection and says nothing: %s", self._url, SILENT)
                await session.wait_for_peer(math.inf)
            self.answered = True
            logger.info("connected to %s", self._url)


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
