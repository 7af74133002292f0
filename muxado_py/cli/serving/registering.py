"""Registering: how an agent tells its gateway what it serves, before it serves anything.

What it is.  The agent's side of :mod:`..agents.registration`.  It opens a stream, says its line and waits for the answer; only
then its session is used by the pool (``greet`` of :func:`~muxado_py.connect_pool`).  So nobody is served under a name that
the gateway has not taken, and who comes before that waits.

The rules.  A gateway that works answers at once.  One that has not within :data:`ANSWER_TIMEOUT` is one that hangs, or
no gateway that knows names; the log says so, and another session is tried after a while.  When this side stops, it ends
the stream first, and gets no more callers.

Who loses a name to an agent that serves it alone does not ask for it again: two would take it from each other
for ever.  Who loses the last one finishes what it has and ends.  Who was cut off may not have heard of it: so an agent that is to be
alone says, when it comes back, how long ago it knew last that it has its names, and is told then.

A gateway that ends asks its agents to move.  This side is registered elsewhere first, and says so; it goes on to serve the
old session until the gateway has ended it, since callers may still come that way.  One that hangs is left in the same way
(:mod:`.watchdog`).

The traps.  The stream is the application's to the session: a drain waits for its end.  And who moves takes its names from
itself, where gateways know of each other: that is no loss.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio

import muxado_py as muxado

from ...errors import escaped
from ...service.causes import reason
from ..agents.registration import Lines, RegistrationError, line
from .watchdog import watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ..agents.registration import Registration
    from ..trust.shown_token import ShownToken

__all__ = ("ENDED", "Registrant", "introduced", "say")

logger = logging.getLogger("muxado.cli")

ANSWER_TIMEOUT = 1.0
"""Seconds in which the gateway must have answered."""

CONFIRMING = 1.0
"""Seconds between two questions whether the gateway is there, of an agent that serves names alone."""

MAX_CREDIBLE_RETRY_AFTER = 24 * 3600.0
"""Seconds; what a gateway says beyond is a mistake of its, and is not heard.  Of what is heard, the keeper of the session heeds less."""

MAX_SHOWN = 200
"""Characters of what the gateway says that go into a line of the log."""

ENDED = (muxado.StreamError, anyio.EndOfStream, anyio.ClosedResourceError)
"""How the stream ends that the gateway does not take, or no more."""


def sleepless_time() -> float:
    """Seconds, by a clock that goes on while the machine sleeps; Python's own does not on Linux and macOS."""
    clock = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Registrant:
    """An agent that serves names, over one session after the other.

    :param registration: what it wants to serve.
    :param stop: set by whoever stops this side; and here, when it has lost all of its names.
    :param token: what it shows each time, in place of what is in ``registration``.
    :param now: the time, in seconds.
    """

    def __init__(
        self,
        registration: Registration,
        stop: anyio.Event,
        token: ShownToken | None = None,
        now: Callable[[], float] = sleepless_time,
    ) -> None:
        self._registration = registration
        self._token = token
        self._stop = stop
        self._now = now
        self._had: float | None = None  # when it knew last that it has its names
        self.replaced: str | None = None
        """Why it serves nothing any more: another agent has its last names."""

    def serves(self, name: str) -> bool:
        """Whether it serves ``name`` now: no other agent does so alone."""
        return name in self._registration.names

    @asynccontextmanager
    async def greet(self, session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        """Register, and stay registered as long as the block lasts.

        :param dialed: what ``session`` came of.
        :raises RegistrationError: if the gateway did not take the registration.

        Cancellation: this side is registered no more.
        """
        registration = self._registration._replace(moves=True)
        if self._token is not None:
            registration = registration._replace(token=self._token.now())
        if registration.exclusive and self._had is not None:
            registration = registration._replace(had=max(0.0, self._now() - self._had))
        async with introduced(
            session, dialed, registration.line(), "registered", self._lose
        ) as stream:
            if registration.names:
                logger.info("serving as %s", ", ".join(registration.names))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._leave, stream)
                if registration.exclusive:
                    self._had = self._now()
                    tasks.start_soon(self._confirm, session)
                yield
                tasks.cancel_scope.cancel()

    async def _confirm(self, session: muxado.Session) -> None:
        """Keep in mind when this side had its names last: as the gateway answered, it would have heard of a loss.

        What counts is when it was asked.  Answers may have lain here for hours, while this process, or its machine, slept.

        Cancellation: safe.
        """
        try:
            while True:
                await anyio.sleep(CONFIRMING)
                asked = self._now()
                await session.ping(math.inf)
                self._had = asked
        except muxado.MuxadoError:
            if not session.closed:  # it answers no pings, and what is not known is not said
                self._had = None

    async def _leave(self, stream: muxado.Stream) -> None:
        await self._stop.wait()
        stream.reset()

    def _lose(self, taken: list[Any], said: dict[str, Any]) -> None:
        names = [name for name in self._registration.names if name in taken]
        if not names:
            return
        left = tuple(name for name in self._registration.names if name not in names)
        self._registration = self._registration._replace(names=left)
        by = escaped(str(said.get("by", "unnamed")))[:MAX_SHOWN]
        why = f"the newer agent {by} serves {', '.join(names)} now, alone"
        logger.warning("%s", why)
        if not left:
            self.replaced = why
            self._stop.set()


@asynccontextmanager
async def introduced(
    session: muxado.Session,
    dialed: muxado.Dialed,
    said: bytes,
    expected: str,
    lose: Callable[[list[Any], dict[str, Any]], None],
) -> AsyncIterator[muxado.Stream]:
    """:func:`say`, and be what was said as long as the block lasts: a gateway that ends or hangs is left for another.

    The block is given the stream, and raises nothing.

    :param dialed: what ``session`` came of.
    :param lose: called with the names that are another's now.
    :raises RegistrationError: as :func:`say`.

    Cancellation: the stream is reset.
    """
    try:
        stream, lines = await say(session, said, expected)
    except RegistrationError as exc:
        _lose_taken(exc.answer, lose)
        raise
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_obey, stream, lines, dialed, lose)
            tasks.start_soon(watch, session, dialed, stream)
            yield stream
            tasks.cancel_scope.cancel()
    finally:
        stream.reset()


async def _obey(
    stream: muxado.Stream,
    lines: Lines,
    dialed: muxado.Dialed,
    lose: Callable[[list[Any], dict[str, Any]], None],
) -> None:
    """Hear what the gateway says later, and do it; returns when it has no more to say.

    Cancellation: safe.
    """
    with suppress(*ENDED, muxado.SessionError, ValueError):
        while True:
            said = await lines.next()
            if said.get("move") is True:
                logger.info("%s asks to move", dialed.url)
                why_not = await dialed.move()
                await stream.send(line(moved=True) if why_not is None else line(stays=why_not))
            elif not dialed.told.is_set():
                _lose_taken(said, lose)


def _lose_taken(said: dict[str, Any], lose: Callable[[list[Any], dict[str, Any]], None]) -> None:
    taken = said.get("taken")
    if isinstance(taken, list):
        lose(taken, said)


async def say(session: muxado.Session, said: bytes, expected: str) -> tuple[muxado.Stream, Lines]:
    """Say the line ``said`` on a stream of its own.

    :param expected: the key in the answer of a gateway that agrees.
    :returns: the stream, which stays open, and what comes on it later.
    :raises RegistrationError: if there is another answer, or none.

    Cancellation: the stream is reset.
    """
    stream = await session.open_stream()
    try:
        return stream, await _ask(stream, said, expected)
    except BaseException:
        stream.reset()
        raise


async def _ask(stream: muxado.Stream, said: bytes, expected: str) -> Lines:
    lines = Lines(stream)
    try:
        with anyio.fail_after(ANSWER_TIMEOUT):
            await stream.send(said)
            answer = await lines.next()
    except TimeoutError:
        raise RegistrationError(
            f"it did not answer the registration within {ANSWER_TIMEOUT:g} s: it hangs, or is no gateway that knows names"
        ) from None
    except ENDED as exc:
        raise RegistrationError(
            f"it is no gateway that knows names: it ended the registration ({reason(exc)})"
        ) from exc
    except ValueError as exc:
        raise RegistrationError(f"it is no gateway that knows names: {exc}") from exc
    if expected not in answer:
        why = escaped(str(answer.get("refused", answer)))
        raise RegistrationError(f"it refused: {why}", _seconds(answer.get("retry_after")), answer)
    return lines


def _seconds(said: object) -> float | None:
    """What a gateway says of when to come again, if it is that."""
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return float(said) if 0 <= said <= MAX_CREDIBLE_RETRY_AFTER else None
