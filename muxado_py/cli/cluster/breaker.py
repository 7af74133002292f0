"""Breaker: who did not answer is not asked again for a moment.

What it is.  All questions to the registry go through one.  After one that failed the next ones fail at once, for
:data:`PAUSE`; then one is tried again.  So a registry that is gone costs one wait in a while, and not one for each caller.

The rule.  When it answers again, whoever wants to know is told: what it has been told before may be lost.

The trap.  A cancelled question says nothing of the registry.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .registry import RegistryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("PAUSE", "Breaker")

logger = logging.getLogger("muxado.cli")

P = ParamSpec("P")
T = TypeVar("T")

PAUSE = 0.5
"""Seconds in which nothing is asked after a failure."""


class Breaker:
    """What stands between a gateway and its registry.

    :param now: the time, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until = 0.0
        self._mended: list[Callable[[], None]] = []
        self.is_broken = False
        """Whether the last question had no answer."""

    def when_mended(self, told: Callable[[], None]) -> None:
        """``told`` is called whenever the registry answers again."""
        self._mended.append(told)

    async def ask(self, question: Callable[P, Awaitable[T]], *args: P.args, **more: P.kwargs) -> T:
        """The answer to ``question``.

        :raises RegistryError: if there is none, or was none a moment ago.
        """
        if self.is_broken and self._now() < self._until:
            raise RegistryError("the registry did not answer a moment ago")
        try:
            answer = await question(*args, **more)
        except RegistryError as exc:
            if not self.is_broken:
                logger.warning("%s; what is known of other gateways stays as it is", exc)
            self.is_broken = True
            self._until = self._now() + PAUSE
            raise
        if self.is_broken:
            self.is_broken = False
            logger.info("the registry answers again")
            for told in self._mended:
                told()
        return answer
