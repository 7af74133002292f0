"""Watchdog: an agent that has another gateway to go to does not stay with one that hangs.

What it is.  A process that is stopped, or whose machine is gone, keeps its sessions for 25 seconds, and an agent of its is
reached by nobody, though other gateways are there.  So its silence is looked at, as a gateway looks at its agents'
(:mod:`..agents.suspicion`), and another gateway is looked for, as if this one had asked to move.

The rules.  Nothing ends before another gateway has taken this side: who is only slow, on a machine that is only busy, keeps its
callers.  Then the names are taken back here, the callers that are here go on, and the session ends behind them; it ends by its
own time-out if nobody ever takes that.  Who answers before another one is found may stay, and is given twice the time from then on: where
all gateways are slow, agents that look for better ones make them slower.

The trap.  A program of another kind answers no pings, and is never left.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress

import anyio

import muxado_py as muxado

__all__ = ("watch",)

logger = logging.getLogger("muxado.cli")

SILENCE = 0.75
"""Seconds without a byte of the gateway after which it is asked."""

ANSWER = 1.25
"""Seconds that it has to answer at first.  Two silences and this are less than three seconds, after which other gateways have lost
one that hangs too, and look where its names are."""

MAX_ANSWER = 20.0
"""The same at last; the session's own time-out comes with it."""

PATIENCE = 60.0
"""Seconds of a ping to one that did not answer; the session ends before."""


async def watch(session: muxado.Session, dialed: muxado.Dialed, stream: muxado.Stream) -> None:
    """Leave the gateway when it does not answer; returns if it answers no pings, or when its session is over.

    :param dialed: what ``session`` came of, and what knows of other gateways.
    :param stream: on which this side is registered.

    Cancellation: safe.
    """
    seconds = ANSWER
    try:
        while True:
            if await _answers(session, seconds):
                continue
            logger.warning("%s does not answer; looking for another gateway", dialed.url)
            dialed.doubt()
            if await _answers_before(dialed.moved, session):
                logger.info("%s answers again", dialed.url)
                dialed.trust()
                seconds = min(2 * seconds, MAX_ANSWER)
            else:
                break
        stream.reset()
        await session.drain(math.inf)
    except muxado.MuxadoError as exc:
        logger.debug("%s is not watched: %s", dialed.url, exc)


async def _answers(session: muxado.Session, seconds: float) -> bool:
    """Whether a word comes of it, in time.

    :raises MuxadoError: if a ping would never be answered, or there is no session any more.
    """
    heard = session.statistics().bytes_received
    await anyio.sleep(SILENCE)
    if session.statistics().bytes_received != heard:
        return True
    try:
        await session.ping(seconds)
    except muxado.PeerTimeoutError:
        if session.closed:
            raise
        return session.statistics().bytes_received != heard
    return True


async def _answers_before(moved: anyio.Event, session: muxado.Session) -> bool:
    """Whether a word comes of it before this side has ``moved``."""
    is_answered = False

    async def ask() -> None:
        nonlocal is_answered
        with suppress(muxado.MuxadoError):  # whoever waits for the session says why
            await session.ping(PATIENCE)
            is_answered = not moved.is_set()
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await moved.wait()
        tasks.cancel_scope.cancel()
    return is_answered
