"""Attempt: one session that this side dials, from the first packet to its end, or what came of dialing for it.

What it is.  Whoever serves the session and whoever keeps one (:mod:`.dialing`) know each other by it: the one says that the
peer has taken this side, and that it asks it to move; the other says whether there is a session elsewhere now.

The rules.  "Connected" is said when the peer has shown that it speaks this wire: a balancer without a backend and a process
that hangs take connections too.  An attempt ends once, and :attr:`Attempt.over` is set then, however it ended.

The trap.  A Go or Rust peer says nothing until it has something to say; what is silent is not wrong yet.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from .registration import RegistrationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    Attach = Callable[[muxado.Session, "Attempt"], Awaitable[None]]
    """Serves a session until it is over."""

__all__ = ("CONNECT_ERRORS", "Attempt")

logger = logging.getLogger("muxado.cli")

CONNECT_ERRORS = (OSError, muxado.MuxadoError, anyio.BrokenResourceError, anyio.EndOfStream)

SPEAKS_WITHIN = 5.0
"""Seconds after which the log says that a peer is silent: long for a gateway, short for whoever looks at the log."""

SILENT = "it hangs, or speaks no {}; a Go or Rust peer that opens no stream may be silent too"


class Attempt:
    """One session, or what came of dialing for it.

    :param ssl_context: for ``tls://``.
    """

    def __init__(self, url: str, config: muxado.Config, ssl_context: ssl.SSLContext | None) -> None:
        self.url = url
        self._config = config
        self._ssl_context = ssl_context if url.startswith("tls://") else None
        self._since: float | None = None  # when the connection was there
        self._heard = False  # whether the peer said a byte, of whatever wire
        self._scope = anyio.CancelScope()
        self._is_settled = False
        self._decided = anyio.Event()
        self._why_stays: str | None = None
        self.answered = False
        """Whether the peer showed that it speaks this wire."""

        self.failure: Exception | None = None
        """What ended it, if that was no goodbye."""

        self.over = anyio.Event()
        """Set when it has ended."""

        self.told = anyio.Event()
        """Set when the peer wants this side to move, or it has ended."""

        self._judged = anyio.Event()

    @property
    def is_settled(self) -> bool:
        """Whether the peer has taken this side, and still has it."""
        return self._is_settled and not self.over.is_set()

    @property
    def lasted(self) -> float:
        """Seconds that the session was there."""
        return 0.0 if self._since is None else anyio.current_time() - self._since

    @property
    def event(self) -> str:
        """What became of it, in words for the log that end before the URL."""
        if isinstance(self.failure, RegistrationError):
            return "cannot register at"
        return "lost the connection to" if self.answered else "cannot connect to"

    @property
    def hint(self) -> str:
        """What to look at when a peer took the connection and never said a word."""
        if self._since is None or self._heard:
            return ""
        wants = (
            "a certificate (--ssl-certfile) that it knows"
            if self.url.startswith("tls://")
            else "tls://"
        )
        return f"; it never said a word: does it want {wants}, or another --wire?"

    def settle(self) -> None:
        """The peer has taken this side."""
        self._is_settled = True
        self._judged.set()

    async def judged(self) -> None:
        """Wait until it is settled, or has ended.

        Cancellation: safe.
        """
        await self._judged.wait()

    async def move(self) -> str | None:
        """The peer wants this side to be elsewhere; returns when that was tried.

        :returns: None if there is another session now; else why not.

        Cancellation: safe.
        """
        self.told.set()
        await self._decided.wait()
        return self._why_stays

    def has_moved(self, why_not: str | None = None) -> None:
        """What came of it; see :meth:`move`."""
        self._why_stays = why_not
        self._decided.set()

    def give_up(self) -> None:
        """End it."""
        self._scope.cancel()

    async def run(self, attach: Attach, stop: anyio.Event) -> None:
        """Dial, and give the session to ``attach`` until it is over.

        :param stop: once set, a session comes too late to serve anybody.

        Cancellation: the session is closed with a short goodbye.
        """
        try:
            with self._scope:
                await self._run(attach, stop)
        except CONNECT_ERRORS as exc:
            self.failure = exc
        finally:
            for event in (self.over, self.told, self._judged):
                event.set()

    async def _run(self, attach: Attach, stop: anyio.Event) -> None:
        connecting = muxado.connect(self.url, config=self._config, ssl_context=self._ssl_context)
        async with connecting as session:
            if stop.is_set():
                return
            self._since = anyio.current_time()
            ended = await self._attached(session, attach)
            self.answered = self.answered or session.heard
            self._heard = session.statistics().bytes_received > 0
            if ended is not None:
                raise ended

    async def _attached(self, session: muxado.Session, attach: Attach) -> Exception | None:
        """What ended it, as a value: a task group would wrap it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._announce, session)
            tasks.start_soon(_provoke, session)
            try:
                await attach(session, self)
            except CONNECT_ERRORS as exc:
                return exc
            finally:
                tasks.cancel_scope.cancel()
        return None

    async def _announce(self, session: muxado.Session) -> None:
        patience = min(SPEAKS_WITHIN, self._config.recognize_timeout)
        with suppress(muxado.SessionError):  # whoever serves the session says why
            try:
                await session.wait_for_peer(patience)
            except muxado.PeerTimeoutError:
                if session.closed:
                    return
                why = SILENT.format(self._config.wire)
                logger.warning("%s took the connection and says nothing: %s", self.url, why)
                await session.wait_for_peer(math.inf)
            self.answered = True
            logger.info("connected to %s", self.url)


async def _provoke(session: muxado.Session) -> None:
    """A peer that has nothing to say answers a ping, if it answers any."""
    with suppress(muxado.MuxadoError):
        await session.ping(SPEAKS_WITHIN)
