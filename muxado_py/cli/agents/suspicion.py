"""Suspicion: which agents have shown for a while that they do not answer.

What it is.  A process that is stopped, or whose machine sleeps, keeps its connection.  The session finds that out after
25 seconds, since a shorter time would end many that are only busy.  Until then it is a suspect: it gets callers when there
is nobody else, and is one again like the others with the first word that comes.

Where it comes from.  After a caller's stream was opened to an agent from which nothing is heard for a moment, a ping is
sent; what answers late to that too is suspected.

The rules.  A suspect loses nobody who may have been heard: such a caller waits for the session's verdict.  Whose stream
never left this side goes to another agent at once.

The traps.  A program of another kind answers no pings, and is never suspected.  And an agent that works at something for
long, in its event loop, is as silent as one that is stopped; so nothing ends here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

if TYPE_CHECKING:
    from .agent import Agent

__all__ = ("watch",)

logger = logging.getLogger("muxado.cli")

SILENCE = 0.25
"""Seconds without a byte of an agent that was given a caller, after which it is asked."""

ANSWER = 0.5
"""Seconds that it has to answer: more than a round trip of any network that one would use, and less than callers notice."""

PATIENCE = 60.0
"""Seconds of a ping to a suspect; the session ends before."""


async def watch(agent: Agent) -> None:
    """Suspect ``agent`` while it does not answer; returns if it answers no pings, or when its session is over.

    Cancellation: safe.
    """
    session = agent.session
    try:
        while True:
            await agent.dialed()
            heard = session.statistics().bytes_received
            await anyio.sleep(SILENCE)
            if session.statistics().bytes_received == heard and not await _answers(agent, ANSWER):
                await _suspect(agent)
    except muxado.MuxadoError as exc:
        logger.debug("agent %s is not watched: %s", agent.peer, exc)


async def _answers(agent: Agent, seconds: float) -> bool:
    """Whether a ping is answered in time.

    :raises MuxadoError: if it never would be.
    """
    try:
        await agent.session.ping(seconds)
    except muxado.PeerTimeoutError:
        if agent.session.closed:
            raise
        return False
    return True


async def _suspect(agent: Agent) -> None:
    """Until it answers."""
    logger.warning("agent %s does not answer; others go first", agent.peer)
    agent.is_suspect = True
    agent.take_back()
    while not await _answers(agent, PATIENCE):
        pass
    agent.is_suspect = False
    logger.info("agent %s answers again", agent.peer)
