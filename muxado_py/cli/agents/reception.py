"""Reception: the first stream that a peer opens to the gateway, and what it says there.

What it is.  The gateway's side of :mod:`.registration`.  The first stream of a session is heard, the line on it is
judged (:mod:`.registrar`) and answered, and what follows from it lasts until the stream ends: an agent serves its names,
and the other streams of a session that calls are callers.

The rules.  Of the first stream a line is read in a bounded time, or it is told what is wrong and closed.  All others are
refused, and nothing of them is kept, unless the session calls.  Who says a line and is refused serves
nothing, what has no name neither; who says something else is what it was before: an agent without names, of whatever
program.

The trap.  The stream stays open, for its end is how either side says that this is over.  Whoever drains the session
ends it first, or waits for it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import EndOfStream, create_task_group, fail_after

import muxado_py as muxado

from .registrar import refuse
from .registration import LINE_TIMEOUT, Call, Hop, Lines, NamesTaken, Registration, TryLater, line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anyio.abc import TaskGroup

    from .agent import Agent
    from .registrar import Registrar

__all__ = ("receive",)

logger = logging.getLogger("muxado.cli")


async def receive(agent: Agent, registrar: Registrar) -> None:
    """Hear what ``agent`` says of itself, as long as it has it so; returns when there is nothing more to hear.

    Cancellation: its names are the caller's affair, and the stream's end is that of the session.
    """
    reception = _Reception(agent, registrar)
    async with create_task_group() as tasks:
        # Whoever waits for it says why.
        with suppress(muxado.SessionError, muxado.StreamClosedError):
            tasks.start_soon(reception.hear, await agent.session.accept_stream())
            # One after the other: tasks need not begin in the order in which streams came.
            while True:
                reception.take(await agent.session.accept_stream(), tasks)


class _Reception:
    """The streams of one session."""

    def __init__(self, agent: Agent, registrar: Registrar) -> None:
        self._agent = agent
        self._registrar = registrar
        self._lead: Callable[[muxado.Stream], Coroutine[Any, Any, None]] | None = None
        """Who serves the streams of a session that calls."""

    def take(self, stream: muxado.Stream, tasks: TaskGroup) -> None:
        """Do with a stream that is not the first what is to be done."""
        if self._lead is not None:
            tasks.start_soon(self._lead, stream)
            return
        refuse(stream)

    async def hear(self, stream: muxado.Stream) -> None:
        """Do with the first stream what is to be done."""
        async with stream:
            with suppress(muxado.StreamError, muxado.StreamClosedError, muxado.SessionError):
                await self._hear(stream)
        self._agent.session.stop_accepting()

    async def _hear(self, stream: muxado.Stream) -> None:
        agent, registrar = self._agent, self._registrar
        lines = Lines(stream)
        try:
            with fail_after(LINE_TIMEOUT):
                said = await lines.next()
        except (ValueError, TimeoutError, EndOfStream) as exc:
            why = str(exc) or f"no line came in {LINE_TIMEOUT:g} s"
            logger.info("agent %s opened a stream and did not register: %s", agent.peer, why)
            await stream.send(line(refused=why))
            return
        try:
            answer, what = self._judge(said)
        except (ValueError, PermissionError) as exc:
            registrar.withdraw(agent)
            logger.warning("agent %s is refused: %s", agent.peer, exc)
            await stream.send(line(refused=str(exc), **_beside(exc)))
            return
        if self._lead is None:
            agent.session.stop_accepting()
        agent.control = stream
        try:
            stream.send_nowait(answer)
            logger.info("%s", what)
            with suppress(EndOfStream):
                await _hear_more(agent, lines)
                logger.warning("agent %s said more than a registration", agent.peer)
        finally:
            agent.control = None
            self._lead = None
            if agent.moving is not None:
                agent.moving.leave()
            registrar.withdraw(agent)

    def _judge(self, said: dict[str, Any]) -> tuple[bytes, str]:
        """What to answer, and what the log says of it.

        :raises ValueError: if it is not what one says.
        :raises PermissionError: if it may not.
        """
        if "call" in said:
            call = Call.parse(said)
            destination = self._registrar.call(self._agent, call)
            self._lead = partial(self._registrar.lead, self._agent, destination=destination)
            return line(calling=call.name), f"{self._agent.peer} calls {call.name}"
        if "hop" in said:
            hop = Hop.parse(said)
            self._registrar.hop(self._agent, hop)
            self._lead = self._registrar.lead_hop
            return line(hopping=hop.node), f"{self._agent.peer} is another gateway"
        registration = Registration.parse(said)
        self._registrar.register(self._agent, registration)
        names = ", ".join(registration.names) or "doors without a name"
        return line(registered=registration.names), f"agent {self._agent.peer} serves {names}"


def _beside(refusal: Exception) -> dict[str, Any]:
    """What an agent is told beside that it is refused, so that it knows what to do."""
    if isinstance(refusal, TryLater):
        return {"retry_after": refusal.seconds}
    if isinstance(refusal, NamesTaken):
        return {"taken": refusal.names, "by": refusal.by}
    return {}


async def _hear_more(agent: Agent, lines: Lines) -> None:
    """Hear what ``agent`` says to it that it is to move; returns when it says something else.

    :raises EndOfStream: if it says no more.
    """
    with suppress(ValueError):
        while True:
            said = await lines.next()
            answer = agent.moving and agent.moving.take(said)
            if not answer:
                return
            logger.info("agent %s %s", agent.peer, answer)
