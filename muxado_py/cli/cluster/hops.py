"""Hops: callers that come from another gateway, and are led to an agent here.

What it is.  A gateway opens a session, says in its first line that it hops, and with each stream which name it wants.  Here
it is copied to an agent, byte for byte; what the caller is told when that fails is for the gateway that it came to.

The rules.  Who hops here goes no further: only agents of this gateway's are asked, and told what the other gateway said of
the caller.  As long as nothing was answered,
and each agent that was asked said that its application never saw the caller, the stream ends with :data:`REFUSED`, or was
never taken: then the other gateway asks the next.  Any other end says nothing of that.

The trap.  What a caller said is kept here too until it is answered, or an agent that refuses would end it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from anyio import EndOfStream, WouldBlock

import muxado_py as muxado

from ...session.bridge import abort, close
from ..caller import Caller
from ..heads import Head
from ..introductions import NAME
from ..visits import copy_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..agent import Agent
    from ..destinations import Destination
    from ..kept import Kept

__all__ = ("REFUSED", "serve_hop", "wanted_name")

logger = logging.getLogger("muxado.cli")

REFUSED = 0x101
"""The code of a reset between gateways: no application has seen anything of the stream."""


def wanted_name(stream: muxado.Stream) -> str:
    """Which name a stream wants; none: it did not say."""
    return stream.metadata.get(NAME, b"").decode("ascii", "replace")


async def serve_hop(
    stream: muxado.Stream, find: Callable[[str], Destination | None], kept: Kept
) -> None:
    """Lead one caller to an agent here.

    :param find: who serves a name here, if anybody does.
    :param kept: where it is counted, with others, while what it said is kept.

    Cancellation: what it was given is cut off.
    """
    caller = None
    try:
        destination = find(wanted_name(stream))
        if destination is not None:
            caller = Caller(stream, destination, _ignore, kept)
            caller.head = Head.OTHER
            if await _lead(caller, destination):
                return
        _refuse(stream)
    except Exception:
        # Whatever it is, it is this caller's trouble and must not end the session of all others.
        logger.exception("serving a caller of another gateway failed")
        await abort(stream)
    finally:
        if caller is not None:
            caller.forget()


async def _lead(caller: Caller, destination: Destination) -> bool:
    """Copy between it and an agent, and the next if that has not taken it; whether one has."""
    stream = caller.connection
    tried: list[Agent] = []
    assert isinstance(stream, muxado.Stream)
    with suppress(WouldBlock, EndOfStream, muxado.MuxadoError):
        caller.heard(stream.receive_nowait())
    while True:
        try:
            passage = destination.dial(tried, stream.metadata, here=True)
        except ConnectionRefusedError:
            return False
        tried.append(passage.agent)
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
            destination.doubt(passage.agent)
        if caller.is_answered or not passage.verdict(failure).safe:
            await abort(stream)
            return True
        if not caller.is_kept:
            return False


def _refuse(stream: muxado.Stream) -> None:
    try:
        stream.refuse()
    except (ValueError, NotImplementedError):  # something of it was taken
        stream.reset(REFUSED)


def _ignore(caller: Caller) -> None:
    pass
