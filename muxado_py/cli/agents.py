"""Agents: the sessions that callers of the gateway are led to, from the first to the last moment of each.

What it is.  An agent is there while its session is.  Until it registers, it serves what has no name; then it serves
its names, and nothing else (:mod:`.reception` hears what it says of itself, :mod:`.destinations` knows who serves
what).

The rules.  An agent opens no streams here but that one: they are refused at once, and nothing of them is kept.  An
agent whose registration was refused serves nothing.  Who may not serve what has no name must register: who has not within
:data:`ADMISSION_TIMEOUT`, or was refused, is sent away: strangers hold nothing here.

The trap.  An agent that never answered is none: a port scan, or a program of another wire.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from ..errors import escaped
from ..runtime.checkpoints import event_loop
from .agent import Agent
from .destinations import ALONE, Destination, Destinations
from .handover import hand_over
from .reception import receive
from .registration import Registration, line
from .running import reason
from .suspicion import watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from .beyond import Beyond
    from .registration import Call, Hop

    ServeHop = Callable[[muxado.Stream, Callable[[str], Destination | None]], Awaitable[None]]

__all__ = ("Agents", "any_gateway", "anybody")

logger = logging.getLogger("muxado.cli")


ADMISSION_TIMEOUT = 4.0
"""Seconds in which an agent that must register must have done so: one line of it may take a half.  Ours does it at once, and
waits a second for the answer; whoever has started one without a token does not look at its log for long."""

MAX_WAITING = 256
"""Agents that must register and have not yet; when one more comes, the oldest goes.  For the reason of
``Config.max_mute_connections``: this is what comes after the first byte."""


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
    ) -> None:
        self._forwarded = forwarded
        self._serve_caller = serve_caller
        self._serve_hop = serve_hop
        self._beyond = beyond
        self._may_register = may_register
        self._may_hop = may_hop
        self._agents: list[Agent] = []
        self._waiting: dict[Agent, anyio.CancelScope] = {}  # to be let in, the oldest first
        loop = event_loop()
        self._destinations = Destinations(anyio.current_time if loop is None else loop.time, beyond)
        self._hands_over = False
        self._stopping = False

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
        must_register = self._may_register(agent, Registration())
        if must_register is None:
            self._destinations.join(agent, None)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._announce, agent)
                tasks.start_soon(self._admit, agent, must_register, tasks.cancel_scope)
                tasks.start_soon(watch, agent)
                try:
                    await session.wait()
                except muxado.SessionError as exc:
                    level, cause = logging.WARNING, reason(exc)
                tasks.cancel_scope.cancel()
        finally:
            self._agents.remove(agent)
            self.withdraw(agent)
        if self._stopping:
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

    async def _admit(
        self, agent: Agent, must_register: str | None, presence: anyio.CancelScope
    ) -> None:
        """Hear what it says of itself, for as long as it is here.

        :param must_register: why it has to register; None if it need not.
        :param presence: cancelled for an agent that has to register and is refused, or too slow.
        """
        if must_register is None:
            await receive(agent, self)
            return
        with anyio.move_on_after(ADMISSION_TIMEOUT) as admission:
            self._waiting[agent] = admission
            if len(self._waiting) > MAX_WAITING:
                self._waiting.pop(next(iter(self._waiting))).cancel()
            try:
                await receive(agent, self)
            finally:
                self._waiting.pop(agent, None)
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

    def register(self, agent: Agent, registration: Registration) -> None:
        """See :class:`.reception.Registrar`."""
        self._check(agent, registration)
        owned = self._destinations.owned(agent, registration.names)
        if owned and not registration.exclusive:
            raise PermissionError(f"another agent serves {', '.join(owned)}, alone")
        self._let_in(agent, registration)
        for name in registration.names or (None,):
            self._destinations.join(agent, name)
        if registration.exclusive:
            self._take_over(agent, registration.names)

    def _check(self, agent: Agent, registration: Registration) -> None:
        """:raises PermissionError: if ``agent`` may not."""
        if self._hands_over:
            raise PermissionError("this gateway ends")
        refusal = self._may_register(agent, registration)
        if refusal is not None:
            raise PermissionError(refusal)

    def _let_in(self, agent: Agent, registration: Registration) -> None:
        agent.registration = registration
        if agent in self._waiting:
            self._waiting.pop(agent).deadline = math.inf
        self._destinations.leave(agent)
        if registration.names:
            agent.take_back_early()  # they wanted what has no name

    def _take_over(self, agent: Agent, names: Sequence[str]) -> None:
        """``agent`` serves ``names`` alone; those who did so before are told."""
        lost: dict[Agent, list[str]] = {}
        for name in names:
            for other in self._destinations.own(agent, name):
                lost.setdefault(other, []).append(name)
        for other, taken in lost.items():
            logger.warning(
                "agent %s loses %s to agent %s", other.peer, ", ".join(taken), agent.peer
            )
            registration, control = other.registration, other.control
            if registration is None or control is None:
                continue
            left = tuple(name for name in registration.names if name not in taken)
            other.registration = registration._replace(names=left)
            with suppress(muxado.MuxadoError):  # it is gone already
                control.send_nowait(line(taken=taken, by=agent.peer))

    def call(self, agent: Agent, call: Call) -> Destination:
        """See :class:`.reception.Registrar`."""
        if call.name not in self._forwarded:
            raise PermissionError(
                f"this gateway forwards no calls to {call.name} (muxado gateway --allow-forward)"
            )
        registration = Registration((call.name,), token=call.token, moves=call.moves)
        self._check(agent, registration)
        self._let_in(agent, registration)
        agent.calls = True
        return self._destinations.publish(call.name)

    async def lead(self, stream: muxado.Stream, destination: Destination) -> None:
        """See :class:`.reception.Registrar`."""
        await self._serve_caller(destination, stream)

    def hop(self, agent: Agent, hop: Hop) -> None:
        """See :class:`.reception.Registrar`."""
        refusal = "this gateway ends" if self._stopping else self._beyond.may_hop(hop)
        refusal = refusal or self._may_hop(agent)
        if refusal is not None:
            raise PermissionError(refusal)
        agent.holder = f"gateway {escaped(hop.node)}"
        agent.is_gateway = True
        if agent in self._waiting:
            self._waiting.pop(agent).deadline = math.inf
        self._destinations.leave(agent)

    async def lead_hop(self, stream: muxado.Stream) -> None:
        """See :class:`.reception.Registrar`."""
        await self._serve_hop(stream, self._destinations.served_here)

    async def hand_over(self, seconds: float) -> None:
        """Let nobody register any more, and tell those that have to move; see :func:`.handover.hand_over`."""
        self._hands_over = True
        await hand_over(self._agents, seconds)

    def stop_calls(self) -> None:
        """Sessions that call may open no more streams; those that they have go on."""
        for agent in self._agents:
            if agent.calls:
                agent.session.go_away()

    def withdraw(self, agent: Agent) -> None:
        """See :class:`.reception.Registrar`."""
        self._destinations.leave(agent)

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
                self.withdraw(agent)
                if agent.control is not None:
                    agent.control.reset()
                agent.session.go_away(debug=refusal.encode())

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

        self._stopping = True
        async with anyio.create_task_group() as tasks:
            for agent in self._agents:
                tasks.start_soon(end, agent)
