"""All agents of a run, in one process: ``python -m interop.cluster.agents JOURNAL URLS AGENTS NAMES``.

What it is.  Each agent has a session of its own, to one of the gateways, and one name, which it shares with others.
It is what ``muxado serve --connect URL --connect URL`` does, without a process for each: the same code registers, connects
again and moves.

The rule.  The id of a request is its path.  It is written down before the answer.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado
from muxado_py.cli.backoff import Backoff
from muxado_py.cli.dialing import keep_connected
from muxado_py.cli.registering import Registrant
from muxado_py.cli.registration import Registration

from .journal import Journal

if TYPE_CHECKING:
    from muxado_py.cli.attempt import Attempt

__all__ = ("main",)

MAX_WAIT = 1.0
"""Seconds between two rounds of dialing, at most; the command's own would outlast a run."""

APART = 0.01
"""Seconds between two agents at the beginning."""

CONFIG = muxado.Config(heartbeat_interval=1.0, heartbeat_timeout=2.0, connect_timeout=5.0)


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


async def agent(number: int, urls: list[str], name: str, journal: Journal) -> None:
    """One agent, for ever."""
    stop = anyio.Event()
    registrant = Registrant(Registration((name,)), stop)

    async def attach(session: muxado.Session, attempt: Attempt) -> None:
        await registrant.attach(session, attempt, partial(attached, journal))

    await anyio.sleep(number * APART)
    await keep_connected(
        urls,
        attach,
        stop=stop,
        config=CONFIG,
        ssl_context=None,
        backoff=Backoff(most=MAX_WAIT),
        max_retries=None,
    )


async def attached(journal: Journal, session: muxado.Session) -> None:
    """Serve its streams until it is over."""
    await session.net_listener().serve(partial(serve, journal))
    await session.wait()


async def main(*arguments: str) -> None:
    """Have so many agents of so many names."""
    logging.getLogger("muxado").setLevel(logging.ERROR)
    path, urls, agents, names = arguments
    journal = Journal(Path(path))
    async with anyio.create_task_group() as tasks:
        for number in range(int(agents)):
            tasks.start_soon(agent, number, urls.split(","), f"name-{number % int(names)}", journal)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:], backend_options={"use_uvloop": True})
