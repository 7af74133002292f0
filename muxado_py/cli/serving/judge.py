"""Judge: whether a stream that a gateway opens is for what is served here.

The rule.  Each stream is judged, not the session alone: a gateway that asks for a name which this side has not offered, or has
lost, gets nothing of what it serves under another.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import escaped
from ...session.handlers import TasklessHandler
from ..agents.introductions import NAME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import muxado_py as muxado

__all__ = ("judged",)

logger = logging.getLogger("muxado.cli")


def judged(
    serves: Callable[[str], bool], handler: Callable[[muxado.Stream], Any]
) -> Callable[[muxado.Stream], Awaitable[object]]:
    """``handler``, for what ``serves`` says; a stream for another name is refused."""
    if isinstance(handler, TasklessHandler):
        return _Judged(handler, serves)
    return partial(_judge, handler, serves)


def _judge(
    handler: Callable[[muxado.Stream], Awaitable[object]],
    serves: Callable[[str], bool],
    stream: muxado.Stream,
) -> Awaitable[object]:
    """What is to be awaited for ``stream``: no task and no coroutine more than the handler's for what is served here."""
    name = stream.metadata.get(NAME)
    if _is_served(name, serves):
        return handler(stream)
    assert name is not None
    return _refuse(stream, name)


def _is_served(name: bytes | None, serves: Callable[[str], bool]) -> bool:
    return name is None or serves(name.decode("ascii", "replace"))


class _Judged(TasklessHandler):
    """The same for a handler that may do without a task."""

    def __init__(self, handler: TasklessHandler, serves: Callable[[str], bool]) -> None:
        self._handler = handler
        self._serves = serves

    def begin(self, stream: muxado.Stream) -> bool:
        named = _is_served(stream.metadata.get(NAME), self._serves)
        return named and self._handler.begin(stream)

    def __call__(self, stream: muxado.Stream) -> Awaitable[object]:
        return _judge(self._handler, self._serves, stream)


async def _refuse(stream: muxado.Stream, name: bytes) -> None:
    logger.info("the gateway wants %s, which is not served here", escaped(repr(name)[1:]))
    stream.refuse()
