"""Hedging: the same call once more, when it has had no answer for a while; the first answer counts.

Where it is from.  Dean and Barroso, "The Tail at Scale" (CACM 2013), and gRPC's A6.  One slow server, or one lost packet,
makes a call slow, and the next is most likely not; so a second attempt after the time in which nineteen of twenty calls are
answered costs a twentieth more, and cuts off the tail.

The rules.  Only for calls that may be executed twice; and paid from the budget of all retries, so that an overload, in which
all calls are slow, is not doubled.  The time begins when the first attempt has a stream: a call that waits for a session is
none that a server is slow with, and all that wait for one would come twice when it is there.  An error that a handler answered is an answer, too: the other attempt is
given up.  One that failed otherwise waits for the other.

The trap.  Who loses is cancelled, and its stream is reset: also that server then stops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import Event, create_task_group, move_on_after

from ..errors import MuxadoError, Retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("first_answer",)


async def first_answer(
    attempt: Callable[[], Awaitable[bytes]],
    after: float,
    may_hedge: Callable[[], bool],
    begun: Event,
) -> bytes:
    """What the first of two attempts brings.

    :param after: seconds from then on until the second begins.
    :param may_hedge: whether it may; asked once, when it is time.
    :param begun: set when the first has begun to wait for an answer.
    :raises: what the last one raised, if both failed.

    Cancellation: both are cancelled.
    """
    race = _Race()
    async with create_task_group() as tasks:

        async def run() -> None:
            await race.run(attempt)
            begun.set()  # if it had no stream at all
            if race.over.is_set():
                tasks.cancel_scope.cancel()

        race.running = 1
        tasks.start_soon(run)
        await begun.wait()
        with move_on_after(after):
            await race.over.wait()
        if not race.over.is_set() and may_hedge():
            race.running += 1
            tasks.start_soon(run)
    return race.answer()


class _Race:
    def __init__(self) -> None:
        self.running = 0
        self.over = Event()
        self._answer: bytes | None = None
        self._failure: Exception | None = None

    async def run(self, attempt: Callable[[], Awaitable[bytes]]) -> None:
        failure: Exception | None = None
        try:
            answer = await attempt()
        except Exception as exc:  # noqa: BLE001 - raised by answer(): a task group would wrap it
            failure = exc
        self.running -= 1
        if self.over.is_set():
            return
        if failure is None:
            self._answer = answer
            self.over.set()
            return
        self._failure = failure
        final = not isinstance(failure, MuxadoError) or failure.retry is Retry.PROCESSED
        if final or not self.running:
            self.over.set()

    def answer(self) -> bytes:
        if self._answer is not None:
            return self._answer
        assert self._failure is not None
        raise self._failure
