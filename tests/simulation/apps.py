"""Apps: what the applications of the two sides do, as their plan says.

The rule.  They use public calls only, and expect of them what their documentation says; what else happens
is written down, and goes no further than it would in a program that handles its errors.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from anyio import (
    CancelScope,
    Event,
    create_task_group,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
)
from anyio.lowlevel import checkpoint

from muxado_py import MuxadoError

from ..helpers.inside import driver_of
from .conversation import Conversation, OnPurposeError
from .plan import TYPE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from muxado_py import Session, Stream
    from muxado_py.dialing.session_scope import SessionScope

    from .ledger import Ledger
    from .plan import HalfPlan, Plan, SidePlan

__all__ = ("SideApp",)


class SideApp:
    """One side's application.

    :param busy: makes the side's loop stand for so many seconds.
    """

    def __init__(
        self, plan: Plan, side: int, ledger: Ledger, busy: Callable[[int, float], Awaitable[None]]
    ) -> None:
        self._plan = plan
        self._side = side
        self._mine: SidePlan = plan.sides[side]
        self._ledger = ledger
        self._record = ledger.sides[side]
        self._who = "ab"[side]
        self._busy = busy
        self._accepted = 0
        self._own_done = Event()
        self.session: Session | None = None

    async def run(self, scope: SessionScope, entered: Callable[[Session], None]) -> None:
        """From the session's begin to its end."""
        record, plan = self._record, self._mine
        outer = CancelScope()
        try:
            with outer:
                async with scope as session:
                    self.session = record.session = session
                    entered(session)
                    async with create_task_group() as tasks:
                        await self._live(session, tasks)
                        record.ending_at = self._ledger.clock.now
                        self._ledger.note(self._who, f"ends: {plan.ending}")
                        await self._end(session, tasks, outer)
                        tasks.cancel_scope.cancel()
                    record.leaving_at = self._ledger.clock.now
                    if plan.ending == "error":
                        raise OnPurposeError
        except OnPurposeError:
            pass
        except MuxadoError as exc:
            record.leave_error = exc
        except BaseException as exc:
            if isinstance(exc, get_cancelled_exc_class()):
                raise
            record.mistakes.append(f"the block of {self._who} raised {exc!r}")
        record.left_at = self._ledger.clock.now
        self._ledger.note(self._who, f"left, {record.leave_error!r}")

    async def _live(self, session: Session, tasks: TaskGroup) -> None:
        """Start everything, and wait until it is time to end."""
        plan = self._mine
        tasks.start_soon(self._accept, session, tasks)
        tasks.start_soon(self._open_all, session)
        for spell in plan.spells:
            tasks.start_soon(self._be_busy, *spell)
        for moment in plan.pings:
            tasks.start_soon(self._ping, session, moment)
        if plan.ends_at is not None:
            await sleep(plan.ends_at)
            return
        with move_on_after(self._plan.patience):
            await self._own_done.wait()
            await self._rest(session)

    async def _rest(self, session: Session) -> None:
        plan = self._mine
        if plan.ending == "wait":
            await self._wait(session)
            return
        with move_on_after(plan.rests):
            await self._wait(session)
        self._look_at_statistics(session)

    async def _wait(self, session: Session) -> None:
        with suppress(MuxadoError):
            await self._ledger.call(self._record, "wait", session.wait(), self._who)

    def _look_at_statistics(self, session: Session) -> None:
        ledger = self._ledger
        since = ledger.all_done_since
        if session.closed or since is None or ledger.clock.now - since < 32 + self._plan.slowness:
            return
        if not driver_of(session).is_idle():  # which leaves streams of heartbeats out
            figures = session.statistics()
            self._record.statistics.append((figures.live_streams, figures.peer_streams))

    async def _end(self, session: Session, tasks: TaskGroup, outer: CancelScope) -> None:
        ending, record = self._mine.ending, self._record
        record.left_by = ending
        if ending == "aclose":
            await self._closing("aclose", session.aclose())
        elif ending == "drain":
            await self._closing("drain", session.drain())
        elif ending == "abort":
            session.abort()
        elif ending == "cancel":
            outer.cancel()
            await checkpoint()
        elif ending == "go away":
            session.go_away()
            record.gone_away_at = self._ledger.clock.now
            with move_on_after(self._plan.patience):
                await self._wait(session)
        elif ending == "wait" and not session.closed:
            with move_on_after(self._plan.patience + 60):
                await self._wait(session)
        if ending in ("wait", "go away") and session.closed:
            await self._until_all_read()

    async def _until_all_read(self) -> None:
        """What came before the end can still be accepted and read."""
        with move_on_after(self._plan.patience):
            while not self._is_done():  # noqa: ASYNC110 - the time is free
                await sleep(0.05)

    def _is_done(self) -> bool:
        record = self._record
        return record.accept_error is not None and all(half.done for half in record.halves)

    async def _closing(self, what: str, awaited: Awaitable[None]) -> None:
        try:
            await self._ledger.call(self._record, what, awaited, self._who)
        except MuxadoError as exc:
            self._record.leave_error = exc

    # Beside the streams.

    async def _be_busy(self, pause: float, times: int, seconds: float) -> None:
        for _ in range(times):
            await sleep(pause)
        self._ledger.note(self._who, f"is busy for {seconds:g} s")
        await self._busy(self._side, seconds)
        self._ledger.note(self._who, "is busy no more")

    async def _ping(self, session: Session, moment: float) -> None:
        await sleep(moment)
        for _ in range(4):  # whoever writes at this very moment has done so
            await checkpoint()
        driver = driver_of(session)
        free = driver.link.writing_since is None and not driver.connection.has_output()
        at_once = free and driver.pings.can_ask
        asked = self._ledger.clock.now
        try:
            given = await self._ledger.call(self._record, "ping", session.ping(), self._who)
        except MuxadoError:
            return
        self._record.pings.append((asked, self._ledger.clock.now, given, at_once))

    # Streams.

    async def _accept(self, session: Session, tasks: TaskGroup) -> None:
        record = self._record
        try:
            if self._mine.serves:
                listening = session.net_listener().serve(self._handle)
                await self._ledger.call(record, "serve", listening, self._who)
            while True:
                stream = await self._ledger.call(
                    record, "accept", session.accept_stream(), self._who
                )
                tasks.start_soon(self._handle, stream)
                await sleep(self._mine.accept_pause)
        except MuxadoError as exc:
            record.accept_error = exc

    async def _handle(self, stream: Stream) -> None:
        half = self._ledger.new_half(self._side, opened_here=False)
        half.stream = stream
        plan = self._mine.handles[self._accepted % len(self._mine.handles)]
        self._accepted += 1
        self._ledger.note(half.name, f"accepted, id {stream.id}")
        await Conversation(self._ledger, half, stream, plan).run()

    async def _open_all(self, session: Session) -> None:
        async with create_task_group() as tasks:
            for plan in self._mine.opens:
                tasks.start_soon(self._open, session, plan)
        self._own_done.set()

    async def _open(self, session: Session, plan: HalfPlan) -> None:
        await sleep(plan.start)
        half = self._ledger.new_half(self._side, opened_here=True)
        kind = TYPE if session.config.typed_streams else None
        understood = self._plan.wire == "muxado" and not self._plan.foreign
        said = {"of": half.name.encode()} if understood and half.number % 2 else None
        try:
            half.stream = await self._ledger.call(
                half, "open", session.open_stream(stream_type=kind, metadata=said)
            )
        except MuxadoError as exc:
            half.error = exc
            half.done = True
            return
        except BaseException:
            half.done = True
            raise
        await Conversation(self._ledger, half, half.stream, plan).run()
