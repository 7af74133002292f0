"""Registering: how an agent tells its gateway what it serves, before it serves anything.

What it is.  The agent's side of :mod:`.registration`.  It opens a stream, says its line and waits for the answer; only
then its session is given to the server.  So nobody is served under a name that the gateway has not taken, and who comes
before that waits.

The rules.  A gateway that works answers at once.  One that has not within :data:`ANSWER_TIMEOUT` is one that hangs, or
no gateway that knows names; the log says so, and another session is tried after a while.  When this side stops, it ends
the stream first, and gets no more callers.

The trap.  The stream is the application's to the session: a drain waits for its end.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from ..errors import escaped
from .registration import Lines, RegistrationError
from .running import reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .registration import Registration

__all__ = ("attach_registered",)

logger = logging.getLogger("muxado.cli")

ANSWER_TIMEOUT = 1.0
"""Seconds in which the gateway must have answered."""

ENDED = (muxado.StreamError, anyio.EndOfStream, anyio.ClosedResourceError)
"""How the stream ends that the gateway does not take, or no more."""


async def attach_registered(
    session: muxado.Session,
    registration: Registration,
    attach: Callable[[muxado.Session], Awaitable[None]],
    stop: anyio.Event,
) -> None:
    """Register, then give ``session`` to ``attach`` until it is over.

    :param stop: once set, the names are given back.
    :raises RegistrationError: if the gateway did not take the registration.
    :raises Exception: what ``attach`` raises.

    Cancellation: that of ``attach``.
    """
    stream = await session.open_stream()
    try:
        await _register(stream, registration)
        failure = await _serve(session, stream, attach, stop)
    finally:
        stream.reset()
    if failure is not None:
        raise failure


async def _register(stream: muxado.Stream, registration: Registration) -> None:
    try:
        with anyio.fail_after(ANSWER_TIMEOUT):
            await stream.send(registration.line())
            said = await Lines(stream).next()
    except TimeoutError:
        raise RegistrationError(
            f"it did not answer the registration within {ANSWER_TIMEOUT:g} s: it hangs, or is no gateway that knows names"
        ) from None
    except ENDED as exc:
        raise RegistrationError(
            f"it is no gateway that knows names: it ended the registration ({reason(exc)})"
        ) from exc
    except ValueError as exc:
        raise RegistrationError(f"it is no gateway that knows names: {exc}") from exc
    if "registered" not in said:
        raise RegistrationError(f"it refused: {escaped(str(said.get('refused', said)))}")
    if registration.names:
        logger.info("serving as %s", ", ".join(registration.names))


async def _serve(
    session: muxado.Session,
    stream: muxado.Stream,
    attach: Callable[[muxado.Session], Awaitable[None]],
    stop: anyio.Event,
) -> Exception | None:
    """What ended it, as a value: a task group would wrap it."""

    async def leave() -> None:
        await stop.wait()
        stream.reset()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave)
        try:
            await attach(session)
        except Exception as exc:  # noqa: BLE001 - raised where it was asked for
            return exc
        finally:
            tasks.cancel_scope.cancel()
    return None
