"""Agent: one session that callers may be led to, and the callers that it has.

What it is.  What the gateway knows of an agent.  A *passage* is one caller's stream to it.

*Moving* is what it says to it that it is to go to another gateway (:mod:`.handover`).

The rule.  Who ends the stream of a caller does it by its passage, so that the agent is known to have one less.

The trap.  What can be asked of a session can fail once it is over; who it is, is asked at its beginning.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import anyio

import muxado_py as muxado

from ...errors import escaped
from ...session.peers import peer_name
from ..trust.certified import certified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..trust.holding import Holding
    from ..trust.permits import Permit
    from .registration import Hop, Registration

__all__ = ("Agent", "Moving", "Passage")

MAX_SHOWN = 200
"""Characters of why an agent stays that go into a line of the log."""


class Agent:
    """One connected agent."""

    def __init__(self, session: muxado.Session) -> None:
        self.session = session
        self.address = peer_name(session)
        """Where its session comes from."""
        self.certificate = certified(session)
        """What its certificate says, if it was asked for one."""
        self.permit: Permit | None = self.certificate.permit if self.certificate else None
        """What the certificate or the token is for that it shows."""
        self.holding: Holding | None = None
        """What its holder has here, once it is known who that is; see :mod:`.holdings`."""
        self.since = time.time()
        """When it came, in seconds since 1970."""
        self.announced = False
        """Whether its first frame has come."""
        self.control: muxado.Stream | None = None
        """The stream on which it registers, while there is one."""
        self.passages: set[Passage] = set()
        """The callers that it has."""
        self.is_suspect = False
        """Whether it has not answered for a while; see :mod:`.suspicion`."""
        self.doubted_until = -math.inf
        """The time until which others go first, because it took no caller."""
        self.distance = 0
        """Whether it is another gateway, through which callers come to an agent; who is nearer goes first."""
        self._dialed = anyio.Event()
        self.registration: Registration | None = None
        """What it registered, if it was let in."""
        self.let_in = anyio.Event()
        """Set when it may serve, or call, and :attr:`holding` says how long."""
        self.hop: Hop | None = None
        """What it said, if it is none, but another gateway, whose streams are callers."""
        self.calls = False
        """Whether it is none, but a session whose streams are callers."""
        self.sent_away = False
        """Whether it had to register and did not."""
        self.moving: Moving | None = None
        """What it says to that it is to move, if it was told."""

    @property
    def is_gateway(self) -> bool:
        """Whether it is another gateway."""
        return self.hop is not None

    @property
    def holder(self) -> str | None:
        """Whose certificate or token it shows, by name."""
        return self.permit.name or None if self.permit is not None else None

    @property
    def peer(self) -> str:
        """Who it is, for the log."""
        return self.address if self.holder is None else f"{self.holder}@{self.address}"

    def open(self, metadata: Mapping[str, bytes]) -> Passage:
        """A passage for one more caller.

        :param metadata: what it is told of the caller, if it understands that.
        :raises OSError: if it takes none, or its holder has as many as it may have.
        """
        if self.holding is not None and not self.holding.takes_caller(self.permit):
            raise ConnectionRefusedError(f"{self.holder} has as many callers as it may have")
        told = metadata if self.session.is_muxado_py else None
        passage = Passage(self, self.session.open_stream_nowait(metadata=told))
        self.was_dialed()
        return passage

    def was_dialed(self) -> None:
        """There was a passage."""
        self._dialed.set()

    async def dialed(self) -> None:
        """Wait until there was a passage since the last time.

        Cancellation: safe.
        """
        await self._dialed.wait()
        self._dialed = anyio.Event()

    def take_back(self) -> None:
        """End the passages of which nothing has left this side; who has one learns that it is safe to try elsewhere."""
        for passage in list(self.passages):
            if passage.stream.id is None:
                passage.take_back()

    def take_back_early(self) -> None:
        """End those that it was given before it registered: they wanted another application.

        It accepts none before it has the answer, so these callers may go elsewhere; but where a reset cannot be said it
        will find them, ended, and perhaps with a whole request.
        """
        for passage in list(self.passages):
            if passage.stream.can_half_close:  # not so on smux, which has no reset
                passage.take_back()
            else:
                passage.reset()


class Passage:
    """One caller's stream to an agent."""

    __slots__ = ("_holding", "agent", "is_taken_back", "stream")

    def __init__(self, agent: Agent, stream: muxado.Stream) -> None:
        self.agent = agent
        self.stream = stream
        self.is_taken_back = False
        """Whether it was ended here, and the agent has certainly not looked at it."""
        agent.passages.add(self)
        self._holding = agent.holding
        if self._holding is not None:
            self._holding.callers += 1

    def verdict(self, exc: BaseException | None) -> muxado.Retry:
        """Whether its caller may be led to another agent, by what ended the stream."""
        if self.is_taken_back:
            return muxado.Retry.NEVER_SENT
        return exc.retry if isinstance(exc, muxado.MuxadoError) else muxado.Retry.UNKNOWN

    def found_nobody(self, exc: BaseException | None) -> bool:
        """Whether what ended the stream says that no agent was there, at another gateway."""
        return False

    def close(self) -> None:
        """End it in order."""
        self.stream.close()
        self._is_over()

    def reset(self) -> None:
        """Cut it off."""
        self.stream.reset()
        self._is_over()

    def _is_over(self) -> None:
        if self not in self.agent.passages:
            return
        self.agent.passages.discard(self)
        if self._holding is not None:
            self._holding.callers -= 1

    def take_back(self) -> None:
        """The same, where the agent has not looked at it."""
        self.is_taken_back = True
        self.reset()


class Moving:
    """What one agent makes of it that it is to move."""

    def __init__(self) -> None:
        self.has_moved = False
        """Whether it is registered elsewhere."""
        self._decided = anyio.Event()
        self._gone = anyio.Event()

    def take(self, said: dict[str, Any]) -> str | None:
        """What it says to it, in words for the log; None if that is no answer, or not the first."""
        if self._decided.is_set():
            return None
        if said.get("moved") is True:
            self.has_moved = True
            answer = "has moved"
        elif isinstance(why := said.get("stays"), str):
            answer = f"stays: {escaped(why)[:MAX_SHOWN]}"
        else:
            return None
        self._decided.set()
        return answer

    def leave(self) -> None:
        """It says nothing any more, and serves nothing."""
        self._decided.set()
        self._gone.set()

    async def decided(self) -> None:
        """Wait until it has answered, or will not.

        Cancellation: safe.
        """
        await self._decided.wait()

    async def gone(self) -> None:
        """Wait until it serves nothing here any more.

        Cancellation: safe.
        """
        await self._gone.wait()
