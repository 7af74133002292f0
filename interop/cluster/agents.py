"""Many agents in one process: ``python -m interop.cluster.agents JOURNAL URLS AGENTS NAMES``.

What it is.  Each agent has a session of its own, to one of the gateways, and one name, which it shares with others.
It is what ``muxado serve --connect URL --connect URL`` does, without a process for each: the same code registers, connects
again, moves, and ends at SIGTERM.

The rule.  The id of a request is its path.  It is written down before the answer.
"""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado
from muxado_py.cli.agents.registration import Registration
from muxado_py.cli.serving.dialing import Uplink
from muxado_py.cli.serving.registering import Registrant
from muxado_py.service.backoff import Backoff
from muxado_py.session.sessions_listener import SessionsListener

from .journal import Journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio import Event

__all__ = ("ALL_REGISTERED", "main")

ALL_REGISTERED = "all agents were taken"
"""What is said on standard error when each has been, once."""

MAX_WAIT = 1.0
"""Seconds between two rounds of dialing, at most; the command's own would outlast a run."""

APART = 0.01
"""Seconds between two agents at the beginning."""

GRACE = 10.0
"""Seconds that requests have to end, as for the command."""


async def serve(journal: Journal, stream: muxado.Stream) -> None:
    """Answer one request."""
    with suppress(anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            request_id = head.split(b" ", 2)[1].decode().lstrip("/")
            journal.write(request_id)
            body = f"{request_id}\n".encode()
            said = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            await stream.send(said + body)


async def agent(
    number: int, urls: list[str], name: str, journal: Journal, stop: Event, missing: set[int]
) -> None:
    """One agent, until ``stop`` is set, and then as long as it has requests: as ``muxado serve`` ends.

    :param missing: those that no gateway has taken yet.
    """
    listener = SessionsListener()
    registrant = Registrant(Registration((name,)), stop)

    @asynccontextmanager
    async def greet(session: muxado.Session, dialed: muxado.Dialed) -> AsyncIterator[None]:
        async with registrant.greet(session, dialed):
            if number in missing:
                missing.remove(number)
                if not missing:
                    print(ALL_REGISTERED, file=sys.stderr, flush=True)
            yield

    uplink = Uplink(
        urls,
        stop,
        config=muxado.Config(),
        ssl_context=None,
        proxy=None,
        greet=greet,
        listener=listener,
        backoff=partial(Backoff, most=MAX_WAIT),
        max_retries=None,
    )
    await anyio.sleep(number * APART)
    async with anyio.create_task_group() as sessions:
        async with anyio.create_task_group() as serving:
            serving.start_soon(listener.serve, partial(serve, journal))
            sessions.start_soon(uplink.keep)
            await stop.wait()
            sessions.start_soon(uplink.pool.drain, GRACE + muxado.Config().close_timeout)
            await listener.round_trip()
            await listener.aclose()
        await listener.delivered()
        sessions.cancel_scope.cancel()


async def main(*arguments: str) -> None:
    """Have so many agents of so many names, until SIGTERM comes."""
    logging.getLogger("muxado").setLevel(logging.ERROR)
    path, urls, agents, names = arguments
    journal, stop, missing = Journal(Path(path)), anyio.Event(), set(range(int(agents)))
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            for number in range(int(agents)):
                name = f"name-{number % int(names)}"
                tasks.start_soon(agent, number, urls.split(","), name, journal, stop, missing)
            async for _ in signals:
                stop.set()
                break


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:], backend_options={"use_uvloop": True})
