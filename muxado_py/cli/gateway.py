"""``muxado gateway``: each TCP connection to a published address becomes a stream to an agent.

What it is.  Two kinds of peers meet here.  *Agents* dial in, open a session and serve an app on it
(:mod:`.agents`).  *Callers* connect to a published address (:mod:`.callers`); what they send and get is copied,
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

from ..runtime.accept_callbacks import AcceptCallbacks
from ..runtime.accept_loop import AcceptingListener
from ..runtime.checkpoints import callback_context, event_loop
from ..runtime.plain_sockets import PlainSocket, accept_plain
from ..session.relay import may_relay
from .agents import Agents
from .callers import Callers
from .running import NotStarted, reason

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from anyio.abc import SocketStream, TaskStatus
    from anyio.streams.stapled import MultiListener

    from .options import Address

__all__ = ("gateway",)

logger = logging.getLogger("muxado.cli")


async def gateway(
    url: str,
    published: Sequence[Address],
    stop: anyio.Event,
    *,
    ssl_context: ssl.SSLContext | None,
    limit: int,
    graceful_timeout: float,
    head_timeout: float = 60.0,
    wire: str = "muxado",
    task_status: TaskStatus[tuple[str, list[int]]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Accept agents at ``url`` and callers at ``published`` until ``stop`` is set.

    :param limit: callers served at once.
    :param graceful_timeout: seconds that callers have to finish after ``stop``.
    :param head_timeout: seconds in which a caller must have sent the head of its first request, or the first
        byte of another protocol, or have been spoken to.
    :param wire: what agents speak, see ``Config.wire``.
    :param task_status: started with the real URL for agents and the real ports for callers.
    :raises NotStarted: if an address cannot be listened on.

    Cancellation: everything is cut off.
    """
    agents = Agents()
    async with AsyncExitStack() as stack:
        try:
            listener = await stack.enter_async_context(
                muxado.listen(url, config=muxado.Config(wire=wire), ssl_context=ssl_context)
            )
        except OSError as exc:
            raise NotStarted(f"cannot listen on {url}: {reason(exc)}") from exc
        bounds: list[MultiListener[SocketStream]] = []
        for address in published:
            try:
                bound = await anyio.create_tcp_listener(
                    local_host=address.host, local_port=address.port
                )
            except OSError as exc:
                raise NotStarted(f"cannot publish on {address}: {reason(exc)}") from exc
            bounds.append(await stack.enter_async_context(bound))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        callers = Callers(agents, limit, head_timeout, tasks)
        stack.callback(callers.abort)
        doors: list[AcceptCallbacks | AcceptingListener[PlainSocket]] = []
        for bound in bounds:
            doors.append(door := _door(bound, callers))
            stack.push_async_callback(door.aclose)
        tasks.start_soon(listener.serve, agents.serve)
        ports = [bound.extra(anyio.abc.SocketAttribute.local_port) for bound in bounds]
        logger.info("agents connect to %s", listener.url)
        for address, port in zip(published, ports, strict=True):
            logger.info("callers connect to %s", address._replace(port=port))
        for door in doors:
            if isinstance(door, AcceptCallbacks):
                callback_context().run(door.start)
            else:
                tasks.start_soon(door.serve, callers.handle, tasks)
        task_status.started((listener.url, ports))
        await stop.wait()
        for door in doors:
            await door.aclose()
        callers.stop()
        with anyio.move_on_after(graceful_timeout) as in_time:
            await callers.finished()
        if not in_time.cancelled_caught:
            await agents.drain(max(0.0, in_time.deadline - anyio.current_time()))
        tasks.cancel_scope.cancel()


def _door(
    bound: MultiListener[SocketStream], callers: Callers
) -> AcceptCallbacks | AcceptingListener[PlainSocket]:
    """What accepts the callers of one address, by callbacks where the loop has them."""
    loop = event_loop()
    if loop is None or not may_relay():
        return AcceptingListener(bound, accept_plain)
    return AcceptCallbacks(bound, loop, callers.came)
