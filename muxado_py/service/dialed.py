"""Dialed: one session that this side dials, from the first packet to its end, or what came of dialing for it.

What it is.  Whoever uses the session and whoever keeps one (:mod:`.keeper`) know each other by it: the one says that the
peer has taken this side, and that the peer wants it to be elsewhere; the other says whether there is another session now.

Whoever dials with :func:`~muxado_py.connect_pool` sees one in ``greet``: its :attr:`Dialed.url`, and :meth:`Dialed.move`.

The rules.  "Connected" is said when the peer has shown that it speaks this wire: a balancer without a backend and a process
that hangs take connections too.  An attempt ends once, and :attr:`Dialed.over` is set then, however it ended.

The trap.  A Go or Rust peer says nothing until it has something to say; what is silent is not wrong yet.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from anyio import (
    BrokenResourceError,
    CancelScope,
    EndOfStream,
    Event,
    create_task_group,
    current_time,
)

from ..errors import MuxadoError, PeerTimeoutError, SessionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from ..session.session import Session

    Attach = Callable[[Session, "Dialed"], Awaitable[None]]
    """Uses a session until it is over."""

__all__ = ("CONNECT_ERRORS", "Dialed")

logger = logging.getLogger("muxado.pool")

CONNECT_ERRORS = (OSError, MuxadoError, BrokenResourceError, EndOfStream)

SPEAKS_WITHIN = 5.0
"""Seconds after which the log says that a peer is silent: long for a server, short for whoever looks at the log."""

SILENT = "it hangs, or speaks no {}; a Go or Rust peer that opens no stream may be silent too"


class Dialed:
    """One session of a pool, or what came of dialing for it; made by the pool, never directly.

    :param url: where it leads, for logs and for whoever keeps it.
    :param dial: makes the context manager of the session, as :func:`~muxado_py.connect` does.
    """

    def __init__(self, url: str, dial: Callable[[], AbstractAsyncContextManager[Session]]) -> None:
        self.url = url
        """Where it leads."""
        self._dial = dial
        self._since: float | None = None  # when the connection was there
        self._heard = False  # whether the peer said a byte, of whatever wire
        self._scope = CancelScope()
        self._is_settled = False
        self._decided = Event()
        self._why_stays: str | None = None
        self._is_asked_to_move = False
        self.answered = False
        """Whether the peer showed that it speaks this wire."""

        self.failure: Exception | None = None
        """What ended it, if that was no goodbye."""

        self.over = Event()
        """Set when it has ended."""

        self.told = Event()
        """Set when this side is to be elsewhere, or it has ended; another one after :meth:`trust`."""

        self.moved = Event()
        """Set when there is another session in the place of this one."""

        self._judged = Event()

    @property
    def is_settled(self) -> bool:
        """Whether the peer has taken this side, and still has it."""
        return self._is_settled and not self.over.is_set()

    @property
    def retry_after(self) -> float | None:
        """Seconds after which its peer wants to be asked again, if it said so when it did not take this side."""
        return getattr(self.failure, "retry_after", None)

    @property
    def lasted(self) -> float:
        """Seconds that the session was there."""
        return 0.0 if self._since is None else current_time() - self._since

    @property
    def was_mute(self) -> bool:
        """Whether the peer took the connection, and never said a byte."""
        return self._since is not None and not self._heard

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
        """Have another session, which takes the place of this one; returns when that was tried.

        For a peer that says in its own words that this side is to go elsewhere.  This session stays until the peer or
        :meth:`.Session.drain` ends it, and its streams are served; new ones are opened on the other.

        :returns: None if there is another session now; else why there is none yet: it is tried on.

        Cancellation: safe; it is tried on.
        """
        self.leave()
        await self._decided.wait()
        return self._why_stays

    def leave(self) -> None:
        """No stream can be opened on the session any more, though it is not over."""
        self._is_asked_to_move = True
        self.told.set()

    def doubt(self) -> None:
        """The peer may be gone, though the session is there: another one is to take its place, if there is any."""
        self.told.set()

    def trust(self) -> None:
        """It is not gone, and the session may stay."""
        if not (self._is_asked_to_move or self.over.is_set() or self.moved.is_set()):
            self.told, self._decided, self._why_stays = Event(), Event(), None

    def has_moved(self, why_not: str | None = None) -> None:
        """What came of it; see :meth:`move`.  What is said first holds there."""
        if why_not is None:
            self.moved.set()
        if not self._decided.is_set():
            self._why_stays = why_not
            self._decided.set()

    def give_up(self) -> None:
        """End it."""
        self._scope.cancel()

    async def run(self, attach: Attach, stop: Event) -> None:
        """Dial, and give the session to ``attach`` until it is over.

        :param stop: once set, a session comes too late to be of use.

        Cancellation: the session is closed with a short goodbye.
        """
        try:
            with self._scope:
                await self._run(attach, stop)
        except Exception as exc:
            self.failure = exc
            if not isinstance(exc, CONNECT_ERRORS):  # of a transport that is not ours, or a mistake
                logger.exception("dialing %s failed", self.url)
        finally:
            for event in (self.over, self.told, self._judged):
                event.set()

    async def _run(self, attach: Attach, stop: Event) -> None:
        async with self._dial() as session:
            if stop.is_set():
                return
            self._since = current_time()
            ended = await self._attached(session, attach)
            self.answered = self.answered or session.heard
            self._heard = session.statistics().bytes_received > 0
            if ended is not None:
                if not (self._heard or self._is_settled):
                    # It would answer a goodbye as little; whoever keeps the session dials another meanwhile.
                    session.abort()
                raise ended

    async def _attached(self, session: Session, attach: Attach) -> Exception | None:
        """What ended it, as a value: a task group would wrap it."""
        async with create_task_group() as tasks:
            tasks.start_soon(self._announce, session)
            tasks.start_soon(_provoke, session)
            try:
                await attach(session, self)
            except CONNECT_ERRORS as exc:
                return exc
            finally:
                tasks.cancel_scope.cancel()
        return None

    async def _announce(self, session: Session) -> None:
        patience = min(SPEAKS_WITHIN, session.config.recognize_timeout)
        with suppress(SessionError):  # whoever uses the session says why
            try:
                await session.wait_for_peer(patience)
            except PeerTimeoutError:
                if session.closed:
                    return
                why = SILENT.format(session.config.wire)
                logger.warning("%s took the connection and says nothing: %s", self.url, why)
                await session.wait_for_peer(math.inf)
            self.answered = True
            logger.info("connected to %s", self.url)


async def _provoke(session: Session) -> None:
    """A peer that has nothing to say answers a ping, if it answers any."""
    with suppress(MuxadoError):
        await session.ping(SPEAKS_WITHIN)
