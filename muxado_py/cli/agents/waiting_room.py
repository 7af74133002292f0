"""Waiting room: the sessions that must register before they are anything here, and have not yet.

What it is.  Who may not serve what has no name, or finds no room for that, is a stranger until it has registered.
:mod:`.agents` has each of them wait here while it is heard; :mod:`.registrar` lets it in.

The rule.  Strangers hold nothing here: each has :data:`ADMISSION_TIMEOUT` to register, and there are :data:`MAX_WAITING` of
them at most.

The trap.  Who was let in is heard on, in the same block, for as long as its session lasts: so the deadline is taken off the
block, which is not left.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .agent import Agent

__all__ = ("ADMISSION_TIMEOUT", "WaitingRoom")

ADMISSION_TIMEOUT = 4.0
"""Seconds in which an agent that must register must have done so: one line of it may take a half.  Ours does it at once, and
waits a second for the answer; whoever has started one without a token does not look at its log for long."""

MAX_WAITING = 256
"""Agents that must register and have not yet; when one more comes, the oldest goes.  For the reason of
``Config.max_mute_connections``: this is what comes after the first byte."""


class WaitingRoom:
    """Those that wait to be let in."""

    def __init__(self) -> None:
        self._waiting: dict[Agent, anyio.CancelScope] = {}  # the oldest first

    @contextmanager
    def waiting(self, agent: Agent) -> Iterator[anyio.CancelScope]:
        """While ``agent`` is heard: the block is cut short if it is not let in in time, or others come that push it out.

        :returns: the scope of the block, which says whether it was.
        """
        with anyio.move_on_after(ADMISSION_TIMEOUT) as admission:
            self._waiting[agent] = admission
            if len(self._waiting) > MAX_WAITING:
                self._waiting.pop(next(iter(self._waiting))).cancel()
            try:
                yield admission
            finally:
                self._waiting.pop(agent, None)

    def let_in(self, agent: Agent) -> None:
        """``agent`` waits no more, if it did, and has all the time that it wants."""
        admission = self._waiting.pop(agent, None)
        if admission is not None:
            admission.deadline = math.inf
