"""Reception: the one stream that an agent may open to the gateway, and what it says there.

What it is.  The gateway's side of :mod:`.registration`.  The first stream of a session is heard, the line on it is
judged and answered, and what the agent may serve lasts until the stream ends.

The rules.  One stream is accepted, once; all others are refused by the session, and nothing of them is kept.  Of that
one a line is read in a bounded time, or it is told what is wrong and closed.  Who says a line and is refused serves
nothing, what has no name neither; who says something else is what it was before: an agent without names, of whatever
program.

The trap.  The stream stays open, for its end is how either side says that this is over.  Whoever drains the session
ends it first, or waits for it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from anyio import EndOfStream, fail_after

import muxado_py as muxado

from .registration import LINE_TIMEOUT, Lines, Registration, line

if TYPE_CHECKING:
    from .agent import Agent

__all__ = ("Registrar", "receive")

logger = logging.getLogger("muxado.cli")


class Registrar(Protocol):
    """Who decides."""

    def register(self, agent: Agent, registration: Registration) -> None:
        """``agent`` serves what it wants to, and nothing else, from here on.

        :raises PermissionError: if it may not; the text is for the agent.
        """

    def withdraw(self, agent: Agent) -> None:
        """``agent`` serves nothing from here on; callers that it has go on."""


async def receive(agent: Agent, registrar: Registrar) -> None:
    """Hear what ``agent`` says of itself, as long as it has it so; returns when there is nothing more to hear.

    Cancellation: its names are the caller's affair, and the stream's end is that of the session.
    """
    with suppress(muxado.SessionError):  # whoever waits for the session says why
        stream = await agent.session.accept_stream()
        agent.session.stop_accepting()
        async with stream:
            with suppress(muxado.StreamError, muxado.StreamClosedError):
                await _hear(stream, agent, registrar)


async def _hear(stream: muxado.Stream, agent: Agent, registrar: Registrar) -> None:
    lines = Lines(stream)
    try:
        with fail_after(LINE_TIMEOUT):
            said = await lines.next()
    except (ValueError, TimeoutError, EndOfStream) as exc:
        why = str(exc) or f"no line came in {LINE_TIMEOUT:g} s"
        logger.info("agent %s opened a stream and did not register: %s", agent.peer, why)
        await _refuse(stream, why)
        return
    try:
        registration = Registration.parse(said)
        registrar.register(agent, registration)
    except (ValueError, PermissionError) as exc:
        registrar.withdraw(agent)
        logger.warning("agent %s is refused: %s", agent.peer, exc)
        await _refuse(stream, str(exc))
        return
    agent.control = stream
    try:
        stream.send_nowait(line(registered=registration.names))
        names = ", ".join(registration.names) or "doors without a name"
        logger.info("agent %s serves %s", agent.peer, names)
        with suppress(EndOfStream):
            await stream.receive(1)
            logger.warning("agent %s said more than a registration", agent.peer)
    finally:
        agent.control = None
        registrar.withdraw(agent)


async def _refuse(stream: muxado.Stream, why: str) -> None:
    await stream.send(line(refused=why))
