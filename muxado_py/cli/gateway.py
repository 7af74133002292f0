"""``muxado gateway``: each connection to a published address becomes a stream to an agent.

What it is.  Two kinds of peers meet here.  *Agents* dial in, open a session and serve an app on it, under names or
none (:mod:`.agents`).  *Callers* connect to a published address (:mod:`.doors`); what they send and get is copied,
byte for byte, to a stream of an agent's session (:mod:`.callers.visits`), by callbacks where the loop has them
(:mod:`.callers.newcomers`).  So whatever runs over TCP passes: HTTP, websockets, gRPC.  At the HTTP door each request goes its own
way, by its Host (:mod:`.http_door`).

The rules.  A slow side holds no memory but the stream's window and one read of 64 KiB, and at most as much of
what a caller began with: the copying reads from a side only what the other has taken, and nothing reads ahead.
No want of descriptors ends the gateway.

How it stops.  It is not ready any more, and takes no agents; those that it has are told to move (:mod:`.agents.handover`), while
callers still come in.  Then the doors are closed, and those that are there finish.

The trap.  Whoever stops it waits for its callers: those that only wait are let go at once.  And a caller that
is finished may have left bytes that its agent has no room for yet.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from ..service.causes import reason
from ..service.retry_budget import RetryBudget
from .admin.admin import open_admin
from .admin.overview import Overview
from .admin.page import Page
from .agents.agents import Agents, any_gateway, anybody
from .agents.beyond import Alone
from .agents.holdings import DEFAULT_BOUNDS
from .callers.callers import Callers
from .callers.kept import Kept
from .callers.latest import Latest
from .callers.ledger import is_wanted
from .cluster.cluster import joined
from .cluster.hops import serve_hop
from .doors import Door, open_door
from .handshakes import Handshakes
from .http_door.accounts import Accounts
from .http_door.guests import Guests
from .http_door.routes import Routes
from .options import Address, Published
from .running import NotStarted

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Sequence

    from anyio.abc import TaskStatus

    from .admin.admin import Admin
    from .admin.keyholders import Keyholders
    from .agents.guard import Guard
    from .cluster.cluster import Cluster, Membership
    from .options import HttpDoor, UnixAddress
    from .reloading import Reloading
    from .tls import DoorContexts
    from .trust.permits import Bounds

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
    handover_timeout: float = 2.0,
    head_timeout: float = 60.0,
    access_log: bool = False,
    admin: Address | UnixAddress | None = None,
    keyholders: Keyholders | None = None,
    wire: str = "muxado",
    guard: Guard | None = None,
    bounds: Bounds = DEFAULT_BOUNDS,
    forwarded: Collection[str] = (),
    reloading: Reloading | None = None,
    renew_context: Callable[[], ssl.SSLContext | None] | None = None,
    door_contexts: DoorContexts | None = None,
    renew_door_contexts: Callable[[], DoorContexts] | None = None,
    http: HttpDoor | None = None,
    membership: Membership | None = None,
    task_status: TaskStatus[tuple[str, list[int]]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Accept agents at ``url`` and callers at ``published`` until ``stop`` is set.

    :param limit: callers served at once; as many again at the HTTP door.
    :param graceful_timeout: seconds that callers have to finish after ``stop``.
    :param handover_timeout: seconds before that in which agents may move to another gateway, and callers still come.
    :param head_timeout: seconds in which a caller must have sent the head of its first request, or the first
        byte of another protocol, or have been spoken to.
    :param access_log: whether each caller has a line in the log, when it has left; each request at the HTTP door.
    :param admin: where it may be asked how it is, see :mod:`.admin`.
    :param keyholders: who may ask there.
    :param wire: what agents speak, see ``Config.wire``.
    :param guard: who may serve what; default whoever connects, whatever it wants to.
    :param bounds: how much each holder of a token or a certificate may have at once, see :mod:`.agents.holdings`.
    :param forwarded: the names that ``muxado forward`` may call.
    :param reloading: what is told to read again the tokens of ``guard``, and the certificates.
    :param renew_context: reads these, for an ``ssl_context`` that takes the place of the one that there is.
    :param door_contexts: what doors need whose address says TLS.
    :param renew_door_contexts: reads these anew.
    :param http: the HTTP door, if there is one.
    :param membership: how it is one of several gateways, if it is.
    :param task_status: started with the real URL for agents and the real ports for callers, 0 for a Unix socket; that
        of the HTTP door comes last.
    :raises NotStarted: if an address cannot be listened on.

    Cancellation: everything is cut off.
    """
    async with AsyncExitStack() as stack:
        try:
            listener = await stack.enter_async_context(
                muxado.listen(url, config=_config(wire, limit), ssl_context=ssl_context)
            )
        except OSError as exc:
            raise NotStarted(f"cannot listen on {url}: {reason(exc)}") from exc
        cluster = None
        if membership is not None:
            cluster = await stack.enter_async_context(joined(membership, listener.url))
        tasks = anyio.create_task_group()
        latest = None if admin is None else Latest()
        writes = access_log and is_wanted()
        callers = Callers(limit, head_timeout, tasks, writes=writes, latest=latest)
        accounts = None
        if http is not None and (writes or latest is not None):
            accounts = Accounts(callers.now, writes=writes, latest=latest)
        agents = Agents(
            anybody if guard is None else guard.may_register,
            may_hop=any_gateway if guard is None else guard.may_hop,
            forwarded=forwarded,
            serve_caller=callers.handle,
            serve_hop=partial(serve_hop, kept=Kept(), budget=RetryBudget(callers.now)),
            beyond=cluster or Alone(),
            bounds=bounds,
        )
        bytes_tls = http_tls = None
        if door_contexts is not None:
            bytes_tls, http_tls = (
                Handshakes(context, limit, head_timeout) for context in door_contexts[:2]
            )
        if reloading is not None:
            _add_readers(reloading, agents, listener, guard, renew_context)
            if cluster is not None:
                reloading.add("tokens of the cluster", partial(_read_tokens, cluster, agents))
        doors: list[Door] = []
        for one in published:
            doors.append(door := await open_door(one.address))
            stack.push_async_callback(door.aclose)
        if http is not None:
            doors.append(door := await open_door(http.address))
            stack.push_async_callback(door.aclose)
        opened = [
            one._replace(address=door.address) for one, door in zip(published, doors, strict=False)
        ]
        if http is not None:
            opened.append(Published(doors[-1].address, f"*.{http.domain}"))
        asked = None
        if admin is not None and latest is not None and callers.ledger is not None:
            page = Page(listener.url, agents, latest, opened, stop, is_alone=cluster is None)
            kinds = (http is not None) + bool(published or forwarded)
            overview = Overview(
                agents, callers.ledger, accounts, latest, limit * kinds, opened, stop
            )
            has_tls = isinstance(admin, Address) and admin.tls
            asked = await open_admin(
                admin,
                page.answers() | overview.answers(),
                keyholders,
                door_contexts.admin if has_tls and door_contexts is not None else None,
            )
            stack.push_async_callback(asked.aclose)
        if reloading is not None and renew_door_contexts is not None:
            show = partial(_show, (bytes_tls, http_tls, asked), renew_door_contexts)
            reloading.add("certificates of the doors", show)
        await stack.enter_async_context(tasks)
        stack.callback(callers.abort)
        tasks.start_soon(_serve_agents, listener, agents, stop)
        if asked is not None:
            tasks.start_soon(asked.serve, tasks)
        logger.info("agents connect to %s", listener.url)
        for door in doors:
            # Before the tasks end in which its callers are served.
            stack.push_async_callback(door.aclose)
        for door, one in zip(doors, published, strict=False):
            of = "" if one.name is None else f" of {one.name}"
            to = agents.destination(one.name)
            door.let_in(
                f"callers{of}",
                partial(callers.came, to),
                partial(callers.handle, to),
                tasks,
                bytes_tls if door.has_tls else None,
            )
        guests = None
        if http is not None:
            door = doors[-1]
            scheme = "https" if door.has_tls else "http"
            routes = Routes(http.domain, agents)
            guests = Guests(
                routes,
                limit,
                tasks,
                http.limits,
                callers.now,
                accounts=accounts,
                scheme=scheme,
                fronts=http.fronts,
            )
            stack.callback(guests.abort)
            door.let_in(
                f"callers of *.{http.domain}",
                guests.came,
                guests.handle,
                tasks,
                http_tls if door.has_tls else None,
            )
        task_status.started((listener.url, [door.port for door in doors]))
        await stop.wait()
        if guests is not None:
            guests.drain()
        if cluster is None:
            await listener.aclose()  # so that agents see whether there is anybody else
        else:
            cluster.drain()
        closing = anyio.current_time() + handover_timeout
        await agents.hand_over(handover_timeout)
        if cluster is not None:  # callers come to agents of others through it, also if it has none
            await anyio.sleep_until(closing)
        for door in doors:
            await door.aclose()
        callers.stop()
        agents.stop_calls()
        if guests is not None:
            guests.stop()
        with anyio.move_on_after(graceful_timeout) as in_time:
            await callers.finished()
            if guests is not None:
                await guests.finished()
        if not in_time.cancelled_caught:
            await agents.drain(max(0.0, in_time.deadline - anyio.current_time()))
        tasks.cancel_scope.cancel()


async def _serve_agents(
    listener: muxado.SessionListener, agents: Agents, stop: anyio.Event
) -> None:
    await listener.serve(agents.serve)
    stop.set()  # nobody can come any more


def _show(doors: Sequence[Handshakes | Admin | None], renew: Callable[[], DoorContexts]) -> None:
    for door, context in zip(doors, renew(), strict=True):
        if door is not None and door.context is not None:
            door.context = context


def _read_tokens(cluster: Cluster, agents: Agents) -> None:
    """Gateways that showed one which is not taken any more are sent away."""
    cluster.tokens.read()
    agents.review(lambda agent, _: None if agent.hop is None else cluster.may_hop(agent.hop))


def _config(wire: str, limit: int) -> muxado.Config:
    """That of sessions: another gateway may lead as many callers here as come to it."""
    return muxado.Config(wire=wire, max_streams=max(muxado.Config().max_streams, 2 * limit))


def _add_readers(
    reloading: Reloading,
    agents: Agents,
    listener: muxado.SessionListener,
    guard: Guard | None,
    renew_context: Callable[[], ssl.SSLContext | None] | None,
) -> None:
    if guard is not None and guard.what:

        def read_permits() -> None:
            guard.reload()
            agents.review(guard.may_stay)

        reloading.add(guard.what, read_permits)
    if renew_context is not None:

        def read_certificates() -> None:
            context = renew_context()
            if context is not None:
                listener.replace_ssl_context(context)

        reloading.add("certificates", read_certificates)
