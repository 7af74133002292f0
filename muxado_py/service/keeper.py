"""Keeper: one session that is kept up: connect, use it, connect again, elsewhere if that is possible.

What it is.  :func:`keep` keeps one session, to one of the targets that it knows, until it is told to stop.  A pool has
one for each session that it is to have; that of ``muxado serve`` has one, for all of its gateways.

The rules.  Where a session fails, the next target is tried at once; only who has failed at all of them waits.  They are
tried in an order that is drawn, so that many who know the same targets are spread over them.  A peer that says when it
wants to be asked again is asked then, within bounds, and not when the back-off says.  A peer that goes away is
left: then another session is there before that one's last stream is over.  A lost session is an event in the log and not
an error; only the end of all attempts is, and whether there is one is the :class:`Manner`'s to say.  Whoever is stopping
dials no more, and reports the end that it caused itself as no loss.

The trap.  A peer that takes a session and goes away at once looks as if there were something to move from; so one that
did not last is left as slowly as one that fails.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from anyio import Event, create_task_group, current_time, move_on_after

from .backoff import Backoff
from .causes import distrust, has_no_tls, nobody_listens, reason
from .dialed import Dialed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskGroup

    from ..session.session import Session
    from .dialed import Attach

    Targets = Mapping[str, Callable[[], AbstractAsyncContextManager[Session]]]
    """What dials, by URL."""

__all__ = ("Manner", "keep")

logger = logging.getLogger("muxado.pool")

LASTING = 5.0
"""Seconds after which a session counts as a good one, and the back-off begins again."""

MOVE_TIMEOUT = 2.0
"""Seconds in which a peer to move to must have taken this side: longer than it may take to register."""

MOVE_PAUSE = 0.1
"""Seconds, at most, until the second round of trying to move: what a balancer may need to see that a server ends."""

MAX_MOVE_PAUSE = 2.0
"""Seconds, at most, between two later ones."""


MIN_HEEDED_RETRY_AFTER = 1.0
"""Seconds, at least, until a peer is asked again that said when; whatever that was."""

MAX_HEEDED_RETRY_AFTER = 300.0
"""Seconds, at most."""


class Manner:
    """What is said of attempts that fail, and for how long it is tried."""

    def event(self, dialed: Dialed) -> str:
        """What became of it, in words for the log that end before the URL."""
        return "lost the connection to" if dialed.answered else "cannot connect to"

    def cause(self, dialed: Dialed) -> str:
        """Why it ended, in one line."""
        exc = dialed.failure
        if exc is None:
            return "the other side closed the session"
        if has_no_tls(exc):
            return f"{reason(exc)}; it answered without TLS: does it want tcp://?"
        if (distrusted := distrust(exc)) is not None:
            return f"it {distrusted.text}"
        if dialed.was_mute:
            return f"{reason(exc)}; it never said a word: does it want TLS, or another wire?"
        return reason(exc)

    def dials(self, dialed: Dialed) -> None:
        """One is dialed."""

    def failed(self, dialed: Dialed, failures: int | None) -> None:
        """An attempt has ended, which nobody asked for.

        :param failures: in a row, each at all targets; None if there is another to try at once.
        :raises Exception: to keep no session any more.
        """

    def waits(self, url: str, seconds: float) -> None:
        """Nothing is tried for so long; then ``url`` is dialed."""


async def keep(
    targets: Targets,
    attach: Attach,
    *,
    stop: Event,
    manner: Manner | None = None,
    backoff: Backoff | None = None,
) -> None:
    """Dial one of ``targets``, give the session to ``attach`` until it is over, dial again; returns after ``stop``.

    :param attach: uses a session; it may be called again before it has returned.  It says when the session is
        :meth:`~.Dialed.settle`\\ d, and when it is to be replaced.
    :param stop: once set, nothing is dialed any more; a session that is there goes on until it is over.
    :param backoff: what passes between two rounds of attempts; default one from 50 ms to 30 s.
    :raises Exception: what ``manner`` gives up with.

    Cancellation: the sessions are closed with a short goodbye.
    """
    manner = manner or Manner()
    ended: Exception | None = None
    async with create_task_group() as tasks:

        def dial(url: str) -> Dialed:
            dialed = Dialed(url, targets[url])
            manner.dials(dialed)
            tasks.start_soon(dialed.run, attach, stop)
            return dialed

        keeper = _Keeper(_Rounds(tuple(targets), backoff or Backoff(), manner), dial, stop, manner)
        try:
            await keeper.run(tasks)
        except Exception as exc:  # noqa: BLE001 - raised below: a task group would wrap it
            ended = exc
            tasks.cancel_scope.cancel()
    if ended is not None:
        raise ended


class _Rounds:
    """Which target is next, and what there is to wait before.

    :ivar next: its URL.
    """

    def __init__(self, urls: Sequence[str], backoff: Backoff, manner: Manner) -> None:
        self._urls = random.sample(urls, len(urls))
        self._backoff = backoff
        self._manner = manner
        self._failed: set[str] = set()  # in this round
        self._not_before: dict[str, float] = {}
        self._counted: Dialed | None = None
        self._delay = 0.0
        self.next = self._urls[0]

    def others(self, url: str) -> list[str]:
        """All of them, ``url`` last: what answers there may be another one by now."""
        index = self._urls.index(url) + 1
        return self._urls[index:] + self._urls[:index]

    def settled(self, dialed: Dialed) -> None:
        """It is good for now."""
        if dialed.lasted >= LASTING:
            self._backoff.reset()
            self._failed.clear()
            self._counted = None

    def left(self, dialed: Dialed) -> float:
        """Its peer wants to end it; the seconds to wait before another is dialed."""
        self.settled(dialed)
        return 0.0 if dialed.lasted >= LASTING else self._count(dialed)

    def _count(self, dialed: Dialed) -> float:
        """The seconds to wait behind ``dialed``, which counts once: one that was to be left may end before it is."""
        if dialed is not self._counted:
            self._counted, self._delay = dialed, self._backoff.failed()
        return self._delay

    def failed(self, dialed: Dialed) -> float:
        """Choose the next target after ``attempt``; the seconds to wait before.

        :raises Exception: what the manner gives up with.
        """
        self.settled(dialed)
        self._failed.add(dialed.url)
        self._ask_later(dialed)
        waits = self._waits()
        others = (one for one in self.others(dialed.url) if one not in self._failed | waits.keys())
        event, cause = self._manner.event(dialed), self._manner.cause(dialed)
        if (other := next(others, None)) is not None:
            self.next = other
            self._manner.failed(dialed, None)
            logger.warning("%s %s: %s; trying %s", event, dialed.url, cause, self.next)
            return 0.0
        self._failed.clear()
        own = self._count(dialed)
        delays = {url: waits.get(url, own) for url in self._urls}
        self.next = min(delays, key=delays.__getitem__)
        delay = delays[self.next]
        self._manner.failed(dialed, self._backoff.failures)
        logger.warning("%s %s: %s; trying again in %.1f s", event, dialed.url, cause, delay)
        return delay

    def _ask_later(self, dialed: Dialed) -> None:
        """Heed what its peer says of when to come again, with a part that is drawn: it says the same to others."""
        self._not_before.pop(dialed.url, None)
        if (asked := dialed.retry_after) is not None:
            wait = min(max(asked, MIN_HEEDED_RETRY_AFTER), MAX_HEEDED_RETRY_AFTER)
            self._not_before[dialed.url] = current_time() + wait * random.uniform(1.0, 1.25)

    def _waits(self) -> dict[str, float]:
        """The seconds until those want to be asked who said so."""
        now = current_time()
        return {url: then - now for url, then in self._not_before.items() if then > now}


class _Keeper:
    """Keeps one session.

    :param dial: begins an attempt.
    """

    def __init__(
        self, rounds: _Rounds, dial: Callable[[str], Dialed], stop: Event, manner: Manner
    ) -> None:
        self._rounds = rounds
        self._dial = dial
        self._stop = stop
        self._manner = manner

    async def run(self, tasks: TaskGroup) -> None:
        """Returns after ``stop``, when the last session is over that was not left.

        :param tasks: where those are waited for that were.
        """
        dialed = self._dial(self._rounds.next)
        while True:
            await self._wait(dialed, dialed.told)
            moves = not (dialed.over.is_set() or self._stop.is_set())
            if moves and (other := await self._move(dialed)) is not None:
                tasks.start_soon(self._see_off, dialed)
                dialed = other
                continue
            if not dialed.told.is_set():  # it may stay after all
                continue
            await self._wait(dialed, dialed.over)
            if self._stop.is_set():
                self._report_end(dialed)
                return
            delay = self._rounds.failed(dialed)
            self._manner.waits(self._rounds.next, delay)
            with move_on_after(delay):
                await self._stop.wait()
            if self._stop.is_set():
                return
            dialed = self._dial(self._rounds.next)

    async def _wait(self, dialed: Dialed, event: Event) -> None:
        """Wait for ``event`` of ``dialed``; who stops may cut it off, and that is its end too."""
        try:
            await event.wait()
        except BaseException:
            if self._stop.is_set():
                self._report_end(dialed)
            raise

    async def _move(self, dialed: Dialed) -> Dialed | None:
        """The attempt that takes the place of this one, which is to end; None if none does, or it may stay after all."""
        pauses = Backoff(MOVE_PAUSE, MAX_MOVE_PAUSE)
        pause = self._rounds.left(dialed)
        while dialed.told.is_set() and not (self._stop.is_set() or dialed.over.is_set()):
            with move_on_after(pause):
                await dialed.over.wait()
                break
            pause = pauses.failed()
            unheard = True
            for url in self._rounds.others(dialed.url):
                other = self._dial(url)
                with move_on_after(MOVE_TIMEOUT):
                    await other.judged()
                if other.is_settled:
                    logger.info("moved from %s to %s", dialed.url, url)
                    self._rounds.settled(other)
                    dialed.has_moved()
                    return other
                other.give_up()
                await other.over.wait()
                logger.info("cannot move to %s: %s", url, self._manner.cause(other))
                unheard = unheard and nobody_listens(other.failure)
            if unheard:
                dialed.has_moved(why_not="nobody listens anywhere else")
        return None

    async def _see_off(self, dialed: Dialed) -> None:
        """Say when the end has come of a session that was left."""
        await self._wait(dialed, dialed.over)
        self._report_end(dialed)

    def _report_end(self, dialed: Dialed) -> None:
        if not dialed.answered:
            return  # there was never a connection
        if dialed.failure is None:
            logger.info("no longer connected to %s", dialed.url)
        else:
            logger.info("no longer connected to %s: %s", dialed.url, self._manner.cause(dialed))
