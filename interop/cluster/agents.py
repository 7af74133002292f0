"""All agents of a run, in one process: ``python -m interop.cluster.agents JOURNAL URLS AGENTS NAMES``.

What it is.  Each agent has a session of its own, at first to a gateway of its own, and one name, which it shares with others.
It is what ``muxado serve --connect URL --connect URL`` does, without a process for each: the same code registers, connects
again and moves.

The rule.  The id of a request is its path.  It is written down before the answer.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio

import muxado_py as muxado
from muxado_py.cli.registering import Registrant
from muxado_py.cli.registration import Registration
from muxado_py.cli.running import reason

from .journal import Journal

__all__ = ("main",)

FIRST_WAIT = 0.05
MAX_WAIT = 1.0
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
    at, wait = number % len(urls), FIRST_WAIT
    await anyio.sleep(number * APART)
    while True:
        registrant = Registrant(Registration((name,)), anyio.Event())
        began = anyio.current_time()
        try:
            async with muxado.connect(urls[at], config=CONFIG) as session:
                await registrant.attach(session, partial(attached, journal))
        except (OSError, muxado.MuxadoError, anyio.BrokenResourceError, anyio.EndOfStream) as exc:
            if number < 3:
                print(f"agent {number}: {reason(exc)}", file=sys.stderr, flush=True)
        if anyio.current_time() - began > 2:
            wait = FIRST_WAIT
        await anyio.sleep(wait)
        wait = min(MAX_WAIT, 2 * wait)
        at = (at + 1) % len(urls)


async def attached(journal: Journal, session: muxado.Session) -> None:
    """Serve its streams until it is over."""
    await session.net_listener().serve(partial(serve, journal))
    await session.wait()


async def main(*arguments: str) -> None:
    """Have so many agents of so many names."""
    path, urls, agents, names = arguments
    journal = Journal(Path(path))
    async with anyio.create_task_group() as tasks:
        for number in range(int(agents)):
            tasks.start_soon(agent, number, urls.split(","), f"name-{number % int(names)}", journal)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:], backend_options={"use_uvloop": True})
