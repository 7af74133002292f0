"""Newcomers: callers that are served by callbacks alone, for as long as all goes as usual.

What it is.  The usual caller sends its whole request at once, an agent takes it, and both ends come in order.  On
asyncio and uvloop that takes no task: the loop says that the caller can be read, its head is judged, a stream is
opened, and a :class:`~muxado_py.session.relay.Relay` does the rest.  A caller that has its answer and says nothing more
costs a few small objects.

The rule.  There is one place for the rules of a visit, :mod:`.visits`.  Whatever is not usual (a head in pieces,
silence, no agent, a stream that ended without an answer) is handed over to a task that goes on there; the socket
is a plain one, so nothing is lost on the way.

The trap.  Nothing is cancelled here: who stops the gateway asks for :meth:`Newcomer.abort`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from ...session.relay import Relay
from .caller import HEARD_AT_ONCE, UnansweredError
from .ledger import End
from .visits import QUIET, Copied, copy_between

if TYPE_CHECKING:
    import asyncio

    from ...runtime.plain_sockets import PlainSocket
    from ...service.retry_budget import RetryBudget
    from ..agents.agent import Passage
    from .caller import Caller

__all__ = ("Host", "Newcomer")

logger = logging.getLogger("muxado.cli")


class Host(Protocol):
    """Whom newcomers are guests of."""

    budget: RetryBudget
    """Where each counts as a call once an agent has it."""

    def hand_over(self, newcomer: Newcomer, copied: Copied | None) -> None:
        """Go on with it in a task.

        :param copied: how the copying ended, if it had begun.
        """

    def left(self, caller: Caller) -> None:
        """It is served no longer, and its connection is closed."""


class Newcomer:
    """One caller that has no task; see :class:`.callers.Callers`."""

    __slots__ = (
        "_connection",
        "_host",
        "_loop",
        "_passage",
        "_reading",
        "_relay",
        "_timer",
        "caller",
    )

    def __init__(
        self,
        host: Host,
        loop: asyncio.AbstractEventLoop,
        caller: Caller,
        connection: PlainSocket,
    ) -> None:
        self.caller = caller
        self._connection = connection
        self._host = host
        self._loop = loop
        self._reading = False
        self._timer: asyncio.TimerHandle | None = None
        self._passage: Passage | None = None
        self._relay: Relay | None = None

    def begin(self, patience: float) -> None:
        """Hear what it has said already, or wait.

        :param patience: seconds that it may be silent about what it wants.
        """
        self._hear()
        if self._reading:
            seconds = patience if self.caller.destination.speak_http else min(QUIET, patience)
            self._timer = self._loop.call_later(seconds, self.hand_over)

    def settle(self) -> None:
        """It has said enough; its time does not matter any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hand_over(self) -> None:
        """A task is to go on, if it is still waited for."""
        self._unwatch()
        self._host.hand_over(self, None)

    def abort(self) -> None:
        """Cut it off, and its stream."""
        self._unwatch()
        if self._relay is not None:
            self._relay.stop()
        if self._passage is not None:
            self._passage.reset()
        self._connection.abort()
        self._host.left(self.caller)

    def _watch(self) -> None:
        if not self._reading:
            self._loop.add_reader(self._connection.raw_socket, self._hear)
            self._reading = True

    def _unwatch(self) -> None:
        self.settle()
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._connection.raw_socket)

    def _hear(self) -> None:
        raw = self._connection.raw_socket
        try:
            data = raw.recv(HEARD_AT_ONCE)
        except (BlockingIOError, InterruptedError):
            data = None
        except OSError as exc:
            logger.debug("a caller is gone: %r", exc)
            self.caller.entry.ended(End.GONE)
            self.abort()
            return
        try:
            if data is None:
                self._watch()
                return
            self.caller.heard(data)
            if data and self.caller.head.is_settled:
                self._lead()
            else:
                self.hand_over()
        except Exception:
            logger.exception("serving a caller failed")
            self.abort()

    def _lead(self) -> None:
        """Give it a stream, with the SYN what it said: an agent that ends knows then what it was asked."""
        self._unwatch()
        caller = self.caller
        try:
            self._passage = passage = caller.dial()
            caller.rewind(passage.stream.send_nowait(bytes(caller.said)))
        except Exception as exc:  # noqa: BLE001 - a task finds out in its turn, and says so
            logger.debug("no stream for a caller yet: %r", exc)
            if self._passage is not None:
                self._passage.reset()
                self._passage = None
            self._host.hand_over(self, None)
            return
        self._host.budget.count_call()
        caller.entry.led(passage)
        relay = copy_between(self._loop, passage.stream, caller)
        assert isinstance(relay, Relay)
        self._relay = relay
        relay.start(self._relayed)

    def _relayed(self) -> None:
        relay, passage = self._relay, self._passage
        assert relay is not None
        assert passage is not None
        self._relay = self._passage = None
        if relay.failed is None:
            passage.close()
            self.caller.entry.ended(End.ANSWERED)
            self._connection.close()
            self._host.left(self.caller)
        elif relay.failed is passage.stream or isinstance(relay.failure, UnansweredError):
            self._host.hand_over(self, Copied(passage, relay))
        else:
            logger.debug("a caller is gone: %r", relay.failure)
            passage.reset()
            self.caller.entry.ended(End.GONE)
            self._connection.abort()
            self._host.left(self.caller)
