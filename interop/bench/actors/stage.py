"""The stage: what each Python process of a pair does, whatever it is that it runs.

Where data comes from and goes to.  Every line on standard input is a command as a JSON object, every
line on standard output is what came of it, in order; the first says ``{"address": "127.0.0.1:4711"}``.
The process ends when its standard input does.  An actor's module calls :func:`play` with two things:
how it dials, and how it serves.

The commands.  To a client ``run`` (one workload in a fresh session), ``hold`` (open streams and keep
them) and ``close`` (end the session, once the server has finished too); to a server ``serve`` (what
to do with streams from now on) and ``errors`` (wait until none is being answered, and tell what went
wrong); to both ``settle`` (give back what memory can be given back).  ``interop/go/bench`` obeys the
same.

The trap.  A command is read in a worker thread, and the event loop is idle only while nobody answers.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import resource
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio import to_thread

from .client import Client
from .server import Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskStatus

    from .client import Action, Peer
    from .server import Answer

    Dial = Callable[[str], AbstractAsyncContextManager[Peer]]
    Verb = Callable[..., Awaitable[dict[str, Any]]]

    class Serve(Protocol):
        """Hands every stream of every session to ``answer``, in a task of its own."""

        async def __call__(self, answer: Answer, *, task_status: TaskStatus[str]) -> None: ...


__all__ = ("BACKENDS", "obey", "play", "say")

BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


def play(dial: Dial, serve: Serve, actions: Mapping[str, Action] | None = None) -> None:
    """Be the process that the command line asks for, until standard input ends.

    :param dial: ``dial("127.0.0.1:4711")`` is an async context manager of a :class:`.client.Peer`.
    :param serve: told in :class:`Serve`; it says its address by ``task_status.started``.
    :param actions: those of a :class:`.client.Client`.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=BACKENDS, default="asyncio")
    parser.add_argument("--connect", metavar="HOST:PORT")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    backend, settings = BACKENDS[options.loop]
    scene = (_be_client, dial, actions, options.connect) if options.connect else (_be_server, serve)
    with suppress(KeyboardInterrupt):
        anyio.run(*scene, backend=backend, backend_options=settings)


async def _be_client(dial: Dial, actions: Mapping[str, Action] | None, address: str) -> None:
    client = Client(lambda: dial(address), actions)
    say({"address": address})
    verbs: dict[str, Verb] = {
        "run": client.run,
        "hold": client.hold,
        "close": client.close,
        "settle": _settle,
    }
    await obey(verbs)
    await client.close()


async def _be_server(serve: Serve) -> None:
    server = Server()
    async with anyio.create_task_group() as tasks:
        say({"address": await tasks.start(serve, server)})
        await obey({"serve": server.serve, "errors": server.errors, "settle": _settle})
        tasks.cancel_scope.cancel()


async def obey(verbs: Mapping[str, Verb]) -> None:
    """Do what standard input says, until its end."""
    while line := await to_thread.run_sync(sys.stdin.readline):
        command = json.loads(line)
        say(await verbs[command.pop("do")](**command))


def say(fact: dict[str, Any]) -> None:
    """Answer with one line."""
    print(json.dumps(fact), flush=True)


async def _settle() -> dict[str, Any]:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return {}
