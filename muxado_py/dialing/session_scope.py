"""SessionScope: the context manager that runs a session, and so bounds its life.

It starts the session's tasks in a task group of its own, and ends them when the block is left, however it is left.

The rules.  The application's own exception leaves the block as itself, not in the group that a task group wraps around
it.  It wins over what the close raises (:exc:`~muxado_py.UndeliveredError`), which becomes a note on it.  Leaving is
bounded in time: ``Config.close_timeout``, or a quarter of a second if the block was cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import create_task_group, get_cancelled_exc_class, move_on_after

from ..config import AUTO, config_or_default
from ..links.parting import GOODBYE_WAIT
from ..session.session import Session
from .detect import detect_wire

if TYPE_CHECKING:
    from types import TracebackType

    from anyio.abc import TaskGroup

    from ..config import Config
    from .pending import PendingConnection

__all__ = ("SessionScope",)


class SessionScope:
    """The async context manager that runs a session: ``async with client(transport) as session``.

    Leaving it closes the session, as ``Session.aclose`` does, and raises what that raises, unless an
    exception is leaving it already; leaving it by a cancellation gives the flush a quarter of a second.
    """

    def __init__(
        self, pending: PendingConnection, config: Config | None, *, is_client: bool
    ) -> None:
        self._arguments = (pending, config_or_default(config), is_client)
        self._session: Session | None = None
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Session:
        pending, config, is_client = self._arguments
        if config.wire == AUTO:
            config = await detect_wire(pending, config)
        try:
            self._session = session = Session(pending.link, config, is_client=is_client)
        except BaseException:
            # A scheduler of the application's may raise, say; nothing else would close the transport.
            await pending.abort()
            raise
        self._tasks = create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(session.run)
        return session

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._session is not None
        cancelled = isinstance(exc, get_cancelled_exc_class())
        failed: Exception | None = None  # most often what was lost; else a mistake of ours
        try:
            # Shielded: else a cancelled block would leave the transport open, and the task group would wait for
            # tasks that nobody told to end.
            with move_on_after(GOODBYE_WAIT if cancelled else None, shield=True):
                await self._session.aclose()
        except Exception as error:  # noqa: BLE001 - the tasks end all the same
            failed = error
        suppressed = await self._end_tasks(exc_type, exc, traceback)
        if failed is None:
            return suppressed
        if exc is None:
            raise failed
        exc.add_note(str(failed))
        return suppressed

    async def _end_tasks(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._tasks is not None
        try:
            return await self._tasks.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1 and _are_same(group.exceptions[0], exc):
                return False  # the application's own exception, which a task group has wrapped
            raise


def _are_same(one: BaseException, other: BaseException | None) -> bool:
    """Whether it is the same exception; trio copies a group on its way out, but not what is in it."""
    if isinstance(one, BaseExceptionGroup) and isinstance(other, BaseExceptionGroup):
        pairs = zip(one.exceptions, other.exceptions, strict=False)
        return len(one.exceptions) == len(other.exceptions) and all(_are_same(*p) for p in pairs)
    return one is other
