"""Visits: how one caller comes to an agent, and what it hears if it does not.

What it is.  The natural way of one caller: it is listened to for a moment, gets a stream, its bytes are copied,
and its connection is ended as the stream ended.

When a caller gets its stream.  With the whole head of its HTTP/1 request; at once if it speaks another
protocol; and after a quarter of a second if it says nothing, because in some protocols the server
speaks first.  If nobody speaks on that stream, it is no loss: an agent may end it, and a request that comes
later gets a new one.  Where the last answer was one of HTTP/1, silent callers get none: it would take room from
those that speak.

The rules.  A stream that ended before a byte was answered, and whose verdict is safe, is not the end of the
caller: the next agent gets what it said, as far as :mod:`.offers` allows.  No caller is cut without a line in the log that says why.

The traps.  An answer that has begun cannot be mended: it is cut off in a way that shows.  And while agents are sought at other
gateways (:meth:`.Beyond.seek`, seconds when they are moving) nobody reads what a caller says, so one that leaves meanwhile has
its place until they are found or not.  Without reading its end of file is not seen, and that would not be a leave-taking: who has only
half closed waits for the answer.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from anyio import EndOfStream, create_task_group, move_on_after

from ...runtime.checkpoints import socket_loop
from ...runtime.plain_sockets import PlainSocket
from ...service.causes import reason
from ...session.bridge import abort, close
from ...session.copying import Copying
from ...session.relay import Relay
from .answers import MAY_BE_EXECUTED, NOT_EXECUTED, answer
from .caller import UnansweredError
from .heads import Head
from .ledger import End
from .offers import Offers

if TYPE_CHECKING:
    import asyncio

    import muxado_py as muxado

    from ...service.retry_budget import RetryBudget
    from ..agents.agent import Passage
    from .caller import Caller

__all__ = ("PATIENCE", "QUIET", "Copied", "copy_between", "copy_to", "listen_to", "refuse", "visit")

logger = logging.getLogger("muxado.cli")

QUIET = 0.25
"""Seconds without a word after which a caller may be one that waits for the server's."""

PATIENCE = 2.0
"""Seconds in which a caller that gets no stream may show that it speaks HTTP, and hear why."""


class Copied(NamedTuple):
    """A copying that has ended."""

    passage: Passage
    copying: Copying | Relay


def copy_between(
    loop: asyncio.AbstractEventLoop | None, stream: muxado.Stream, caller: Caller
) -> Copying | Relay:
    """What copies between the two; ``caller`` was rewound.

    :param loop: the running one, if it calls back for sockets.
    """
    if loop is None or not isinstance(caller.connection, PlainSocket):
        return Copying(stream, caller, ends_with_a=caller.head.is_http)
    return Relay(
        loop,
        caller.connection,
        stream,
        tap=None if caller.is_answered else caller,
        first=caller.take_again(),
        has_ended=caller.has_ended,
        ends_with=stream if caller.head.is_http else None,
    )


async def visit(caller: Caller, budget: RetryBudget, copied: Copied | None = None) -> None:
    """Lead ``caller`` to an agent that serves what it wants, and end its connection afterwards.

    :param budget: from which it is offered to another agent.
    :param copied: how that went so far, if it began without this task.

    Cancellation: what it was given is cut off; its connection is left to whoever cancelled.
    """
    destination, offers = caller.destination, Offers(budget)
    try:
        if copied is not None:
            await _deliver(caller, offers, None, b"", copied)
            return
        await listen_to(caller, math.inf if destination.speak_http else QUIET)
        passage, greeting = None, b""
        if caller.head is Head.NOTHING and caller.has_ended and destination.speak_http:
            caller.entry.ended(End.GONE)
            await close(caller.connection)  # it was opened ahead, and is not needed
            return
        if caller.head is Head.NOTHING and not caller.has_ended:
            passage, greeting = await _wait_beside(caller, offers)
        await _deliver(caller, offers, passage, greeting)
    except ConnectionRefusedError as exc:
        await refuse(caller, str(exc))


async def listen_to(caller: Caller, seconds: float) -> None:
    """Hear ``caller`` until the kind of its head is known; if that is a request's, until it is whole.

    :param seconds: how long it may be silent about its kind.
    """
    with suppress(EndOfStream):
        with move_on_after(seconds):
            while caller.head in (Head.NOTHING, Head.UNCERTAIN):
                await caller.hear()
        while caller.head is Head.PART:
            await caller.hear()


async def refuse(caller: Caller, text: str) -> None:
    """No stream is to be had: say so to whom understands it."""
    with move_on_after(PATIENCE), suppress(EndOfStream):
        while caller.head in (Head.NOTHING, Head.UNCERTAIN):
            await caller.hear()
    if caller.head.is_http:
        caller.entry.ended(End.REFUSED, 503)
        await answer(caller.connection, bytes(caller.said), 503, text)
    else:
        caller.entry.ended(End.REFUSED)
        await close(caller.connection)


async def _wait_beside(caller: Caller, offers: Offers) -> tuple[Passage | None, bytes]:
    """Wait until ``caller`` or an agent speaks.

    :returns: the passage to go on with, if it is that of the silence, and what the agent said.

    :raises ConnectionRefusedError: if no agent takes a stream.
    """
    passage = await caller.reach(offers)
    greeting, ended = b"", False

    async def hear_agent() -> None:
        nonlocal greeting, ended
        try:
            greeting = await passage.stream.receive()
        except EndOfStream:  # it has nothing to say, and the caller is to know
            pass
        except Exception as exc:  # noqa: BLE001 - of whatever type
            logger.debug("a stream on which nothing was said has ended: %r", exc)
            ended = True
            return
        tasks.cancel_scope.cancel()

    try:
        async with create_task_group() as tasks:
            tasks.start_soon(hear_agent)
            with suppress(EndOfStream):
                await caller.hear()
            tasks.cancel_scope.cancel()
    except BaseException:
        passage.reset()
        raise
    if greeting or not (ended or caller.head not in (Head.NOTHING, Head.OTHER)):
        return passage, greeting
    passage.reset()  # a request goes with a stream of its own, in one frame
    await listen_to(caller, QUIET)
    return None, b""


async def _deliver(
    caller: Caller,
    offers: Offers,
    passage: Passage | None,
    greeting: bytes,
    copied: Copied | None = None,
) -> None:
    """Copy between ``caller`` and an agent, and another if that has not taken it.

    :raises ConnectionRefusedError: if no agent takes one.
    """
    while True:
        if copied is not None:
            passage, copying = copied
            copied = None
        else:
            if passage is None:
                passage = await caller.reach(offers)
            caller.entry.led(passage)
            copying = await copy_to(caller, passage, greeting)
        if copying.failed is not passage.stream or not _may_try_again(
            caller, offers, passage, copying
        ):
            await _end(caller, passage, copying)
            return
        caller.hold()
        logger.info("an agent took no request, asking another: %r", copying.failure)
        caller.destination.doubt(passage, copying.failure)
        passage.reset()
        passage = None


async def copy_to(caller: Caller, passage: Passage, greeting: bytes = b"") -> Copying | Relay:
    """Copy between ``caller`` and an agent, until that is over.

    :param greeting: what the agent said already.

    Cancellation: the stream is cut off.
    """
    stream = passage.stream
    try:
        # With the SYN, if it can be: an agent that ends knows then what it was asked.
        caller.rewind(stream.send_nowait(bytes(caller.said)))
        if greeting:
            await caller.send(greeting)
        copying = copy_between(socket_loop(), stream, caller)
        await copying.run()
    except BaseException:
        passage.reset()
        raise
    return copying


def _may_try_again(
    caller: Caller, offers: Offers, passage: Passage, copying: Copying | Relay
) -> bool:
    may_go_on = offers.may_go_on(passage, copying.failure)
    return may_go_on and caller.is_kept and not caller.is_answered


async def _end(caller: Caller, passage: Passage, copying: Copying | Relay) -> None:
    """End the connection of ``caller`` as the copying ended."""
    connection, exc = caller.connection, copying.failure
    if exc is None:
        passage.close()
        caller.entry.ended(End.ANSWERED)
        await close(connection)
        return
    passage.reset()
    if copying.failed is not passage.stream and not isinstance(exc, UnansweredError):
        logger.debug("a caller is gone: %r", exc)
        caller.entry.ended(End.GONE)
        await abort(connection)
        return
    if not caller.is_answered:
        caller.destination.doubt(passage, exc)
    if caller.head.is_http and not caller.is_answered:
        status, text = (503, NOT_EXECUTED) if passage.verdict(exc).safe else (502, MAY_BE_EXECUTED)
        logger.warning("a caller got %d: %s", status, reason(exc))
        caller.entry.ended(End.REFUSED if status == 503 else End.CUT_OFF, status)
        await answer(connection, bytes(caller.said), status, text)
    else:
        logger.warning("a caller was cut off: %s", reason(exc))
        await abort(connection)
