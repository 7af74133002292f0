"""Pool sessions: what a pool does with each of its sessions, from the first moment to the last.

What it is.  One that this side has dialed is greeted, in words that the application has for that; then, as with one that was
accepted, the pool waits for the peer's first word.  From then on streams are opened on it (:mod:`.members`), and its
own go to the pool's listener (:mod:`~muxado_py.session.sessions_listener`), until it is over.

The rule.  What ends a session is told to whoever dialed it, or to the log; and to the records, for the state.

The traps.  A peer that takes a connection and says nothing may be a process that hangs; and a Go peer, which has nothing to
say, may be well.  So it is a member after a while, but the last that is taken.  And a session for which there is another one
by now stays until its peer ends it, since streams may still come; but none is opened on it.
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from anyio import create_task_group

from ..errors import PeerTimeoutError, SessionError
from ..session.peers import peer_name
from .causes import reason
from .member import Member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from anyio import Event

    from ..session.session import Session
    from ..session.sessions_listener import SessionsListener
    from .dialed import Dialed
    from .members import Members
    from .pool_records import Records

    Greet = Callable[[Session, Dialed], AbstractAsyncContextManager[object]]
    """What a session begins with; see :func:`.connect_pool`."""

__all__ = ("PoolSessions",)

logger = logging.getLogger("muxado.pool")

QUIET = 1.0
"""Seconds in which a peer should say its first word; one that has not is taken only if there is no other."""


class PoolSessions:
    """Those that are there.

    :param members: on which of them streams are opened.
    :param listener: where their streams go.
    :param records: where it is written down what is wrong with a target.
    :param changed: called when there is something new to see.
    :param stop: set when the pool ends.
    """

    def __init__(
        self,
        members: Members,
        listener: SessionsListener,
        records: Records,
        changed: Callable[[], object],
        stop: Event,
    ) -> None:
        self._members = members
        self._listener = listener
        self._records = records
        self._changed = changed
        self._stop = stop
        self._targets: dict[Session, str] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._targets))

    def __len__(self) -> int:
        return len(self._targets)

    def of(self, url: str) -> list[Session]:
        """Those of that target."""
        return [session for session, target in self._targets.items() if target == url]

    async def dialed(self, greet: Greet | None, session: Session, dialed: Dialed) -> None:
        """Greet ``session``, and use it until it is over.

        :raises SessionError: if it ended without a goodbye.
        :raises: what ``greet`` raises.

        Cancellation: as of the session's own block.
        """
        failure: SessionError | None = None
        with self._has(session, dialed.url):
            async with greet(session, dialed) if greet is not None else nullcontext():
                try:
                    await self._use(session, dialed.url, dialed)
                except SessionError as exc:
                    failure = exc  # raised below: a task group of ``greet`` would wrap it
        if failure is not None:
            raise failure

    async def accepted(self, url: str, session: Session) -> None:
        """Use ``session``, which came to ``url``, until it is over.

        Cancellation: as of the session's own block.
        """
        if self._stop.is_set():
            return
        name = peer_name(session)
        logger.info("%s connected", name)
        try:
            with self._has(session, url):
                await self._use(session, url)
        except SessionError as exc:
            self._records.set_failure(url, why := reason(exc))
            logger.warning("lost the connection of %s: %s", name, why)
        else:
            logger.info("%s left", name)

    @contextmanager
    def _has(self, session: Session, url: str) -> Iterator[None]:
        self._targets[session] = url
        try:
            yield
        finally:
            del self._targets[session]
            self._changed()

    async def _use(self, session: Session, url: str, dialed: Dialed | None = None) -> None:
        """Open streams on it, and serve its own.

        :param dialed: who knows of other sessions, if this side dialed.
        """
        await _until_heard(session)
        if dialed is not None:
            dialed.settle()
        member = Member(session, url, _nothing if dialed is None else dialed.leave)
        self._members.add(member)
        self._changed()
        try:
            await self._serve(session, member, dialed)
        finally:
            self._members.remove(member)

    async def _serve(self, session: Session, member: Member, dialed: Dialed | None) -> None:
        failure: SessionError | None = None
        async with create_task_group() as tasks:
            tasks.start_soon(self._await_word, session, member)
            tasks.start_soon(self._await_leaving, session, member)
            if dialed is not None:
                tasks.start_soon(self._await_move, dialed, member)
            try:
                await self._listener.attach(session)
            except SessionError as exc:
                failure = exc  # raised below: a task group would wrap it
            finally:
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _await_word(self, session: Session, member: Member) -> None:
        with suppress(SessionError):  # whoever serves the session is told
            await session.wait_for_peer(math.inf)
            self._records.clear_failure(member.url)
            self._members.look()
            self._changed()

    async def _await_leaving(self, session: Session, member: Member) -> None:
        await session.wait_going_away()
        if not (member.is_open() or session.closed or self._stop.is_set()):
            logger.info("%s takes no more streams", member.url)
        self._members.look()
        self._members.wake_all()
        self._changed()

    async def _await_move(self, dialed: Dialed, member: Member) -> None:
        await dialed.moved.wait()
        member.is_leaving = True
        self._members.look()
        self._changed()


def _nothing() -> None:
    """Whoever accepts sessions has none to replace them with."""


async def _until_heard(session: Session) -> None:
    """Wait until the peer has said a word, for a while."""
    try:
        await session.wait_for_peer(min(QUIET, session.config.recognize_timeout))
    except PeerTimeoutError:
        if session.closed:
            raise
