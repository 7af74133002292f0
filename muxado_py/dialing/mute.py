"""Mute: the connections of a listener that have never said a byte, and how many there may be.

They are bounded in number and not in time: a muxado of Go that dialed in to be called may rightly be silent until it
is, and answers no heartbeat.

The rule.  When there is one too many, the oldest goes.  If the newest were refused, a few hundred sockets that
say nothing would keep every peer out, for all are mute when they come.  A peer that says something does so within a
round trip, and is never counted again.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyio import CancelScope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..session.session import Session

__all__ = ("Mute", "Visitor")

logger = logging.getLogger("muxado.endpoints")


class Visitor:
    """A connection from its acceptance on; its session is told when there is one."""

    def __init__(self) -> None:
        self.scope = CancelScope()
        self.peer = "an unknown peer"  # it was gone before it could be asked
        self.session: Session | None = None

    def has_spoken(self) -> bool:
        return self.session is not None and self.session.statistics().bytes_received > 0


class Mute:
    """Lets go the oldest visitor that said nothing, when there are more than ``most``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._visitors: dict[Visitor, None] = {}

    @contextmanager
    def visit(self) -> Iterator[Visitor]:
        """Around all that is done for a connection; it is cancelled when that has to go."""
        visitor = Visitor()
        self._visitors[visitor] = None
        if len(self._visitors) > self._most:
            self._make_room()
        try:
            with visitor.scope:
                yield visitor
        finally:
            self._visitors.pop(visitor, None)

    def _make_room(self) -> None:
        for one in [one for one in self._visitors if one.has_spoken()]:
            del self._visitors[one]
        if len(self._visitors) > self._most:
            oldest = next(iter(self._visitors))
            del self._visitors[oldest]
            oldest.scope.cancel()
            logger.warning(
                "more than %d connections say nothing; the oldest, from %s, is let go",
                self._most,
                oldest.peer,
            )
