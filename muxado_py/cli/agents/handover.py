"""Handover: how a gateway gives its agents to another, before it lets nobody in any more, or one to itself, in a new session.

What it is.  Those that said they would move are told to.  Each goes on to serve here, registers elsewhere, and says so; or
says that it stays, because nobody else takes it.

The rules.  While one of them may move, or has, the doors stay open, and whoever comes is served: a balancer needs its time to
see that this gateway is not ready any more.  Where none moves there is nothing to wait for, and the end comes at once, as it
does for agents that know nothing of this.  What is asked for has its time, whatever the agents say.

The trap.  An agent that moved is still one of this gateway's, and callers may be led to it until the doors are closed.  If
it left before, those that come in between would find nobody.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from .agent import Moving
from .registration import line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .agent import Agent

__all__ = ("hand_over", "move_on")


async def hand_over(agents: Iterable[Agent], seconds: float) -> None:
    """Tell ``agents`` to move; returns when that is no reason any more to let callers in.

    :param seconds: what it may take, and takes as long as one is here that has moved.

    Cancellation: safe; they have been told.
    """
    told = [moving for agent in agents if (moving := _tell(agent)) is not None]
    with anyio.move_on_after(seconds):
        for moving in told:
            await moving.decided()
        for moving in told:
            if moving.has_moved:
                await moving.gone()


async def move_on(agent: Agent, seconds: float) -> None:
    """Tell ``agent`` to move, as :func:`hand_over`; returns when it has, or says that it will not, or has had its time.

    Cancellation: safe; it has been told.
    """
    moving = _tell(agent)
    if moving is not None:
        with anyio.move_on_after(seconds):
            await moving.decided()


def _tell(agent: Agent) -> Moving | None:
    """None: it does not know what that means."""
    registration, control = agent.registration, agent.control
    if registration is None or control is None or not registration.moves:
        return None
    moving = Moving()
    with suppress(muxado.MuxadoError):  # it is gone already
        control.send_nowait(line(move=True))
        agent.moving = moving
        return moving
    return None
