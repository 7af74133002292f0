"""Agents: the sessions that callers of the gateway are led to, from the first to the last moment of each.

What it is.  An agent is there while its session is.  Until it registers, it serves what has no name; then it serves
its names, and nothing else.

Where data comes from and goes to.  For each session there are a few tasks while it lasts: :mod:`.reception` hears what it says
of itself, and :mod:`.registrar` decides; :mod:`.suspicion` watches it; when it has had its time, it is to go.  The gateway asks
here who serves what (:mod:`.destinations`), and says here that it ends.

Why no pool.  To a :class:`~muxado_py.Pool` all sessions are alike; here a stream is opened on one that serves its name.

The rules.  Who was let in and is to go gets no more callers, and keeps those that it has.  Who may not serve what has no name
must register: who has not in time (:mod:`.waiting_room`), or was refused, is sent away.

The trap.  An agent that never answered is none: a port scan, or a program of another wire.
"""

from __future__ import annotations

import logging
import math
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from ...runtime.checkpoints import event_loop
from ...service.causes import reason
from .agent import Agent
from .destinations import ALONE, Destination, Destinations
from .handover import hand_over, move_on
from .holdings import DEFAULT_BOUNDS
from .reception import receive
from .registrar import Registrar
from .registration import Registration
from .suspicion import watch
from .waiting_room import WaitingRoom

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from ..trust.permits import Bounds
    from .beyond import Beyond
    from .registrar import ServeHop

__all__ = ("Agents", "any_gateway", "anybody")

logger = logging.getLogger("muxado.cli")


MOVING = 10.0
"""Seconds that an agent has to move to another session, when its own has had its time."""


def anybody(agent: Agent, registration: Registration) -> str | None:
    """May ``agent`` register that?  Yes: None.  A text would say why not."""
    return None


def any_gateway(agent: Agent) -> str | None:
    """Who shows the token of the cluster may lead callers here."""
    return None


async def no_callers(destination: Destination, stream: muxado.Stream) -> None:
    """Where no session may call."""
    stream.reset()


async def no_hops(stream: muxado.Stream, find: Callable[[str], Destination | None]) -> None:
    """Where no gateway may."""
    stream.reset()


class Agents:
    """The agents that are connected.

    :param may_register: why an agent may not serve what it wants to; None if it may.
    :param may_hop: why another gateway, whose token is right, may not lead callers here all the same; None if it may.
    :param forwarded: the names that sessions may call.
    :param serve_caller: serves one that came by a stream of such a session.
    :param serve_hop: serves one that came by a stream of another gateway; it can ask who serves a name here.
    :param beyond: the other gateways.
    :param bounds: how much each holder may have at once, where its token does not say otherwise.
    """

    def __init__(
        self,
        may_register: Callable[[Agent, Registration], str | None] = anybody,
        *,
        may_hop: Callable[[Agent], str | None] = any_gateway,
        forwarded: Collection[str] = (),
        serve_caller: Callable[[Destination, muxado.Stream], Awaitable[None]] = no_callers,
        serve_hop: ServeHop = no_hops,
        beyond: Beyond = ALONE,
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> None:
        loop = event_loop()
        now = anyio.current_time if loop is None else loop.time
        self._destinations = Destinations(now, beyond)
        self._waiting_room = WaitingRoom()
        self._registrar = Registrar(
            self._destinations,
            self._waiting_room,
            may_register=may_register,
            may_hop=may_hop,
            forwarded=forwarded,
            serve_caller=serve_caller,
            serve_hop=serve_hop,
            beyond=beyond,
            bounds=bounds,
        )
        self._agents: list[Agent] = []

    @property
    def _announced(self) -> int:
        mine = (agent for agent in self._agents if not (agent.calls or agent.is_gateway))
        return sum(agent.announced for agent in mine)

    def destination(self, name: str | None = None) -> Destination:
        """Where the callers of a door are led; None: to the agents without names."""
        return self._destinations.publish(name)

    def served(self, name: str) -> Destination | None:
        """Where callers of ``name`` are led, if anybody may serve it."""
        return self._destinations.served(name)

    def are_here(self, name: str) -> bool:
        """Whether an agent of this gateway serves ``name``, whatever others do."""
        return self._destinations.served_here(name) is not None

    def names(self) -> list[str]:
        """What is published or served, in order."""
        return self._destinations.names()

    def connected(self) -> list[tuple[Agent, list[str]]]:
        """Those that have shown what they are and do not call, and what each serves; "": what has no name."""
        names: dict[Agent, list[str]] = {
            agent: []
            for agent in self._agents
            if agent.announced and not (agent.calls or agent.is_gateway)
        }
        for name, its in self.serving():
            for agent in its:
                if agent in names:
                    names[agent].append(name)
        return list(names.items())

    def serving(self) -> list[tuple[str, list[Agent]]]:
        """What is published or served, and by whom."""
        return self._destinations.serving()

    async def serve(self, session: muxado.Session) -> None:
        """Keep ``session`` among the agents until it is over.

        Cancellation: the session is no agent any more.
        """
        agent = Agent(session)
        level, cause = logging.INFO, "it closed the session"
        self._agents.append(agent)
        must_register = self._registrar.why_register(agent)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._announce, agent)
                tasks.start_soon(self._admit, agent, must_register, tasks.cancel_scope)
                tasks.start_soon(watch, agent)
                tasks.start_soon(self._end_in_time, agent)
                try:
                    await session.wait()
                except muxado.SessionError as exc:
                    level, cause = logging.WARNING, reason(exc)
                tasks.cancel_scope.cancel()
        finally:
            self._agents.remove(agent)
            self._registrar.leave(agent)
        if self._registrar.is_stopping:
            return
        if agent.sent_away:
            logger.info("%s is sent away: it has not registered", agent.peer)
        elif agent.calls:
            logger.log(level, "%s calls no more: %s", agent.peer, cause)
        elif agent.announced:
            logger.log(level, "agent %s is gone: %s (%d left)", agent.peer, cause, self._announced)
        elif session.statistics().bytes_received:
            logger.info("%s left before it answered: %s", agent.peer, cause)
        else:
            logger.info(
                "%s left without a word: %s; an agent of another --wire does so", agent.peer, cause
            )

    async def _end_in_time(self, agent: Agent) -> None:
        """Have it show anew why it may be here, when its session has lasted as long as it may.

        It moves to another session first, if it can; so whoever is let in again loses no caller.  Its session ends when those
        that it has are served, whatever it makes of that.
        """
        await agent.let_in.wait()
        if agent.holding is None:
            return
        seconds = agent.holding.session_ttl(agent.permit)
        await anyio.sleep(seconds * random.uniform(0.9, 1))  # not all of a fleet at once
        if agent.is_gateway:  # which it said later
            return
        await move_on(agent, MOVING)
        logger.info("agent %s has been here for its time", agent.peer)
        self._send_away(
            agent, f"a session lasts {seconds:g} s here, and then shows anew why it may"
        )
        # Not all peers end a session that they are told to leave, and those of smux cannot be told.
        with suppress(muxado.UndeliveredError):  # whoever was to hear it is told
            await agent.session.drain(math.inf)

    async def _admit(
        self, agent: Agent, must_register: str | None, presence: anyio.CancelScope
    ) -> None:
        """Hear what it says of itself, for as long as it is here.

        :param must_register: why it has to register; None if it need not.
        :param presence: cancelled for an agent that has to register and is refused, or too slow.
        """
        if must_register is None:
            await receive(agent, self._registrar)
            return
        with self._waiting_room.waiting(agent) as admission:
            await receive(agent, self._registrar)
        if agent.registration is not None or agent.session.closed:
            return
        agent.sent_away = True
        if admission.cancelled_caught:
            why = f"an agent must register here: {must_register}"
            agent.session.go_away(muxado.ErrorCode.STREAM_REFUSED, why.encode())
        presence.cancel()

    async def _announce(self, agent: Agent) -> None:
        with suppress(muxado.SessionError):  # whoever waits for the session says why
            await agent.session.wait_for_peer(math.inf)
            agent.announced = True
            self._destinations.nameless.speak_http = False  # it may be another application
            logger.info("agent %s connected (%d in all)", agent.peer, self._announced)

    async def hand_over(self, seconds: float) -> None:
        """Let nobody register any more, and tell those that have to move; see :func:`.handover.hand_over`."""
        self._registrar.hands_over = True
        await hand_over(self._agents, seconds)

    def stop_calls(self) -> None:
        """Sessions that call may open no more streams; those that they have go on."""
        for agent in self._agents:
            if agent.calls:
                agent.session.go_away()

    def review(self, may_stay: Callable[[Agent, Registration], str | None]) -> None:
        """Judge again what is registered: who may not stay loses it, and is told to go.

        :param may_stay: why an agent may not serve any more what it registered; None if it may.

        Callers that it has go on.
        """
        for agent in self._agents:
            if not (agent.calls or agent.is_gateway or self._destinations.has(agent)):
                continue  # another has all its names, or it has none yet: there is nothing to judge
            refusal = may_stay(agent, agent.registration or Registration())
            if refusal is not None:
                logger.warning("agent %s may not stay: %s", agent.peer, refusal)
                self._send_away(agent, refusal)

    def _send_away(self, agent: Agent, why: str) -> None:
        self._registrar.withdraw(agent)
        if agent.control is not None:
            agent.control.reset()
        agent.session.go_away(debug=why.encode())

    async def drain(self, seconds: float) -> None:
        """Close the sessions, when the agents have taken what callers have left for them.

        :param seconds: what that may take.  What an agent did not take by then is logged.

        Cancellation: the sessions are closed at once.
        """

        async def end(agent: Agent) -> None:
            session = agent.session
            if agent.control is not None:
                agent.control.reset()
            try:
                if session.statistics().live_streams:
                    await session.drain(seconds)
                else:  # it has taken everything; one that hangs need not be waited for
                    with anyio.move_on_after(seconds):
                        await session.aclose()
            except muxado.UndeliveredError as exc:
                logger.warning("agent %s: %s", agent.peer, exc)

        self._registrar.is_stopping = True
        async with anyio.create_task_group() as tasks:
            for agent in self._agents:
                tasks.start_soon(end, agent)
