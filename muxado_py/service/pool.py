"""Pool: sessions that are kept up, and streams that are opened on the best of them.

What it is.  What an application holds in the place of a session where there are several, or where one is lost and comes
again: it opens streams, and it is one listener for the peers' streams, whichever session they come on.

Where data comes from and goes to.  Keepers (:mod:`.keeper`) dial the sessions, or a listener accepts them; they are used
(:mod:`.pool_sessions`) until they are over.  What happens to them is written down in the records (:mod:`.pool_records`), for
the state.

The rule.  A pool outlives all of its sessions: what is wrong with one is told to those who have streams on it, to the log
and to the state, and ends nothing else.  Only what waiting cannot mend is raised.

The trap.  Whoever waits for a stream must hear of the end of the pool: everything that may make waiting vain wakes all of
them.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from anyio import CancelScope, Event, create_task_group, move_on_after

from ..arguments import check_seconds
from ..errors import (
    ErrorCode,
    GoneAwayError,
    MuxadoError,
    PoolError,
    PoolTimeoutError,
    Retry,
    SessionClosedError,
    UndeliveredError,
)
from ..protocol.opening import metadata_room
from ..runtime.checkpoints import current_backend
from ..scheduler import check_priority
from ..session.session import Session
from ..session.sessions_listener import SessionsListener
from .backoff import Backoff
from .keeper import keep
from .member import Wish
from .members import Members
from .pool_calls import PoolCalls
from .pool_records import Records
from .pool_sessions import PoolSessions
from .pool_state import PoolState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from ..dialing.session_listener import SessionListener
    from ..scheduler import Priority
    from ..session.stream import Stream
    from .keeper import Manner, Targets
    from .pool_sessions import Greet
    from .pool_state import TargetState
    from .retry_policy import RetryPolicy

__all__ = ("Pool",)

logger = logging.getLogger("muxado.pool")


class Pool(PoolCalls):
    """Sessions that are kept up; made by :func:`~muxado_py.connect_pool` or :func:`~muxado_py.accept_pool`, never directly.

    It can stand where a session stands for :func:`~muxado_py.httpx_client`, :func:`~muxado_py.forward` and all
    else that dials or serves a listener.  It belongs to the event loop that it was made in.
    """

    def __init__(
        self,
        urls: Sequence[str],
        on_change: Callable[[PoolState], object] | None = None,
        retry: RetryPolicy | None = None,
        *,
        listener: SessionsListener | None = None,
        words: Manner | None = None,
    ) -> None:
        """:param urls: the targets, or where it is listened.
        :param listener: where the peers' streams go; default one of its own.
        :param words: what is said of attempts that fail, and for how long it is tried; default without end.
        """
        super().__init__(retry)
        self._on_change = on_change
        self._backend = current_backend()
        self._members = Members(self._why_never)
        self._records = Records(urls, self._members.wake_all, self._changed, words)
        self._listener = listener or SessionsListener(opens_too=True)
        self._stop = Event()
        self._sessions = PoolSessions(
            self._members, self._listener, self._records, self._changed, self._stop
        )
        self._is_drained = False
        self._scope = CancelScope()
        self._was_closed = False

    def __repr__(self) -> str:
        state = "closed" if self._was_closed else f"{len(self._sessions)} sessions"
        return f"<muxado_py.Pool {', '.join(self._records.urls)}: {state}>"

    # What it is.

    @property
    def state(self) -> PoolState:
        """How it stands now; ``on_change`` is called with each new one, but for the numbers of streams and of tasks."""
        now = self._caller.now()  # which a callback of the loop can ask, too
        targets = tuple(self._state_of(url, now) for url in self._records.urls)
        return PoolState(targets, self._members.waiting, self._stop.is_set())

    def _state_of(self, url: str, now: float) -> TargetState:
        sessions = self._sessions.of(url)
        return self._records.state(
            url,
            now,
            is_connected=any(
                one.url == url and one.session.heard and one.is_open() for one in self._members
            ),
            sessions=len(sessions),
            open_streams=sum(one.open_streams for one in sessions),
        )

    @property
    def heard(self) -> bool:
        """Whether the peer of any session that takes streams has shown that it speaks this wire; see :attr:`.Session.heard`.

        While none has, who opens a stream with ``metadata`` waits.
        """
        return self._members.is_heard

    # Streams.

    async def open_stream(
        self,
        *,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
        timeout: float | None = None,
        avoid: Collection[Stream] = (),
    ) -> Stream:
        """Open a stream on one of the sessions; waits until there is one that has room for it.

        Of two that are drawn, the session is taken on which this side has fewer streams; one that refuses most of them is
        passed over while another has room.  Those who wait are served in the order in which they came.

        :param priority: its place among the streams of its session, told to a muxado_py peer too.
        :param stream_type: as for :meth:`.Session.open_stream`.
        :param metadata: likewise.
        :param timeout: seconds to wait at most; None for as long as it takes.
        :param avoid: streams whose sessions are taken only if there is no other: those on which the same was tried.
        :raises PoolTimeoutError: if there was none in time; it says of each target what was wrong last.
        :raises PoolError: at once, if there is no session, and no target whose certificate is trusted or that trusts
            this side's.
        :raises GoneAwayError: if the pool is being drained.
        :raises SessionClosedError: if it is closed.  All errors of the pool have ``retry`` ``NEVER_SENT``, and are also
            ``OSError``.
        :raises: what :meth:`.Session.open_stream` raises of its arguments, and of ``metadata``.

        Cancellation: no stream is opened; the next one who waits gets the slot.
        """
        if priority is not None:
            check_priority(priority)
        if timeout is not None:
            check_seconds("timeout", timeout)
        members, backend = self._members, self._backend
        wish = Wish(tuple(avoid), bool(metadata)) if avoid or metadata else PLAIN
        if self._stop.is_set():
            raise self._closed_error()
        if backend.checkpoint_due():
            await backend.checkpoint()
        stream = members.open_stream_at_once(wish, priority, stream_type, metadata)
        if stream is not None:
            return stream
        if metadata is not None:
            # What is wrong with it is said before it is waited for a session.
            metadata_room(metadata)
        with move_on_after(timeout):
            return await members.open_stream(wish, priority, stream_type, metadata)
        text = f"no stream could be opened in {timeout:g} s: {self.why_not()}"
        raise PoolTimeoutError(text, code=ErrorCode.NO_ERROR, retry=Retry.NEVER_SENT, remote=True)

    def open_stream_at_once(
        self, priority: Priority | None, metadata: Mapping[str, bytes] | None
    ) -> Stream | None:
        """Like ``open_stream``, without a checkpoint; None where that may wait, or has another reason to open none."""
        if self._stop.is_set():
            return None
        wish = WITH_METADATA if metadata else PLAIN
        return self._members.open_stream_at_once(wish, priority, None, metadata)

    async def net_dial(
        self,
        *address: object,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
        timeout: float | None = None,
    ) -> Stream:
        """``open_stream`` in the shape of a dial function; any address is taken and ignored.

        :raises OSError: as :meth:`open_stream`.

        Cancellation: no stream is opened.
        """
        return await self.open_stream(
            priority=priority, stream_type=stream_type, metadata=metadata, timeout=timeout
        )

    def net_listener(self) -> SessionsListener:
        """The streams that the peers open, on whichever session, as one ``anyio.abc.Listener``.

        It ends when it is closed, and not with a session: a server that is given it starts once.  A pool has
        one listener, which is served once; when it is closed, or its serving cancelled, the peers' streams are refused, and
        the pool goes on.
        """
        return self._listener

    # Its end.

    async def drain(self, timeout: float = 30.0) -> None:
        """End gracefully: open no new streams, finish those that are open, close; see :meth:`.Session.drain`.

        :param timeout: seconds for all of it.
        :raises UndeliveredError: if bytes that ``send`` took did not arrive by then, on any session.

        Cancellation: the sessions are closed at once.
        """
        check_seconds("timeout", timeout)
        self._is_drained = True
        await self._close(partial(Session.drain, timeout=timeout))

    async def aclose(self) -> None:
        """Close all sessions, all at once, as :meth:`.Session.aclose` does, and dial no more.

        :raises UndeliveredError: if bytes that ``send`` took did not arrive, on sessions that were there.  Of
            one that was lost before the log says so.

        Cancellation: the rest of the flush is given up; the sessions are closed all the same.
        """
        await self._close(Session.aclose)

    async def _close(self, close: Callable[[Session], Awaitable[None]]) -> None:
        losses: list[UndeliveredError] = []

        async def close_one(session: Session) -> None:
            try:
                await close(session)
            except UndeliveredError as exc:
                losses.append(exc)

        if not self._stop.is_set():
            self._stop.set()
            self._members.wake_all()
            self._changed()
        try:
            async with create_task_group() as tasks:
                for session in self._sessions:
                    tasks.start_soon(close_one, session)
        finally:
            self._was_closed = True
            self._scope.cancel()
        if losses:
            raise _joined(losses)

    def _why_never(self) -> MuxadoError | None:
        if self._stop.is_set():
            return self._closed_error()
        if not self._records.all_untrusted or any(one.is_open() for one in self._members):
            return None
        return PoolError(
            f"no session without trust: {self.why_not()}",
            code=ErrorCode.NO_ERROR,
            retry=Retry.NEVER_SENT,
            remote=True,
        )

    def _closed_error(self) -> MuxadoError:
        code, retry = ErrorCode.SESSION_CLOSED, Retry.NEVER_SENT
        if self._is_drained and not self._was_closed:
            return GoneAwayError("this pool is being drained", code=code, retry=retry)
        return SessionClosedError("you closed this pool", code=code, retry=retry)

    def why_not(self) -> str:
        """What is wrong with each target."""
        full = "as many streams are open as may be ({})"
        return "; ".join(
            f"{one.url}: {full.format(one.open_streams)}" if one.status == "connected" else str(one)
            for one in self.state.targets
        )

    # What keeps it.

    async def dial(
        self,
        targets: Targets,
        sessions: int,
        *,
        each: bool,
        greet: Greet | None = None,
        stop: Event | None = None,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        """Keep sessions to ``targets`` until the pool is closed.

        :param sessions: how many; to each, or in all.
        :param greet: entered before a session is used, and left when it is over; see :func:`.connect_pool`.
        :param stop: once set, nothing is dialed any more, as in a pool that is closed.
        :param backoff: makes what passes between two rounds of attempts.
        :raises Exception: what the pool's ``words`` give up with.

        Cancellation: the sessions are closed with a short goodbye.
        """
        attach = partial(self._sessions.dialed, greet)
        stop = stop or self._stop
        given_up: Exception | None = None

        async def keep_one(targets: Targets) -> None:
            nonlocal given_up
            try:
                await keep(targets, attach, stop=stop, manner=self._records, backoff=backoff())
            except Exception as exc:  # noqa: BLE001 - raised below: a task group would wrap it
                given_up = exc
                self._scope.cancel()

        kept = [{url: dial} for url, dial in targets.items()] if each else [targets]
        with self._scope:
            async with create_task_group() as tasks:
                for one in kept * sessions:
                    tasks.start_soon(keep_one, one)
        if given_up is not None:
            raise given_up

    async def accept(self, listeners: Sequence[SessionListener]) -> None:
        """Use the sessions that ``listeners`` accept until the pool is closed, or nobody can come any more."""
        with self._scope:
            async with create_task_group() as closing:
                closing.start_soon(self._close_at_the_end, listeners)
                async with create_task_group() as tasks:
                    for one in listeners:
                        tasks.start_soon(one.serve, partial(self._sessions.accepted, one.url))
                closing.cancel_scope.cancel()

    async def _close_at_the_end(self, listeners: Sequence[SessionListener]) -> None:
        await self._stop.wait()
        for one in listeners:
            await one.aclose()

    def _changed(self) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(self.state)
        except Exception:
            logger.exception("on_change of %r failed", self)


PLAIN = Wish()
WITH_METADATA = Wish(metadata=True)


def _joined(losses: Sequence[UndeliveredError]) -> UndeliveredError:
    """One error for what several sessions could not deliver."""
    if len(losses) == 1:
        return losses[0]
    return UndeliveredError(
        "; ".join(str(one) for one in losses),
        nbytes=sum(one.nbytes for one in losses),
        streams=sum(one.streams for one in losses),
        unacknowledged=sum(one.unacknowledged for one in losses),
    )
