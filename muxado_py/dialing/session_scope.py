"""SessionScope: the context manager that runs a session, and so bounds its life.

It starts the session's tasks in a task group of its own, and ends them when the block is left, however it is left.
:class:`ClosingScope` is what that has in common with the scopes of whatever else closes itself with a flush.

The rules.  The application's own exception leaves the block as itself, not in the group that a task group wraps around
it.  It wins over what the close raises (:exc:`~muxado_py.UndeliveredError`), which becomes a note on it.  Leaving is
bounded in time: ``Config.close_timeout``, or a quarter of a second if the block was cancelled.

The trap.  No shield holds back asyncio's own cancellation (``task.cancel()``, ``asyncio.timeout``, Ctrl-C).  It ends the flush, and
the task group is left all the same: else its scope would stay the innermost of the task, and whatever scope is outside
would fail over that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from anyio import create_task_group, get_cancelled_exc_class, move_on_after

from ..config import AUTO, config_or_default
from ..links.parting import GOODBYE_WAIT
from ..session.session import Session
from .detect import detect_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from anyio.abc import TaskGroup

    from ..config import Config
    from .pending import PendingConnection

__all__ = ("ClosingScope", "SessionScope")


class _Closes(Protocol):
    async def aclose(self) -> None: ...


Closing = TypeVar("Closing", bound=_Closes)


class ClosingScope(ABC, Generic[Closing]):
    """The async context manager of something that runs in tasks, and is closed when the block is left."""

    def __init__(self) -> None:
        self._closing: Closing | None = None
        self._tasks: TaskGroup | None = None

    @abstractmethod
    async def begin(self) -> tuple[Closing, Callable[[], Coroutine[Any, Any, None]]]:
        """What the block is given, and what is to run beside it until it is closed; that raises nothing."""

    async def __aenter__(self) -> Closing:
        self._closing, run = await self.begin()
        self._tasks = create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(run)
        return self._closing

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._closing is not None
        cancelled = isinstance(exc, get_cancelled_exc_class())
        failed: Exception | None = None  # most often what was lost; else a mistake of ours
        try:
            # Shielded: else a cancelled block would leave the transport open, and the task group would wait for
            # tasks that nobody told to end.
            with move_on_after(GOODBYE_WAIT if cancelled else None, shield=True):
                await self._closing.aclose()
        except Exception as error:  # noqa: BLE001 - the tasks end all the same
            failed = error
        except BaseException as error:
            await self._end_tasks(type(error), error, error.__traceback__)
            raise
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


class SessionScope(ClosingScope[Session]):
    """The async context manager that runs a session: ``async with client(transport) as session``.

    Leaving it closes the session, as ``Session.aclose`` does, and raises what that raises, unless an
    exception is leaving it already; leaving it by a cancellation gives the flush a quarter of a second.
    """

    def __init__(
        self, pending: PendingConnection, config: Config | None, *, is_client: bool
    ) -> None:
        super().__init__()
        self._arguments = (pending, config_or_default(config), is_client)

    async def begin(self) -> tuple[Session, Callable[[], Coroutine[Any, Any, None]]]:
        pending, config, is_client = self._arguments
        if config.wire == AUTO:
            config = await detect_wire(pending, config)
        try:
            session = Session(pending.link, config, is_client=is_client)
        except BaseException:
            # A scheduler of the application's may raise, say; nothing else would close the transport.
            await pending.abort()
            raise
        return session, session.run


def _are_same(one: BaseException, other: BaseException | None) -> bool:
    """Whether it is the same exception; trio copies a group on its way out, but not what is in it."""
    if isinstance(one, BaseExceptionGroup) and isinstance(other, BaseExceptionGroup):
        pairs = zip(one.exceptions, other.exceptions, strict=False)
        return len(one.exceptions) == len(other.exceptions) and all(_are_same(*p) for p in pairs)
    return one is other
