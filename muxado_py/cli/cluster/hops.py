"""Hops: callers that come from another gateway, and are led to an agent here.

What it is.  A gateway opens a session, says in its first line that it hops, and with each stream which name it wants.  Here
it is copied to an agent, byte for byte; what the caller is told when that fails is for the gateway that it came to.

The rules.  Who hops here goes no further: only agents of this gateway's are asked, and told what the other gateway said of
the caller.  As long as nothing was answered,
and each agent that was asked said that its application never saw the caller, the stream ends with :data:`REFUSED` if an agent is
here still, and is refused if none is: then the other gateway asks the next, by its own rules (:mod:`..callers.offers`) and from its own
budget, and knows whether to wait for agents that come.  Any other end says nothing of that.

The trap.  What a caller said is kept here too until it is answered, or an agent that refuses would end it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from anyio import EndOfStream, WouldBlock

import muxado_py as muxado

from ...session.bridge import abort, close
from ..agents.introductions import NAME
from ..callers.caller import Caller
from ..callers.heads import Head
from ..callers.offers import Offers
from ..callers.visits import copy_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...service.retry_budget import RetryBudget
    from ..agents.destinations import Destination
    from ..callers.kept import Kept

__all__ = ("REFUSED", "serve_hop", "wanted_name")

logger = logging.getLogger("muxado.cli")

REFUSED = 0x101
"""The code of a reset between gateways: no application has seen anything of the stream, whose agents do not take it."""


def wanted_name(stream: muxado.Stream) -> str:
    """Which name a stream wants; none: it did not say."""
    return stream.metadata.get(NAME, b"").decode("ascii", "replace")


async def serve_hop(
    stream: muxado.Stream,
    find: Callable[[str], Destination | None],
    kept: Kept,
    budget: RetryBudget,
) -> None:
    """Lead one caller to an agent here.

    :param find: who serves a name here, if anybody does.
    :param kept: where it is counted, with others, while what it said is kept.
    :param budget: from which it is offered to another agent.

    Cancellation: what it was given is cut off.
    """
    caller = None
    try:
        destination = find(wanted_name(stream))
        if destination is not None:
            caller = Caller(stream, destination, _ignore, kept)
            caller.head = Head.OTHER
            if await _lead(caller, destination, budget):
                return
        if destination is not None and _has_agents(destination):
            stream.reset(REFUSED)
        else:
            _refuse(stream)
    except Exception:
        # Whatever it is, it is this caller's trouble and must not end the session of all others.
        logger.exception("serving a caller of another gateway failed")
        await abort(stream)
    finally:
        if caller is not None:
            caller.forget()


async def _lead(caller: Caller, destination: Destination, budget: RetryBudget) -> bool:
    """Copy between it and an agent, and the next if that has not taken it; whether one has."""
    stream = caller.connection
    offers = Offers(budget)
    assert isinstance(stream, muxado.Stream)
    with suppress(WouldBlock, EndOfStream, muxado.MuxadoError):
        caller.heard(stream.receive_nowait())
    while True:
        try:
            passage = offers.dial(destination, stream.metadata)
        except ConnectionRefusedError:
            return False
        copying = await copy_to(caller, passage)
        failure = copying.failure
        if failure is None:
            passage.close()
            await close(stream)
            return True
        passage.reset()
        if copying.failed is not passage.stream:
            await abort(stream)  # the caller is gone
            return True
        if not caller.is_answered:
            destination.doubt(passage, failure)
        may_go_on = offers.may_go_on(passage, failure)
        if caller.is_answered or not passage.verdict(failure).safe:
            await abort(stream)
            return True
        if not (may_go_on and caller.is_kept):
            return False


def _has_agents(destination: Destination) -> bool:
    return any(not agent.session.going_away for agent in destination.agents)


def _refuse(stream: muxado.Stream) -> None:
    try:
        stream.refuse()
    except (ValueError, NotImplementedError):  # something of it was taken
        stream.reset(REFUSED)


def _ignore(caller: Caller) -> None:
    pass
