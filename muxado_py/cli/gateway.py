"""``muxado gateway``: each connection to a published address becomes a stream to an agent.

What it is.  Two kinds of peers meet here.  *Agents* dial in, open a session and serve an app on it, under names or
none (:mod:`.agents`).  *Callers* connect to a published address (:mod:`.doors`); what they send and get is copied,
byte for byte, to a stream of an agent's session (:mod:`.visits`), by callbacks where the loop has them
(:mod:`.newcomers`).  So whatever runs over TCP passes: HTTP, websockets, gRPC.

The rules.  A slow side holds no memory but the stream's window and one read of 64 KiB, and at most as much of
what a caller began with: the copying reads from a side only what the other has taken, and nothing reads ahead.
No want of descriptors ends the gateway.

The trap.  Whoever stops it waits for its callers: those that only wait are let go at once.  And a caller that
is finished may have left bytes that its agent has no room for yet.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from .admin import open_admin
from .agents import Agents, anybody
from .callers import Callers
from .doors import Door, open_door
from .ledger import is_wanted
from .overview import Overview
from .running import NotStarted, reason

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Sequence

    from anyio.abc import TaskStatus

    from .guard import Guard
    from .options import Address, Published, UnixAddress
    from .reloading import Reloading

__all__ = ("gateway",)

logger = logging.getLogger("muxado.cli")


async def gateway(
    url: str,
    published: Sequence[Published],
    stop: anyio.Event,
    *,
    ssl_context: ssl.SSLContext | None,
    limit: int,
    graceful_timeout: float,
    head_timeout: float = 60.0,
    access_log: bool = False,
    admin: Address | UnixAddress | None = None,
    wire: str = "muxado",
    guard: Guard | None = None,
    forwarded: Collection[str] = (),
    reloading: Reloading | None = None,
    renew_context: Callable[[], ssl.SSLContext | None] | None = None,
    task_status: TaskStatus[tuple[str, list[int]]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Accept agents at ``url`` and callers at ``published`` until ``stop`` is set.

    :param limit: callers served at once.
    :param graceful_timeout: seconds that callers have to finish after ``stop``.
    :param head_timeout: seconds in which a caller must have sent the head of its first request, or the first
        byte of another protocol, or have been spoken to.
    :param access_log: whether each caller has a line in the log, when it has left.
    :param admin: where it may be asked how it is, see :mod:`.admin`.
    :param wire: what agents speak, see ``Config.wire``.
    :param guard: who may serve what; default whoever connects, whatever it wants to.
    :param forwarded: the names that ``muxado forward`` may call.
    :param reloading: what is told to read again the tokens of ``guard``, and the certificates.
    :param renew_context: reads these, for an ``ssl_context`` that takes the place of the one that there is.
    :param task_status: started with the real URL for agents and the real ports for callers, 0 for a Unix socket.
    :raises NotStarted: if an address cannot be listened on.

    Cancellation: everything is cut off.
    """
    async with AsyncExitStack() as stack:
        try:
            listener = await stack.enter_async_context(
                muxado.listen(url, config=muxado.Config(wire=wire), ssl_context=ssl_context)
            )
        except OSError as exc:
            raise NotStarted(f"cannot listen on {url}: {reason(exc)}") from exc
        tasks = anyio.create_task_group()
        callers = Callers(
            limit,
            head_timeout,
            tasks,
            writes=access_log and is_wanted(),
            counts=admin is not None,
        )
        agents = Agents(
            anybody if guard is None else guard.may_register,
            needs_registration=guard is not None,
            forwarded=forwarded,
            serve_caller=callers.handle,
        )
        if reloading is not None:
            _add_readers(reloading, agents, listener, guard, renew_context)
        doors: list[Door] = []
        for one in published:
            doors.append(door := await open_door(one, agents.destination(one.name)))
            stack.push_async_callback(door.aclose)
        asked = None
        if admin is not None:
            overview = Overview(agents, callers, [door.published for door in doors], stop)
            asked = await open_admin(admin, overview.answers())
            stack.push_async_callback(asked.aclose)
        await stack.enter_async_context(tasks)
        stack.callback(callers.abort)
        tasks.start_soon(listener.serve, agents.serve)
        if asked is not None:
            tasks.start_soon(asked.serve, tasks)
        logger.info("agents connect to %s", listener.url)
        for door in doors:
            stack.push_async_callback(
                door.aclose
            )  # before the tasks end in which its callers are served
            door.let_in(callers, tasks)
        task_status.started((listener.url, [door.port for door in doors]))
        await stop.wait()
        for door in doors:
            await door.aclose()
        callers.stop()
        agents.stop_calls()
        with anyio.move_on_after(graceful_timeout) as in_time:
            await callers.finished()
        if not in_time.cancelled_caught:
            await agents.drain(max(0.0, in_time.deadline - anyio.current_time()))
        tasks.cancel_scope.cancel()


def _add_readers(
    reloading: Reloading,
    agents: Agents,
    listener: muxado.SessionListener,
    guard: Guard | None,
    renew_context: Callable[[], ssl.SSLContext | None] | None,
) -> None:
    if guard is not None:

        def read_tokens() -> None:
            guard.reload()
            agents.review(guard.may_stay)

        reloading.add("tokens", read_tokens)
    if renew_context is not None:

        def read_certificates() -> None:
            context = renew_context()
            if context is not None:
                listener.replace_ssl_context(context)

        reloading.add("certificates", read_certificates)
