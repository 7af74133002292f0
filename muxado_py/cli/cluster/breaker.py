"""Breaker: who did not answer is asked by one task alone until it answers again.

What it is.  All questions to the registry go through one.  After one that had no answer the next ones fail at once; only the
lease (:mod:`.leases`) goes on asking, a moment after each failure.  So a registry that is gone, or hangs, costs the task of the lease
its waits, and callers none but the first.

The rules.  When it answers again, whoever wants to know is told: what it has been told before may be lost.  Who refuses has
answered: one key that somebody else has written, or a server that is full, is no reason to ask nothing any more.

The traps.  A cancelled question says nothing of the registry.  And what somebody asked before it broke may be answered after it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .registry import RefusedError, RegistryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("Breaker",)

logger = logging.getLogger("muxado.cli")

P = ParamSpec("P")
T = TypeVar("T")


class Breaker:
    """What stands between a gateway and its registry."""

    def __init__(self) -> None:
        self._broken: list[Callable[[], None]] = []
        self._mended: list[Callable[[], None]] = []
        self._refusal = ""
        self.is_broken = False
        """Whether it did not answer, and has not since."""

    def when_broken(self, told: Callable[[], None]) -> None:
        """``told`` is called whenever the registry does not answer any more."""
        self._broken.append(told)

    def when_mended(self, told: Callable[[], None]) -> None:
        """``told`` is called whenever the registry answers again."""
        self._mended.append(told)

    async def ask(self, question: Callable[P, Awaitable[T]], *args: P.args, **more: P.kwargs) -> T:
        """The answer to ``question``.

        :raises RegistryError: if there is none, or was none a moment ago.
        """
        if self.is_broken:
            raise RegistryError("the registry did not answer a moment ago")
        return await self.try_again(question, *args, **more)

    async def try_again(
        self, question: Callable[P, Awaitable[T]], *args: P.args, **more: P.kwargs
    ) -> T:
        """The same, also if there was none a moment ago; for one task, which knows how often.

        :raises RegistryError: if there is none.
        """
        try:
            answer = await question(*args, **more)
        except RefusedError as exc:
            if str(exc) != self._refusal:  # not for each caller
                self._refusal = str(exc)
                logger.warning("%s", exc)
            self._answers()
            raise
        except RegistryError as exc:
            self._fails(exc)
            raise
        self._answers()
        return answer

    def _fails(self, exc: RegistryError) -> None:
        if self.is_broken:
            return
        logger.warning("%s; what is known of other gateways stays as it is", exc)
        self.is_broken = True
        for told in self._broken:
            told()

    def _answers(self) -> None:
        if not self.is_broken:
            return
        self.is_broken = False
        logger.info("the registry answers again")
        for told in self._mended:
            told()
