"""Registrar: what the session of an agent, of one who calls, or of another gateway may be here, and what it is from then on.

What it is.  Who is behind a session says so on its first stream, and :mod:`.reception` asks here.  A yes changes what the session
serves (:mod:`.destinations`), whose it is (:mod:`.holdings`), and that it waits no more (:mod:`.waiting_room`); a no is an
exception, whose text is for the peer.  Which token or certificate is good for what, :mod:`.guard` says, if the gateway has one.

The rules.  A question and what a yes changes are one step, and nothing is awaited in it: or two agents would have the same name
alone.  What a session serves is changed only when nothing can be refused any more.  A name that an agent serves alone goes
to another only if that wants it alone, too; and whoever loses it is told.  If that cannot hear it, because its connection is dead, it is
told when it comes back: it says when it knew last that it has the name, and who has come since then is newer.

The traps.  An agent that registers names leaves the doors without a name, and callers that it was given there are taken back:
they wanted another application.  And whose a session is may change with its token, so it is entered into the holdings again.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import muxado_py as muxado

from ...errors import escaped
from ..trust.permits import Permit
from .holdings import Holdings
from .registration import NamesTaken, Registration, line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from ..trust.permits import Bounds
    from .agent import Agent
    from .beyond import Beyond
    from .destinations import Destination, Destinations
    from .registration import Call, Hop
    from .waiting_room import WaitingRoom

    ServeHop = Callable[[muxado.Stream, Callable[[str], Destination | None]], Awaitable[None]]

__all__ = ("Registrar", "refuse")

logger = logging.getLogger("muxado.cli")


class Registrar:
    """Who decides; the parameters that are not here are those of :class:`.Agents`.

    :param destinations: who serves what.
    :param waiting_room: who must register and has not yet.
    """

    def __init__(
        self,
        destinations: Destinations,
        waiting_room: WaitingRoom,
        *,
        may_register: Callable[[Agent, Registration], str | None],
        may_hop: Callable[[Agent], str | None],
        forwarded: Collection[str],
        serve_caller: Callable[[Destination, muxado.Stream], Awaitable[None]],
        serve_hop: ServeHop,
        beyond: Beyond,
        bounds: Bounds,
    ) -> None:
        self._destinations = destinations
        self._waiting_room = waiting_room
        self._holdings = Holdings(bounds)
        self._may_register = may_register
        self._may_hop = may_hop
        self._forwarded = forwarded
        self._serve_caller = serve_caller
        self._serve_hop = serve_hop
        self._beyond = beyond
        beyond.when_taken(self._lose)
        self.hands_over = False
        """Whether nobody may register or call any more."""
        self.is_stopping = False
        """Whether other gateways may not, either."""

    def why_register(self, agent: Agent) -> str | None:
        """Why ``agent``, which has just come, must register; None if it need not, and serves what has no name now."""
        refusal = self._may_register(agent, Registration()) or self._has_no_room(agent)
        if refusal is None:
            self._destinations.join(agent, None)
        return refusal

    def _has_no_room(self, agent: Agent) -> str | None:
        """Why it may not serve what has no name, though it may; None if it has a place now."""
        try:
            self._holdings.enter(agent)
        except PermissionError as exc:
            return str(exc)
        agent.let_in.set()
        return None

    def register(self, agent: Agent, registration: Registration) -> None:
        """``agent`` serves what it wants to, and nothing else, from here on.

        :raises PermissionError: if it may not; the text is for the agent.
        """
        self._check(agent, registration)
        self._check_returning(agent, registration)
        owned = self._destinations.owned(agent, registration.names)
        if owned and not registration.exclusive:
            raise PermissionError(f"another agent serves {', '.join(owned)}, alone")
        self._let_in(agent, registration)
        for name in registration.names or (None,):
            self._destinations.join(agent, name)
        if registration.exclusive:
            self._take_over(agent, registration.names, registration.had or 0.0)

    def _check(self, agent: Agent, registration: Registration) -> None:
        """:raises PermissionError: if ``agent`` may not."""
        if self.hands_over:
            raise PermissionError("this gateway ends")
        refusal = self._may_register(agent, registration)
        if refusal is not None:
            raise PermissionError(refusal)

    def _check_returning(self, agent: Agent, registration: Registration) -> None:
        """Before it is asked whether there is room: who has lost its names is not to wait for that.

        :raises NamesTaken: if ``agent`` had names alone, and another has got them alone since.
        """
        if registration.had is None or not registration.exclusive:
            return
        newer = self._destinations.newer(agent, registration.names, registration.had)
        if newer:
            by = dict.fromkeys(other.peer for other in newer.values())
            raise NamesTaken(list(newer), ", ".join(by))

    def _let_in(self, agent: Agent, registration: Registration) -> None:
        """:raises PermissionError: if its holder has as many as it may have."""
        self._holdings.enter(agent)
        agent.registration = registration
        self._waiting_room.let_in(agent)
        self._destinations.leave(agent)
        agent.let_in.set()
        if registration.names:
            agent.take_back_early()  # they wanted what has no name

    def _take_over(self, agent: Agent, names: Sequence[str], age: float) -> None:
        """``agent`` serves ``names`` alone, and has for ``age`` seconds; those who did so before are told."""
        lost: dict[Agent, list[str]] = {}
        for name in names:
            for other in self._destinations.own(agent, name, age):
                lost.setdefault(other, []).append(name)
        for other, taken in lost.items():
            _tell_lost(other, taken, agent.peer)

    def _lose(self, name: str) -> None:
        """An agent of another gateway serves ``name`` alone."""
        for other in self._destinations.lose(name):
            _tell_lost(other, [name], "of another gateway")

    def call(self, agent: Agent, call: Call) -> Destination:
        """Where the streams are led that ``agent`` opens, which serves nothing.

        :raises PermissionError: if it may not call; the text is for the agent.
        """
        if call.name not in self._forwarded:
            raise PermissionError(
                f"this gateway forwards no calls to {call.name} (muxado gateway --allow-forward)"
            )
        registration = Registration((call.name,), token=call.token, moves=call.moves)
        self._check(agent, registration)
        self._let_in(agent, registration)
        agent.calls = True
        return self._destinations.publish(call.name)

    async def lead(self, agent: Agent, stream: muxado.Stream, destination: Destination) -> None:
        """Serve a caller that came by a stream of ``agent``, until it has left, or refuse it.

        Cancellation: as that of who serves it.
        """
        holding = agent.holding
        if holding is None or not holding.takes_caller(agent.permit):
            refuse(stream)
            return
        holding.callers += 1
        try:
            await self._serve_caller(destination, stream)
        finally:
            holding.callers -= 1

    def hop(self, agent: Agent, hop: Hop) -> None:
        """``agent`` is another gateway, whose streams are callers, for whatever name each says.

        :raises PermissionError: if it may not; the text is for it.
        """
        refusal = "this gateway ends" if self.is_stopping else self._beyond.may_hop(hop)
        refusal = refusal or self._may_hop(agent)
        if refusal is not None:
            raise PermissionError(refusal)
        self._holdings.leave(agent)
        agent.permit = Permit(f"gateway {escaped(hop.node)}", ())
        agent.hop = hop
        self._waiting_room.let_in(agent)
        self._destinations.leave(agent)

    async def lead_hop(self, stream: muxado.Stream) -> None:
        """Serve a caller that came by a stream of another gateway, until it has left.

        Cancellation: as that of who serves it.
        """
        await self._serve_hop(stream, self._destinations.served_here)

    def withdraw(self, agent: Agent) -> None:
        """``agent`` serves nothing from here on; callers that it has go on."""
        self._destinations.leave(agent)

    def leave(self, agent: Agent) -> None:
        """The session of ``agent`` is over."""
        self._holdings.leave(agent)
        self.withdraw(agent)


def refuse(stream: muxado.Stream) -> None:
    """Say of a stream that nobody has looked at it, as far as its wire has a word for that."""
    try:
        stream.refuse()
    except NotImplementedError:
        stream.reset()


def _tell_lost(agent: Agent, taken: Sequence[str], by: str) -> None:
    """Tell ``agent`` that it serves these names no more; ``by`` says which agent does."""
    logger.warning("agent %s loses %s to agent %s", agent.peer, ", ".join(taken), by)
    registration, control = agent.registration, agent.control
    if registration is None or control is None:
        return
    left = tuple(name for name in registration.names if name not in taken)
    agent.registration = registration._replace(names=left)
    with suppress(muxado.MuxadoError):  # it is gone already
        control.send_nowait(line(taken=taken, by=by))
