"""Agents: the sessions that callers of the gateway are led to.

Which agent.  The one that connected last; an older one if that opens no more streams.  A new agent
thus takes over from the one it replaces, and an agent that came back after its network failed takes
over from its own dead session, which the gateway may not have noticed yet.  A connection that never
sent a frame comes last: it may be a Go agent, which says nothing until it is asked, or a port scan.

The rules.  Whatever is wrong with one agent, the next is asked.  An agent opens no streams here: they are
refused at once, and nothing of them is kept.

The trap.  What can be asked of a session can fail once it is over; who it is, is asked at its beginning.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from .running import reason
from .sessions_listener import peer_name

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ("Agent", "Agents")

logger = logging.getLogger("muxado.cli")


class Agent:
    """One connected agent."""

    def __init__(self, session: muxado.Session) -> None:
        self.session = session
        self.name = peer_name(session)
        self.announced = False  # once its first frame has come


class Agents:
    """The agents that are connected."""

    def __init__(self) -> None:
        self._agents: list[Agent] = []  # the newest last
        self._stopping = False
        self.speak_http = False
        """Whether the last answer was one of HTTP/1, where nobody waits for the server's first word."""

    @property
    def _announced(self) -> int:
        return sum(agent.announced for agent in self._agents)

    async def serve(self, session: muxado.Session) -> None:
        """Keep ``session`` among the agents until it is over.

        Cancellation: the session is no agent any more.
        """
        session.stop_accepting()
        agent = Agent(session)
        level, cause = logging.INFO, "it closed the session"
        self._agents.append(agent)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._announce, agent)
                try:
                    await session.wait()
                except muxado.SessionError as exc:
                    level, cause = logging.WARNING, reason(exc)
                tasks.cancel_scope.cancel()
        finally:
            self._agents.remove(agent)
        if self._stopping:
            return
        if agent.announced:
            logger.log(level, "agent %s is gone: %s (%d left)", agent.name, cause, self._announced)
        elif session.statistics().bytes_received:
            logger.info("%s left before it answered: %s", agent.name, cause)
        else:
            logger.info(
                "%s left without a word: %s; an agent of another --wire does so", agent.name, cause
            )

    async def _announce(self, agent: Agent) -> None:
        with suppress(muxado.SessionError):  # whoever waits for the session says why
            await agent.session.wait_for_peer(math.inf)
            agent.announced = True
            self.speak_http = False  # it may be another application
            logger.info("agent %s connected (%d in all)", agent.name, self._announced)

    async def drain(self, seconds: float) -> None:
        """Close the sessions, when the agents have taken what callers have left for them.

        :param seconds: what that may take.  What an agent did not take by then is logged.

        Cancellation: the sessions are closed at once.
        """

        async def end(agent: Agent) -> None:
            session = agent.session
            try:
                if session.statistics().live_streams:
                    await session.drain(seconds)
                else:  # it has taken everything; one that hangs need not be waited for
                    with anyio.move_on_after(seconds):
                        await session.aclose()
            except muxado.UndeliveredError as exc:
                logger.warning("agent %s: %s", agent.name, exc)

        self._stopping = True
        async with anyio.create_task_group() as tasks:
            for agent in self._agents:
                tasks.start_soon(end, agent)

    def dial(self, tried: Collection[Agent] = ()) -> tuple[muxado.Stream, Agent]:
        """A stream to the newest agent that opens one, and is not among ``tried``.

        :raises ConnectionRefusedError: if none does.
        """
        newest_first = [agent for agent in reversed(self._agents) if agent not in tried]
        for agent in sorted(newest_first, key=lambda agent: not agent.session.heard):
            try:
                return agent.session.open_stream_nowait(), agent
            except Exception as exc:  # noqa: BLE001 - it is that agent's trouble, not the caller's
                logger.debug("agent %s opens no stream: %r", agent.name, exc)
        if self._agents:
            raise ConnectionRefusedError("No connected agent takes more connections.")
        raise ConnectionRefusedError("No agent is connected to this gateway.")
