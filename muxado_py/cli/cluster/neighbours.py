"""Neighbours: the sessions with other gateways, in which callers hop to them.

What it is.  One session to each gateway that a caller was led to, dialed when the first one is, and beside that to the others which
serve the same name.  To a destination it is an
agent like others, a little farther away; each stream of it says which name it wants.

Why no pool.  A :class:`~muxado_py.Pool` keeps sessions to targets that it is given, and any of them will do.  Here the gateways come
and go with the registry, each is dialed when a caller wants one of its names, and only that one will do.

The rules.  What is wrong with one gateway, with what is said of it, or with what it is to be shown, is no trouble of the others:
callers are led elsewhere, and the log says why.  Whether it lives is asked every second, and its answer is waited for no longer than :data:`SILENCE`: what hangs
must not hold callers, and nor must its close, for which it does not answer either.  Who could not be reached, or was lost, is not dialed for :data:`SUSPECT`.
One that ends the stream on which it agreed takes nobody any more in that session: it ends, or what it was shown is good no more.
Callers that are there go on, and the next one comes by a new session.

The trap.  A process that is stopped takes connections; so a gateway counts as reached when it has agreed, and not before.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

import muxado_py as muxado

from ...errors import escaped
from ...service.causes import reason
from ..agents.agent import Agent, Passage
from ..agents.suspicion import watch
from ..serving.registering import ENDED, say
from ..trust.permits import Permit
from .hops import REFUSED

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from anyio.abc import TaskGroup

    from ..agents.registration import Hop, Lines
    from .nodes import Node

__all__ = ("SUSPECT", "Neighbour", "Neighbours")

logger = logging.getLogger("muxado.cli")

CONNECTING = 1.0
"""Seconds for a connection; the answer to the first line has a second of its own."""

HEARTBEAT = 1.0
SILENCE = 2.0
"""Seconds without an answer after which a gateway is lost."""

SUSPECT = 3.0
"""Seconds for which a gateway that was lost or not reached is left alone."""

AT_ONCE = 2
"""Gateways that are dialed at once for one caller."""


class Neighbour(Agent):
    """A gateway that callers hop to, as long as one session lasts."""

    def __init__(self, node: Node, session: muxado.Session) -> None:
        super().__init__(session)
        self.node = node
        self.permit = Permit(f"gateway {node.id}", ())
        self.distance = 1
        self.is_leaving = False
        """Whether it takes no more callers in this session."""

    def open(self, metadata: Mapping[str, bytes]) -> Passage:
        try:
            stream = self.session.open_stream_nowait(metadata=metadata)
        except muxado.GoneAwayError:
            self.is_leaving = True
            raise
        self.was_dialed()
        return Hopping(self, stream)


class Hopping(Passage):
    """One caller's stream to an agent of another gateway's."""

    __slots__ = ()

    def verdict(self, exc: BaseException | None) -> muxado.Retry:
        if isinstance(exc, muxado.StreamResetError) and exc.remote and exc.code == REFUSED:
            return muxado.Retry.REFUSED
        return super().verdict(exc)

    def found_nobody(self, exc: BaseException | None) -> bool:
        return isinstance(exc, muxado.StreamRefusedError) and exc.remote


class Neighbours:
    """All of them.

    :param hop: what this gateway says of itself to another.
    :param context: what ``connect`` needs for ``tls://``.
    :param now: the time, in seconds.
    """

    def __init__(
        self,
        hop: Callable[[Node], Hop],
        context: Callable[[str], ssl.SSLContext | None],
        now: Callable[[], float],
    ) -> None:
        self._hop = hop
        self._context = context
        self._now = now
        self._tasks: TaskGroup | None = None
        self._connected: dict[str, Neighbour] = {}
        self._dialing: dict[str, anyio.Event] = {}
        self._suspect_until: dict[str, float] = {}

    async def run(self) -> None:
        """Until it is cancelled: the sessions are closed then."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                await anyio.sleep_forever()
            finally:
                self._tasks = None

    def get(self, node_id: str) -> Neighbour | None:
        """That gateway, if it takes callers now."""
        found = self._connected.get(node_id)
        return None if found is None or found.is_leaving else found

    async def reach(self, nodes: Sequence[Node], tried: Collection[Agent]) -> bool:
        """Have a session with one of ``nodes``, at least, that is not among ``tried``; no: with none.

        Cancellation: safe; what is dialed is dialed.
        """
        if self._is_reached(nodes, tried):
            return True
        waiting = [node for node in nodes if self._may_dial(node)]
        waiting.sort(key=lambda node: node.is_draining)
        while waiting:
            events = [self._dial(node) for node in waiting[:AT_ONCE]]
            del waiting[:AT_ONCE]
            await _first(events)
            for event in events:
                if self._is_reached(nodes, tried):
                    return True
                await event.wait()
            if self._is_reached(nodes, tried):
                return True
        return False

    def warm(self, nodes: Iterable[Node]) -> None:
        """Dial those of ``nodes`` with which there is no session: their callers need not wait for it then."""
        for node in nodes:
            if self._may_dial(node):
                self._dial(node)

    def _is_reached(self, nodes: Sequence[Node], tried: Collection[Agent]) -> bool:
        found = (self.get(node.id) for node in nodes)
        return any(one is not None and one not in tried for one in found)

    def _may_dial(self, node: Node) -> bool:
        if node.id in self._connected or self._tasks is None:
            return False
        until = self._suspect_until.get(node.id, 0.0)
        if self._now() < until:
            return False
        self._suspect_until.pop(node.id, None)
        return True

    def _dial(self, node: Node) -> anyio.Event:
        """Set when it is connected, or could not be."""
        event = self._dialing.get(node.id)
        if event is None:
            assert self._tasks is not None
            event = self._dialing[node.id] = anyio.Event()
            self._tasks.start_soon(self._hold, node, event)
        return event

    async def _hold(self, node: Node, over: anyio.Event) -> None:
        """Dial it, and keep the session until it is over."""
        config = muxado.Config(
            connect_timeout=CONNECTING, heartbeat_interval=HEARTBEAT, heartbeat_timeout=SILENCE
        )
        is_told = False
        try:
            context = self._context(node.url)
            async with muxado.connect(node.url, config=config, ssl_context=context) as session:
                session.stop_accepting()
                try:
                    stream, lines = await say(session, self._hop(node).line(), "hopping")
                except Exception as exc:
                    # To close what hangs takes seconds, for which no caller waits.
                    is_told = True
                    self._failed(node, exc)
                    self._dialed(node, over)
                    raise
                try:
                    await self._keep(Neighbour(node, session), lines, over)
                finally:
                    stream.reset()
        except Exception as exc:  # noqa: BLE001 - see the rules: files that cannot be read now, too
            if not is_told:
                self._failed(node, exc)
        finally:
            self._dialed(node, over)

    def _failed(self, node: Node, exc: Exception) -> None:
        url = escaped(node.url)
        logger.warning("no session with the gateway at %s: %s", url, reason(exc))
        self._suspect(node)

    def _dialed(self, node: Node, over: anyio.Event) -> None:
        """It is connected, or could not be; later it may be dialed again."""
        if self._dialing.get(node.id) is over:
            del self._dialing[node.id]
        over.set()

    def _suspect(self, node: Node) -> None:
        now = self._now()
        waiting = self._suspect_until.items()
        self._suspect_until = {node_id: until for node_id, until in waiting if until > now}
        self._suspect_until[node.id] = now + SUSPECT

    async def _keep(self, neighbour: Neighbour, lines: Lines, reached: anyio.Event) -> None:
        node = neighbour.node
        logger.info("callers may hop to the gateway at %s", node.url)
        self._connected[node.id] = neighbour
        self._dialed(node, reached)
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, neighbour)
            tasks.start_soon(self._obey, neighbour, lines)
            try:
                await neighbour.session.wait()
            except muxado.SessionError as exc:
                failure = exc
            finally:
                self._leave(neighbour)
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _leave(self, neighbour: Neighbour) -> None:
        """Nobody is led there any more in this session."""
        neighbour.is_leaving = True
        if self._connected.get(neighbour.node.id) is neighbour:
            del self._connected[neighbour.node.id]

    async def _obey(self, neighbour: Neighbour, lines: Lines) -> None:
        """Lead nobody there any more when it says so, and end the session behind those that are there."""
        with suppress(*ENDED, muxado.SessionError, ValueError):
            while True:
                await lines.next()
        if neighbour.session.closed:
            return
        logger.info("the gateway at %s takes no more callers in this session", neighbour.node.url)
        self._leave(neighbour)
        with suppress(muxado.MuxadoError):  # whoever waits for the session says why
            await neighbour.session.drain(math.inf)


async def _first(events: Sequence[anyio.Event]) -> None:
    """Until one of them is set."""

    async def wait(event: anyio.Event) -> None:
        await event.wait()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for event in events:
            tasks.start_soon(wait, event)
